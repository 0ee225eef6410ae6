"""Conversions: the same frames in another format, verified, resumable, and without overwriting anything."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import lmdb
import numpy as np
import pytest
import torch
from PIL import Image

from dataset.heldout import group_names
from dataset.listing import ListError, VideoRecord, read_list
from dataset.prepare.__main__ import main
from dataset.prepare.annotations import PrepareError
from dataset.prepare.converting import convert
from dataset.prepare.converting.encoders import Encoded
from dataset.prepare.converting.flow import make_method, quantize
from dataset.prepare.converting.sources import Source
from dataset.readers import open_reader
from dataset.readers.video_file import VideoFile, decode_frames
from dataset.readers.video_index import build_index
from dataset.writers.shrinking import shrink
from dataset.writers.stores import FrameFolders, ShardedEnvironments, VideoEnvironments
from tests.official_sets import write_pictures
from tests.videos import encode_video, frame_number, frame_numbers, sequential_frames
from utils.errors import UserError
from utils.jsonl import LineFileError
from utils.torchvision_import import import_torchvision

LENGTHS = {"a/one.mp4": 30, "b b/zwei ü.avi": 26, "a/one.mkv": 28}


class Made(NamedTuple):
    list: Path
    root: Path
    out: Path


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    for name, length in LENGTHS.items():
        codec: dict[str, Any] = {"codec": "mpeg4", "options": {"g": "12"}} if name.endswith("avi") else {}
        encode_video(root / name, length, with_sound=name == "a/one.mp4", rate=30, **codec)
    return root


@pytest.fixture
def made(encoded: Path, tmp_path: Path) -> Made:
    """Three videos and a segment of the first; two names differ in the suffix only."""
    lines = [f"{name} {length} {label}" for label, (name, length) in enumerate(LENGTHS.items())]
    listed = tmp_path / "set_train_list.txt"
    listed.write_text("\n".join([*lines, "a/one.mp4#skip=7 15 0"]) + "\n")
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    return Made(listed, encoded, tmp_path / "out")


def run(kind: str, made: Made, *words: object, new: str = "new_list.txt") -> Path:
    new_list = made.list.with_name(new)
    common = ["--list", made.list, "--root", made.root, "--output", made.out, "--new_list", new_list, "--workers", 1]
    main([str(word) for word in (kind, *common, "--short_side", 0, *words)])
    return new_list


def numbers_of(new_list: Path, format: str, root: Path) -> list[list[int]]:
    reader = open_reader(format, root)
    return [frame_numbers(reader.read(v, range(v.num_frames)).numpy()) for v in read_list(new_list)]


KINDS: dict[str, tuple[str, Sequence[str]]] = {
    "frames": ("FRAME", []),
    "lmdb": ("LMDB", []),
    "lmdb, sharded": ("LMDB", ["--shard_videos", "3"]),
    "resize": ("RAW", []),
}


def test_groups_are_kept_by_a_conversion(made: Made) -> None:
    """A segment becomes a video that stays in one group with the others of its source; groups are copied."""
    videos = read_list(run("frames", made))
    segment = "a/one.mp4.from7.15"
    assert dict(zip((video.path for video in videos), group_names(videos), strict=True)) == {
        "a/one.mp4": "a/one.mp4", segment: "a/one.mp4", "a/one.mkv": "a/one.mkv", "b b/zwei ü": "b b/zwei ü.avi",
    }  # fmt: skip
    groups = "me\ta/one.mp4\nyou\tb b/zwei ü.avi\nme\ta/one.mkv\n"
    made.list.with_name("set_train_list.groups.txt").write_text(groups)
    made = made._replace(out=made.out.with_name("again"))
    videos = read_list(run("frames", made, new="again_list.txt"))
    assert dict(zip((video.path for video in videos), group_names(videos), strict=True)) == {
        "a/one.mp4": "me", segment: "me", "a/one.mkv": "me", "b b/zwei ü": "you",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_names_may_be_as_long_as_the_file_system_has_them(kind: str, encoded: Path, tmp_path: Path) -> None:
    """Two that differ at their ends alone."""
    names = ["ü" * 124 + f"{end}.mp4" for end in ("one", "two")]
    for name in names:
        shutil.copy(encoded / "a/one.mp4", tmp_path / name)
    listed = tmp_path / "set_train_list.txt"
    listed.write_text("".join(f"{name} 30 0\n" for name in names))
    made = Made(listed, tmp_path, tmp_path / "out")
    assert numbers_of(run(kind.split(",")[0], made, *KINDS[kind][1]), KINDS[kind][0], made.out) == [[*range(30)]] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_has_the_frames_of_the_source(kind: str, made: Made) -> None:
    format, words = KINDS[kind]
    new_list = run(kind.split(",")[0], made, *words)
    expected = [list(range(length)) for length in LENGTHS.values()] + [list(range(7, 22))]
    assert numbers_of(new_list, format, made.out) == expected
    assert [video.label for video in read_list(new_list)] == [0, 1, 2, 0]
    assert new_list.with_suffix(".classes.txt").read_text() == "x\ny\nz\n"
    paths = [video.path for video in read_list(new_list)]
    suffix = ".mp4" if kind == "resize" else ""
    shards = ["new-00000/"] * 3 + ["new-00001/"] if "sharded" in kind else [""] * 4
    names = ["a/one.mp4", "b b/zwei ü", "a/one.mkv", "a/one.mp4.from7.15"]
    assert paths == [f"{shard}{name}{suffix}" for shard, name in zip(shards, names, strict=True)]


@pytest.mark.parametrize("kind", [*KINDS, "flow"])
def test_nothing_is_written_outside_of_the_output(kind: str, made: Made, tmp_path: Path) -> None:
    """A path that leads out of the root of a list would also lead out of the output."""
    root = tmp_path / "in/root"
    shutil.copytree(made.root, root)
    shutil.copy(root / "a/one.mp4", root.parent / "w.mp4")
    made = made._replace(root=root, out=tmp_path / "deep/out")
    before = {*tmp_path.rglob("*")}
    for path in ("../w.mp4", "a/../../w.mp4", "a/..", ".", "../w.mp4#skip=2"):
        made.list.write_text(f"a/one.mp4 30 0\n\n{path} 9 0\n")
        with pytest.raises(
            ListError, match=rf"set_train_list\.txt, line 3: '{path.split('#')[0]}' leads out of the root"
        ):
            run(kind.split(",")[0], made, *KINDS.get(kind, ("", []))[1])
    assert {*tmp_path.rglob("*")} == before


def test_an_absolute_path_lies_below_the_output_and_no_two_lines_share_a_result(made: Made) -> None:
    absolute = made.root / "a/./one.mp4"
    made.list.write_text(f"{absolute} 30 0\na//one.mp4 30 0\na/one.mp4#skip=2 9 1\na/one.mp4#skip=2 9 2\n")
    videos = read_list(run("frames", made))
    assert [video.path for video in videos] == [
        f"{made.root}/a/one".lstrip("/"), "a/one", "a/one.from2.9", "a/one.from2.9",
    ]  # fmt: skip
    made.list.write_text("a/one.mp4 30 0\na/one.mp4 20 1\n")
    with pytest.raises(PrepareError, match=r"'a/one.mp4' of 30 frames and 'a/one.mp4' of 20 would both"):
        run("frames", made._replace(out=made.out.with_name("other")), new="other_list.txt")


@pytest.mark.parametrize("kind", KINDS)
def test_colors_stay(kind: str, made: Made, tmp_path: Path) -> None:
    picture = np.zeros((32, 48, 3), dtype=np.uint8)
    picture[:, :16, 0], picture[:, 16:32, 1], picture[:, 32:, 2] = 200, 150, 250
    (tmp_path / "pictures/v").mkdir(parents=True)
    for number in (1, 2):
        Image.fromarray(picture).save(tmp_path / f"pictures/v/{number:05d}.jpg", quality=100, subsampling=0)
    made.list.write_text("v 2 0\n")
    format, words = KINDS[kind]
    new_list = run(kind.split(",")[0], made._replace(root=tmp_path / "pictures"), "--format", "FRAME", *words)
    reader = open_reader(format, made.out)
    got = reader.read(read_list(new_list)[0], [1]).numpy()[0]
    for column in (8, 24, 40):
        assert np.abs(got[8:24, column].astype(int) - picture[8:24, column]).max() < 25


def test_jpegs_come_from_other_formats_too(made: Made, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures/v 1", 40)  # more than one chunk
    made.list.write_text("v 1 90 0\n")  # and fewer than listed
    pictures = made._replace(root=tmp_path / "pictures")
    new_list = run("lmdb", pictures, "--format", "FRAME")
    assert numbers_of(new_list, "LMDB", made.out) == [list(range(40))]
    assert read_list(new_list)[0].num_frames == 40
    resized = run("resize", pictures._replace(out=tmp_path / "r"), "--format", "FRAME", "--rate", 12, new="r_list.txt")
    assert numbers_of(resized, "RAW", tmp_path / "r") == [list(range(40))]
    with VideoFile(tmp_path / "r/v 1.mp4") as video:
        assert video.frame_rate == 12


def test_resized_videos_are_small_have_many_key_frames_and_no_sound(made: Made) -> None:
    encode_video(made.root / "big.mp4", 40, size=(150, 202), with_sound=True, options={"g": "250", "threads": "1"})
    made.list.write_text("big.mp4 40 0\na/one.mp4 30 0\n")
    new_list = run("resize", made, "--short_side", 100, "--key_interval", 6)
    for video, size, most in zip(read_list(new_list), [(100, 136), (48, 64)], (6, 6), strict=True):
        with av.open(str(made.out / video.path)) as container:
            assert not container.streams.audio and container.streams.video[0].codec.canonical_name == "h264"
        with VideoFile(made.out / video.path) as file:
            index = build_index(file)
        assert index.pts is not None and index.num_frames == video.num_frames
        gaps = np.diff([*np.searchsorted(index.pts, index.keys), index.num_frames])
        assert gaps.max() <= most
        frames = sequential_frames(made.out / video.path)
        assert frames[0].shape == (*size, 3)
        source = sequential_frames(made.root / video.path)
        for ours, theirs in zip(frames[::7], shrink(iter(source[::7]), 100, step=2), strict=True):
            assert np.abs(ours.astype(int) - theirs).mean() < 8
    big = sequential_frames(made.root / "big.mp4")[5]
    assert next(iter(shrink([big], 101))).shape == (101, 136, 3)  # 136.01 for 100 x 135 even
    assert next(iter(shrink([big[:149, :201]], 0, step=2))).shape == (148, 200, 3)


def test_a_rotated_and_a_cut_off_video_are_decoded_as_the_reader_does(tmp_path: Path) -> None:
    encode_video(tmp_path / "turned.mp4", 6, rotation=90)
    content = encode_video(tmp_path / "whole.mkv", 38).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: int(len(content) * 0.6)])
    for name in ("turned.mp4", "cut.mkv"):
        frames = list(decode_frames(tmp_path / name))
        assert frames
        read = open_reader("RAW", tmp_path).read(VideoRecord(name, 38, 0), range(len(frames))).numpy()
        assert np.array_equal(read, np.stack(frames))
        assert len(frames) == len(sequential_frames(tmp_path / name))


def test_a_killed_command_continues(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, seen = convert.encode, []

    def interrupted(task: convert.Task) -> convert.Outcome:
        seen.append(task.target)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return encode(task)

    monkeypatch.setattr(convert, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("frames", made)
    assert not made.list.with_name("new_list.txt").exists()
    (made.out / seen[1] / "00004.jpg").unlink()  # removed since: the journal alone does not prove that it exists
    shutil.rmtree(made.out / seen[1])
    new_list = run("frames", made)
    assert len(seen) == 3 + 3 and seen[0] not in seen[3:]
    assert len(read_list(new_list)) == 4
    run("frames", made)
    assert len(seen) == 6


def test_a_folder_of_another_conversion_is_an_error(made: Made) -> None:
    run("frames", made)
    with pytest.raises(LineFileError, match="another command: quality: was 95, is 80; .*take another folder"):
        run("frames", made, "--quality", 80)


def test_an_existing_list_is_an_error_before_hours_of_work(made: Made) -> None:
    for name in (made.list.name, "mine_list.txt"):
        made.list.with_name(name).touch()
        with pytest.raises(PrepareError, match=f"{name} exists and was not made by this command"):
            run("frames", made, new=name)
    assert not made.out.exists()


@pytest.mark.parametrize("kind", ["frames", "lmdb", "resize"])
def test_existing_files_are_never_overwritten(kind: str, made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    other = made.out / ("a/one.mkv.mp4" if kind == "resize" else "a/one.mkv")
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    with pytest.raises(SystemExit) as ended:
        run(kind, made)
    assert ended.value.code == 1
    assert other.read_text() == "mine"
    missing = made.list.with_name("new_list.missing.txt").read_text()
    assert re.fullmatch(r"a/one\.mkv\t.*a/one\.mkv.* exists with other content .*; move it away\n", missing)
    assert "3 of 4 videos" in capsys.readouterr().out


def test_unreadable_videos_are_listed_and_the_rest_is_converted(made: Made) -> None:
    (made.list.parent / "root").mkdir()
    shutil.copytree(made.root, made.list.parent / "root", dirs_exist_ok=True)
    (made.list.parent / "root/empty.mp4").touch()
    made.list.write_text("none.mp4 9 0\na/one.mp4 500 1\nempty.mp4 9 0\na/one.mp4#skip=30 9 0\n")
    with pytest.raises(SystemExit):
        run("lmdb", made._replace(root=made.list.parent / "root"))
    new_list = made.list.with_name("new_list.txt")
    assert [(v.path, v.num_frames, v.label) for v in read_list(new_list)] == [("a/one", 30, 1)]
    causes = new_list.with_suffix(".missing.txt").read_text().splitlines()
    assert causes.pop() == "a/one.mp4\tthe list says 500 frames, 30 can be decoded"
    assert [line.split(": ")[-1] for line in causes] == [
        "No such file or directory",
        "the file is empty",
        "the video ends before the segment begins",
    ]


VERIFICATION = {
    "a frame less": "it does not have the 30 frames of the source",
    "frames in another order": "frame 0 differs from the source's by [0-9]+ of 255 levels",
    "another size": r"frame 0 is \[8, 8, 3\], not \[48, 64, 3\]",
}


@pytest.mark.parametrize("fault", VERIFICATION)
def test_the_verification_finds_wrong_results(fault: str, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    write = FrameFolders.write

    def wrong(self: FrameFolders, path: str, parts: Sequence[bytes]) -> None:
        if fault == "another size":
            parts = [cv2.imencode(".jpg", np.zeros((8, 8, 3), dtype=np.uint8))[1].tobytes()] * len(parts)
        write(self, path, parts[:-1] if fault == "a frame less" else parts[::-1])

    monkeypatch.setattr(FrameFolders, "write", wrong)
    with pytest.raises(PrepareError, match=f"no video for it: .*{VERIFICATION[fault]}"):
        run("frames", made)


def test_too_little_space_is_an_error_before_anything_is_written(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sum(path.stat().st_size for path in (run("frames", made).parent / "out").rglob("*.jpg"))
    usage = shutil.disk_usage(made.out)._replace(free=real // 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    elsewhere = made._replace(out=made.list.parent / "elsewhere")
    with pytest.raises(
        PrepareError, match=r"about .* MB are needed for 99 frames, .* MB are free; choose another disk"
    ):
        run("frames", elsewhere, new="else_list.txt")
    assert not list(elsewhere.out.rglob("*.jpg"))


def shifted_pair(dx: int, dy: int) -> tuple[np.ndarray, np.ndarray]:
    """Two frames of a smooth texture, which moves by (dx, dy) pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 240, 3), dtype=np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    return texture[30:158, 30:190], texture[30 - dy : 158 - dy, 30 - dx : 190 - dx]


