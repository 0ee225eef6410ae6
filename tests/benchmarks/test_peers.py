"""The benchmarks peers and scale: other projects do the same work, faults are detected, the scripts run."""

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import loader, peer_loaders, peer_readers, peers, scale
from benchmarks.peer_readers import Accuracy, Reader, check_reader
from dataset.listing import read_list
from dataset.readers import open_reader
from tests.conftest import ROOT
from tests.videos import encode_video, sequential_frames
from utils.config.network_names import IMAGENET

SETTINGS = {"size": 32, "ra_n": 2, "ra_m": 9}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peers")
    loader.make_data(folder, videos=2, frames=40)
    return folder


def test_every_reader_reads_an_ordinary_video_or_is_skipped_by_name(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", 30)
    truth = np.stack(sequential_frames(path))
    clips = [[0, 1, 2, 3], [9, 13, 17, 29]]
    readers, skipped = peer_readers.make_readers()
    assert {*readers, *skipped} > {"ours", "torchcodec exact", "decord2", "PyAV", "OpenCV"}
    assert {"ours", "ours, new files", "PyAV", "OpenCV"} <= {*readers}
    assert all(re.match(r"\w+Error: .", reason) for reason in skipped.values())
    for name, reader in readers.items():
        found = check_reader(reader, path, clips, truth)
        assert (found.asked, found.right) == (8, 8), name
        with pytest.raises(peer_readers.ReadFailure):
            reader(tmp_path / "none.mp4", [0])


def test_wrong_frames_refused_frames_and_other_colors_are_distinguished(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", 12)
    truth = np.stack(sequential_frames(path))

    def one_late(_path: Path, numbers: Sequence[int]) -> np.ndarray:
        return truth[[number + 1 for number in numbers]]

    def brighter(_path: Path, numbers: Sequence[int]) -> np.ndarray:
        return truth[list(numbers)] // 2 * 2

    def refusing(path: Path, numbers: Sequence[int]) -> np.ndarray:
        raise peer_readers.ReadFailure(f"{path}: {numbers}")

    def smaller(_path: Path, numbers: Sequence[int]) -> np.ndarray:
        return truth[list(numbers), :-8]

    clips = [[0, 1], [6, 8, 10]]
    readers: list[Reader] = [one_late, brighter, refusing, smaller]
    found = [str(check_reader(read, path, clips, truth)) for read in readers]
    assert found == ["0/5 (5 wrong)", "5/5~", "0/5", "0/5 (5 wrong)"]
    assert Accuracy(1, 0, 1, 1) + Accuracy(2, 1, 1, 0) == Accuracy(3, 1, 2, 1)


def test_jpegs_are_read_as_by_our_readers(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "LMDB", tmp_path / "LMDB")  # a copy: the environment stays open in this process
    for format, read in (("FRAME", peer_loaders.read_folder), ("LMDB", peer_loaders.read_environment)):
        reader = open_reader(format, root / format)
        ours = reader.read(read_list(root / f"{format}.txt")[1], [3, 4, 9]).numpy()
        folder = tmp_path if format == "LMDB" else root
        np.testing.assert_array_equal(read(folder / format / "video1", [3, 4, 9]), ours)


@pytest.mark.parametrize("transform_type", loader.TRANSFORM_TYPES)
def test_clips_of_other_loaders_are_floats_determined_by_epoch_and_video(root: Path, transform_type: str) -> None:
    videos = read_list(root / "FRAME.txt")
    clips = peer_loaders.make_peer_clips(
        videos, root / "FRAME", format="FRAME", transform_type=transform_type, length=4, settings=SETTINGS
    )
    assert [*clips] == ["torchcodec + v2", "mmaction2"]
    for it in clips.values():
        assert not isinstance(it, str) and len(it) == 2
        (first, label), (again, _), (other, _) = it[0, 1], it[0, 1], it[1, 1]
        assert first.shape == (4, 3, 32, 32) and first.dtype == torch.float32 and label == 1
        assert first.equal(again) and not first.equal(other)


def test_transforms_of_others_have_the_same_normalization() -> None:
    """On a uniformly gray clip, `default` changes only the brightness."""
    gray = np.full((3, 48, 64, 3), 100, np.uint8)
    makers = (peer_loaders.make_float_transform, peer_loaders.make_frame_transform)
    transforms: list[Callable[..., torch.Tensor]] = [make("default", **SETTINGS) for make in makers]
    mean, deviation = (np.array(values).reshape(3, 1, 1) for values in (IMAGENET.mean, IMAGENET.std))
    for transform in transforms:
        levels = []
        for seed in range(12):
            values = transform(gray, np.random.default_rng(seed)).numpy() * deviation + mean
            assert np.ptp(values) < 0.01  # rounding, of a range of 1
            levels.append(float(values.mean() * 255))
        assert 60 <= min(levels) < max(levels) <= 140


def test_all_parts_run_and_missing_packages_are_skipped_by_name(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)  # as if it were not installed
    monkeypatch.setattr(peers, "KINDS", ("edit list",))
    options = (
        "--decoded 2 --augmented 1 --repeats 2 --clips 2 --batch 1 --length 4 --size 32 --workers 1 --stores RAW-12"
    )
    monkeypatch.setattr(sys, "argv", ["peers.py", "--root", str(root), *options.split()])
    peers.main()
    printed = capsys.readouterr().out
    assert printed.count("torchcodec exact: skipped: ModuleNotFoundError: ") == 1
    assert len(re.findall(r"^  torchcodec \+ v2 +skipped: ModuleNotFoundError: ", printed, re.MULTILINE)) == 2
    assert len(re.findall(r"^  PyAV +\d+\.\d+ ms +\d+\.\d\d \[.*\] +\d+/\d+$", printed, re.MULTILINE)) == 4
    assert re.search(r"^edit list +56/56 +56/56 ", printed, re.MULTILINE)
    assert len(re.findall(r"^  v2, tv_tensors.Video +\d+\.\d+ ms ", printed, re.MULTILINE)) == 2
    assert len(re.findall(r"^  ours +\d+\.\d +1\.00 \[1\.00\.\.1\.00\]$", printed, re.MULTILINE)) == 2


def test_scale_is_measured_and_extrapolated(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(scale, "measure", scale._timed)  # without a process of its own
    options = "--clips 2 --batch 1 --length 4 --size 32 --repeats 1 --counts 1 2 --stores LMDB --list 400 --merged 20"
    monkeypatch.setattr(
        sys, "argv", ["scale.py", "--root", str(root), *options.split(), *["--parts", "workers", "merging", "baseline"]]
    )
    scale.main()
    printed = capsys.readouterr().out
    assert re.search(r"^     1 +\d+\.\d +1\.00 \[1\.00\.\.1\.00\] +1\.00 \[1\.00\.\.1\.00\]$", printed, re.MULTILINE)
    tenth = r"^merging +40 videos: .* s, .* s of processor time \(-?\d+\.\d\d s predicted\), .* GB$"
    assert re.search(tenth, printed, re.MULTILINE)
    whole = r"^merging +400 videos: -?\d+ s of processor time, predicted by the last two$"
    assert re.search(whole, printed, re.MULTILINE)
    assert re.search(r"^ours +\d+\.\d\d s +\d+\.\d\d GB\nbaseline +\d+\.\d\d s +\d+\.\d\d GB$", printed, re.MULTILINE)
    assert re.search(r"^baseline / ours: \d+\.\d\d \[\d+\.\d\d\.\.\d+\.\d\d\] in time$", printed, re.MULTILINE)
    assert scale.through([(1, 0.0), (10, 3.0), (20, 5.0)], 100) == 21.0


def test_a_long_list_is_read_and_its_memory_measured(tmp_path: Path) -> None:
    cost = scale.measure_list(scale.write_list(tmp_path / "list.txt", 30_000))
    assert cost.seconds > 0 and cost.kept < 10 and cost.peak < 50