@pytest.mark.parametrize("method", ["dis", "farneback"])
@pytest.mark.parametrize("motion", [(3, -2), (-4, 0), (0, 5)])
def test_flow_of_a_known_motion(method: str, motion: tuple[int, int]) -> None:
    field = make_method(method, "", "cpu")(*shifted_pair(*motion))
    inner = field[16:-16, 16:-16]
    assert np.abs(np.median(inner, axis=(0, 1)) - motion).max() < 0.2


def test_flow_is_stored_as_bytes_around_the_middle() -> None:
    values = np.array([[[-20, 20], [-99, 99], [0, 10]]], dtype=np.float32)
    assert quantize(values, 20).tolist() == [[[0, 255], [0, 255], [128, 191]]]


@pytest.mark.parametrize("layout", ["FRAME", "LMDB"])
def test_flow_of_a_list_is_read_by_the_flow_reader(layout: str, made: Made, tmp_path: Path) -> None:
    (tmp_path / "moving").mkdir()
    for number in range(4):
        _, moved = shifted_pair(3 * number, 0)
        cv2.imwrite(str(tmp_path / f"moving/{number + 1:05d}.jpg"), moved[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    write_pictures(tmp_path / "single", 1)
    made.list.write_text("moving 4 2\nsingle 1 1\n")
    with pytest.raises(SystemExit):
        run("flow", made._replace(root=tmp_path), "--format", "FRAME", "--layout", layout)
    new_list = made.list.with_name("new_list.txt")
    record = read_list(new_list)[0]
    assert (record.path, record.num_frames, record.label) == ("moving", 3, 2)
    assert new_list.with_suffix(".missing.txt").read_text() == "single\tflow needs two frames\n"
    reader = open_reader(layout, made.out, use_flow=True)
    field = reader.read(record, [0, 1, 2]).numpy()[:, 16:-16, 16:-16].astype(float) / 255 * 40 - 20
    assert np.abs(np.median(field, axis=(1, 2)) - [3, 0]).max() < 0.3


def test_raft_is_torchvisions_network_on_frames_of_any_size(tmp_path: Path) -> None:
    import_torchvision()
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    network = raft_small(weights=None, progress=False).eval()
    torch.save(network.state_dict(), tmp_path / "raft.pth")
    method = make_method("raft_small", str(tmp_path / "raft.pth"), "cpu")
    before, after = shifted_pair(2, 1)
    with torch.inference_mode():
        pair = [
            torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / 255 * 2 - 1 for frame in (before, after)
        ]
        expected = network(*pair)[-1][0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(method(before, after), expected, atol=1e-3)
    assert method(before[:50, :61], after[:50, :61]).shape == (50, 61, 2)


def test_raft_without_its_weights_is_an_error_at_once(made: Made, tmp_path: Path) -> None:
    with pytest.raises(PrepareError, match="raft_small needs --weights FILE"):
        run("flow", made, "--method", "raft_small")
    torch.save({"x": torch.zeros(1)}, tmp_path / "wrong.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name, fault in (("wrong.pth", "holds no weights of raft_large"), ("text.pth", "not a readable checkpoint")):
        with pytest.raises(UserError, match=fault):
            run("flow", made, "--method", "raft_large", "--weights", tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "words", "fault"),
    [
        ("frames", ["--quality", "0"], "--quality 0: must be 1 to 100"),
        ("resize", ["--crf", "60"], "--crf 60: must be 0 to 51"),
        ("resize", ["--short_side", "99"], "--short_side 99: H.264 needs an even number"),
        ("lmdb", ["--short_side", "-1"], "--short_side -1: must be 0 or more"),
        ("flow", ["--bound", "0"], "--bound 0.0: must be above 0"),
        ("frames", ["--workers", "0"], "--workers 0: must be at least 1"),
    ],
)
def test_impossible_values_are_errors(kind: str, words: list[str], fault: str, made: Made) -> None:
    with pytest.raises(PrepareError, match=re.escape(fault)):
        run(kind, made, *words)


def test_frames_too_small_for_h264_fail_their_own_video_only(made: Made, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures/good", 3)
    (tmp_path / "pictures/thin").mkdir()
    Image.fromarray(np.zeros((1, 40, 3), dtype=np.uint8)).save(tmp_path / "pictures/thin/00001.jpg")
    made.list.write_text("thin 1 0\ngood 3 1\n")
    with pytest.raises(SystemExit):
        run("resize", made._replace(root=tmp_path / "pictures"), "--format", "FRAME")
    new_list = made.list.with_name("new_list.txt")
    assert [video.path for video in read_list(new_list)] == ["good.mp4"]
    assert new_list.with_suffix(".missing.txt").read_text() == (
        "thin\tframes of 40 x 1 pixels are too small for H.264\n"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_an_error(made: Made) -> None:
    with pytest.raises(PrepareError, match="--device cuda: there is no GPU that torch can use here"):
        run("flow", made, "--method", "raft_small", "--weights", "w.pth", "--device", "cuda")


def test_samples_are_the_first_the_wanted_and_the_last_frame() -> None:
    kept = Encoded()
    frames = (np.full((1, 1, 3), number, dtype=np.uint8) for number in range(7))
    assert len(list(kept.keeping(frames, wanted=3))) == kept.num_frames == 7
    assert {number: int(frame[0, 0, 0]) for number, frame in kept.samples.items()} == {0: 0, 3: 3, 6: 6}


def test_a_source_gives_segments_and_limits(encoded: Path) -> None:
    source = Source("RAW", str(encoded))
    footage = source.footage(VideoRecord("a/one.mp4#skip=5", 20, 0), limit=4)
    assert [frame_number(frame) for frame in footage.frames] == [5, 6, 7, 8]
    assert footage.rate == 30


@pytest.mark.parametrize(("kind", "words"), [("frames", []), ("lmdb", []), ("lmdb", ["--shard_videos", "9"])])
def test_a_full_disk_is_an_error_and_finished_videos_are_kept(
    kind: str, words: list[str], made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = {"frames": FrameFolders, "lmdb": ShardedEnvironments if words else VideoEnvironments}[kind]
    write, calls = store.write, []

    def fail(self: Any, path: str, parts: Sequence[bytes]) -> None:
        calls.append(path)
        if len(calls) == 3:
            usage = shutil.disk_usage(made.out)._replace(free=1000)
            monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
            raise OSError(28, "No space left on device") if kind == "frames" else lmdb.Error("Input/output error")
        write(self, path, parts)

    monkeypatch.setattr(store, "write", fail)
    with pytest.raises(PrepareError, match=r"out: cannot be written \(no space left on the disk\)"):
        run(kind, made, *words)
    monkeypatch.undo()
    new_list = run(kind, made, *words)
    assert len(read_list(new_list)) == 4 and len(calls) == 3


def test_a_damaged_shard_is_named(made: Made) -> None:
    run("lmdb", made, "--shard_videos", "9")
    (made.out / "new-00000/data.mdb").write_bytes(b"no LMDB" * 2000)
    with pytest.raises(PrepareError, match=r"out: cannot be written \(.*new-00000: MDB_INVALID"):
        run("lmdb", made, "--shard_videos", "9")
