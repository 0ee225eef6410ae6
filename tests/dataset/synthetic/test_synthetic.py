"""The embedded dataset: the content of its videos, and its files."""

import errno
import io
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import lmdb
import numpy as np
import pytest
import scipy

import dataset.synthetic.make as synthetic
import dataset.writers.stores as video_stores
from dataset.listing import read_list
from dataset.readers import open_reader
from dataset.synthetic.generation import DESCRIPTION, SyntheticError
from dataset.synthetic.make import Parameters, make_synthetic, make_video
from dataset.synthetic.scene import CLASSES, MOTIONS, TURN, frame_width, make_scene
from dataset.synthetic.store import FORMATS, encode_video
from tests.conftest import ROOT

NUM_FRAMES = 40  # default length of a video
SMALL: dict[str, Any] = {"num_train": 14, "num_test": 13, "size": 32, "frames": 8}


def small_parameters(format="RAW", **changes):
    """The parameters of a set made with `SMALL`."""
    return Parameters(**{**SMALL, "format": format, "seed": 0, **changes})


def content(root):
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    """A finished RAW set made with `SMALL`."""
    root = tmp_path_factory.mktemp("small") / "set"
    make_synthetic(root, workers=1, **SMALL)
    return root


# ---- content of the videos ------------------------------------------------------------------------------------------


def test_a_video_depends_on_its_seed_split_and_index_only():
    frames = [
        make_video(split, index, parameters=small_parameters(seed=seed))[1]
        for split, index, seed in [("train", 0, 0), ("train", 0, 0), ("test", 0, 0), ("train", 12, 0), ("train", 0, 1)]
    ]
    assert np.array_equal(frames[0], frames[1])
    assert frames[0].shape == (8, 32, 42, 3)
    assert frames[0].dtype == np.uint8
    for one, other in itertools.combinations(frames[1:], 2):
        assert np.abs(one.astype(int) - other).mean() > 5


def foreground(frames, scene):
    """Pixels that differ from the background: [T, H, W]."""
    return (np.abs(frames - scene.background).sum(axis=-1) > 90).astype(float)


def shift_between(before, after):
    """(down, right) displacement from one mask to the other on the torus, by circular correlation."""
    correlation = np.fft.ifft2(np.fft.fft2(after) * np.conj(np.fft.fft2(before))).real
    peak = np.unravel_index(correlation.argmax(), correlation.shape)
    return tuple((p + n // 2) % n - n // 2 for p, n in zip(peak, correlation.shape, strict=True))


def spin_between(before, after, center, radius):
    """Clockwise rotation of an image around a center, degrees, by correlation along circles."""
    angles, lengths = np.radians(np.arange(360)), np.linspace(0.3, 0.9, 7) * radius
    rows = np.rint(center[1] + np.outer(lengths, np.sin(angles))).astype(int) % before.shape[0]
    columns = np.rint(center[0] + np.outer(lengths, np.cos(angles))).astype(int) % before.shape[1]
    rings = [picture[rows, columns] - picture[rows, columns].mean(axis=1, keepdims=True) for picture in (before, after)]
    spectra = np.fft.fft(rings, axis=-2)
    correlation = np.fft.ifft(spectra[1] * np.conj(spectra[0]), axis=1).real.sum(axis=(0, 2))
    return (correlation.argmax() + 180) % 360 - 180


def decoded(root, path, num_frames):
    """All frames of a RAW video as float64."""
    record = next(record for record in read_list(root / "train_list.txt") if record.path == path)
    return open_reader("RAW", root).read(record, np.arange(num_frames)).numpy().astype(float)


@pytest.fixture(scope="module")
def tracked_set(tmp_path_factory):
    """Two training videos of each class at the default size."""
    root = tmp_path_factory.mktemp("tracked") / "set"
    make_synthetic(root, num_train=24, num_test=1, seed=5, workers=2)
    return root, Parameters(24, 1, 72, NUM_FRAMES, "RAW", 5)


def expected_sign(motion, scene, span):
    """Sign of the change over a span of frames, 0 if the motion reverses within it."""
    if not motion.turns:
        return motion.sign
    if span[0] < scene.turn < span[1]:
        return 0
    return motion.sign if span[1] <= scene.turn else -motion.sign


@pytest.mark.parametrize("name", [name for name in CLASSES if MOTIONS[name].quantity in "xy"])
def test_translation_in_the_decoded_video(tracked_set, name):
    root, parameters = tracked_set
    motion, checked = MOTIONS[name], 0
    for index in range(CLASSES.index(name), 24, 12):
        scene, _ = make_video("train", index, parameters=parameters)
        masks = foreground(decoded(root, f"train/{name}/{index:05d}.mp4", NUM_FRAMES), scene)
        for start in range(0, NUM_FRAMES - 4, 4):
            sign = expected_sign(motion, scene, (start, start + 3))
            down, right = shift_between(masks[start], masks[start + 3])
            along, across = (right, down) if motion.quantity == "x" else (down, right)
            if sign:
                speeds = [abs(np.diff(getattr(track, motion.quantity))[start]) for track, _ in scene.sprites]
                assert min(speeds) * 3 - 1 <= sign * along <= max(speeds) * 3 + 1
                checked += 1
            assert abs(across) <= 1
    assert checked >= 10


@pytest.mark.parametrize("name", ["grow", "shrink"])
def test_size_in_the_decoded_video(tracked_set, name):
    root, parameters = tracked_set
    for index in range(CLASSES.index(name), 24, 12):
        scene, _ = make_video("train", index, parameters=parameters)
        area = foreground(decoded(root, f"train/{name}/{index:05d}.mp4", NUM_FRAMES), scene).sum(axis=(1, 2))
        assert np.corrcoef(area, np.arange(NUM_FRAMES))[0, 1] * MOTIONS[name].sign > 0.97
        assert np.ptp(area) > 0.3 * area.max()


@pytest.mark.parametrize("name", ["clockwise", "counter-clockwise"])
def test_rotation_in_the_decoded_video(tracked_set, name):
    root, parameters = tracked_set
    for index in range(CLASSES.index(name), 24, 12):
        scene, _ = make_video("train", index, parameters=parameters)
        frames = decoded(root, f"train/{name}/{index:05d}.mp4", NUM_FRAMES)
        ratios = []
        for track, _ in scene.sprites:  # some are occluded, or too small to be measured well
            pairs = itertools.pairwise(frames[::4])  # far enough apart for a rotation of more than a pixel
            spins = [spin_between(a, b, (track.x[0], track.y[0]), track.radius[0]) for a, b in pairs]
            ratios.append(np.median(spins) / np.degrees(track.angle[4] - track.angle[0]))
        assert np.median(ratios) == pytest.approx(1, abs=0.3)


@pytest.fixture(scope="module")
def states():
    """Labels [N] and the first sprite's (x, y, log radius, angle) over time, [N, 4, T], of scenes of all classes."""
    labels = np.arange(2400) % len(CLASSES)
    tracks = []
    for index, label in enumerate(labels):
        rng = np.random.default_rng((3, index))
        scene = make_scene(rng, motion=MOTIONS[CLASSES[label]], size=32, num_frames=16)
        track = scene.sprites[0][0]
        tracks.append([track.x, track.y, np.log(track.radius), track.angle])
    return labels, np.array(tracks)


def nearest_neighbor_accuracy(features, labels):
    """Fraction of the second half whose 15 nearest neighbors in the first half vote for the right class."""
    half = len(labels) // 2
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    distances = ((scaled[half:, None] - scaled[None, :half]) ** 2).sum(axis=-1)
    votes = labels[:half][np.argsort(distances, axis=1)[:, :15]]
    guesses = (votes[..., None] == np.arange(len(CLASSES))).sum(axis=1).argmax(axis=1)
    return (guesses == labels[half:]).mean()


def test_one_frame_does_not_predict_the_class_but_the_motion_does(states):
    labels, tracks = states
    size = 32
    frame = np.random.default_rng(0).integers(0, 16, len(labels))
    x, y, radius, angle = tracks[np.arange(len(labels)), :, frame].T
    circles = [wave(2 * np.pi * x / frame_width(size)) for wave in (np.cos, np.sin)]
    circles += [wave(2 * np.pi * y / size) for wave in (np.cos, np.sin)]
    circles += [wave(angle) for wave in (np.cos, np.sin)]
    one_frame = nearest_neighbor_accuracy(np.stack([*circles, radius], axis=1), labels)
    short = nearest_neighbor_accuracy(tracks[:, :, 2] - tracks[:, :, 0], labels)
    middle, end = tracks[:, :, 8] - tracks[:, :, 0], tracks[:, :, 15] - tracks[:, :, 8]
    long = nearest_neighbor_accuracy(np.concatenate([middle, end], axis=1), labels)
    # Chance is 1/12 with a standard deviation of 0.008; without the reversal, three classes share each direction.
    assert one_frame < 0.115
    assert 0.55 < short < 0.75
    assert long > 0.9


def test_frames_of_a_motion_and_its_reversal_have_one_distribution(states):
    """At every time for positions and angles, over all times for radii (grow is the reversal of shrink)."""
    labels, tracks = states
    right, left, grow, shrink = (tracks[labels == CLASSES.index(n)] for n in ("right", "left", "grow", "shrink"))
    for time_index in (0, 7, 15):
        places = [tracks_of[:, 0, time_index] % frame_width(32) for tracks_of in (right, left)]
        assert scipy.stats.ks_2samp(*places).pvalue > 0.01
    still = tracks[labels < CLASSES.index("grow")][:, 2, 0]
    pick = np.random.default_rng(1).integers(0, 16, 200)
    for changing in (grow, shrink):
        assert scipy.stats.ks_2samp(changing[np.arange(200), 2, pick], still).pvalue > 0.01
    assert scipy.stats.ks_2samp(grow[:, 2, 0], shrink[:, 2, -1]).pvalue > 0.01
    assert scipy.stats.ks_2samp(grow[:, 2, 0], shrink[:, 2, 0]).pvalue < 1e-4  # the test has the power to tell


def test_the_reversal_comes_at_varying_times_and_only_in_two_phase_motions():
    turns = []
    for index in range(120):
        motion = MOTIONS[CLASSES[index % 12]]
        turns.append(make_scene(np.random.default_rng(index), motion=motion, size=32, num_frames=32).turn)
    by_class = np.array(turns).reshape(10, 12)
    two_phase = [MOTIONS[name].turns for name in CLASSES]
    assert np.isinf(by_class[:, ~np.array(two_phase)]).all()
    found = by_class[:, two_phase]
    assert found.min() >= 31 * TURN[0]
    assert found.max() <= 31 * TURN[1]
    assert np.ptp(found) > 6


# ---- files -----------------------------------------------------------------------------------------------------------


def test_lists_labels_and_classes(small_set):
    train, test = read_list(small_set / "train_list.txt", num_classes=12), read_list(small_set / "test_list.txt")
    assert (len(train), len(test)) == (14, 13)
    assert (small_set / "classes.txt").read_text().split() == list(CLASSES)
    assert np.ptp(np.bincount(train.labels, minlength=12)) <= 1
    assert np.ptp(np.bincount(test.labels, minlength=12)) <= 1
    for record in [*train, *test]:
        assert record.path.split("/")[1] == CLASSES[record.label]
        assert record.num_frames == 8
    assert len(open_reader("RAW", small_set).read(train[3], range(8))) == 8


def test_train_and_test_videos_differ(small_set):
    files = content(small_set)
    videos = [bytes_ for path, bytes_ in files.items() if path.endswith(".mp4")]
    assert len(set(videos)) == len(videos) == 27


def test_any_number_of_workers_makes_the_same_files(small_set, tmp_path):
    make_synthetic(tmp_path / "two", workers=2, **SMALL)
    assert content(tmp_path / "two") == content(small_set)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_reads_as_it_was_rendered(format, tmp_path):
    root = tmp_path / "set"
    make_synthetic(root, format=format, workers=1, num_train=13, num_test=1, size=64, frames=6)
    reader = open_reader(format.removesuffix("_SET"), root)
    records = read_list(root / "train_list.txt")
    for index in (0, 6, 12):
        _, drawn = make_video("train", index, parameters=Parameters(13, 1, 64, 6, format, 0))
        read = reader.read(records[index], range(6)).numpy()
        error = np.abs(read.astype(int) - drawn).mean(axis=(1, 2, 3))
        assert error.max() < 9  # chroma subsampling and camera noise; a wrong frame differs by more
        for shown in range(6):
            distances = np.abs(drawn.astype(int) - read[shown]).mean(axis=(1, 2, 3))
            assert distances.argmin() == shown


# ---- resuming --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_a_continued_run_makes_only_missing_or_incomplete_videos(format, tmp_path, monkeypatch):
    root, whole = tmp_path / "set", tmp_path / "whole"
    store, encode = FORMATS[format]
    made = []

    def stop_at_sixth(frames):
        made.append(1)
        if len(made) == 6:
            raise KeyboardInterrupt
        return encode(frames)

    monkeypatch.setitem(synthetic.FORMATS, format, (store, stop_at_sixth))
    with pytest.raises(KeyboardInterrupt):
        make_synthetic(root, workers=1, format=format, **SMALL)
    assert not (root / "train_list.txt").exists()
    broken = f"train/{CLASSES[1]}/00001"
    if format == "RAW":
        (root / f"{broken}.mp4").write_bytes(b"")
    elif format == "FRAME":
        (root / broken / "00003.jpg").unlink()
    elif format == "LMDB":
        (root / broken / "data.mdb").write_bytes(b"not a data base")
    made.clear()

    def count(frames):
        made.append(1)
        return encode(frames)

    monkeypatch.setitem(synthetic.FORMATS, format, (store, count))
    make_synthetic(root, workers=1, format=format, **SMALL)
    assert len(made) == 27 - 5 + (format != "LMDB_SET")
    make_synthetic(whole, workers=1, format=format, **SMALL)
    if "LMDB" in format:  # the order of pages depends on the history
        reader = open_reader("LMDB", root), open_reader("LMDB", whole)
        for record in read_list(root / "train_list.txt"):
            one, other = (r.read(record, range(8)) for r in reader)
            assert one.equal(other)
    else:
        assert content(root) == content(whole)


def test_a_killed_process_is_continued(tmp_path):
    root = tmp_path / "set"
    command = [sys.executable, "-m", "dataset.synthetic", "--root", str(root), "--workers", "1", "--num_train", "400"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while len(list(root.rglob("*.mp4"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = FORMATS["RAW"][0](root)
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.mp4"))
    assert all(store.holds(name, num_frames=NUM_FRAMES) for name in names)
    before = {name: (root / name).stat().st_mtime_ns for name in names}
    with pytest.raises(SyntheticError, match="num_train 400, but num_train 5 was"):
        make_synthetic(root, num_train=5, workers=1)
    assert {name: (root / name).stat().st_mtime_ns for name in names} == before


def test_a_finished_set_is_not_changed(small_set, monkeypatch):
    before = content(small_set)
    monkeypatch.setitem(synthetic.FORMATS, "RAW", (FORMATS["RAW"][0], None))
    make_synthetic(small_set, **SMALL)
    assert content(small_set) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 34}, "holds a dataset with size 32, but size 34 was requested"),
        ({"frames": 9, "seed": 2}, "frames 8, seed 0, but frames 9, seed 2"),
        ({"format": "FRAME"}, "format RAW, but format FRAME"),
        ({"noise": 9.0}, "noise 3.0, but noise 9.0"),
    ],
)
def test_another_set_is_not_overwritten(small_set, changes, words):
    before = content(small_set)
    with pytest.raises(SyntheticError, match=words):
        make_synthetic(small_set, **{**SMALL, **changes})
    assert content(small_set) == before


def test_a_set_from_before_its_noise_could_be_chosen_is_the_same(small_set, tmp_path):
    shutil.copytree(small_set, tmp_path / "set")
    description = tmp_path / "set" / DESCRIPTION
    changed = json.loads(description.read_text())
    del changed["parameters"]["noise"]
    description.write_text(json.dumps(changed))
    make_synthetic(tmp_path / "set", **SMALL)
    with pytest.raises(SyntheticError, match=r"noise 3\.0, but noise 9"):
        make_synthetic(tmp_path / "set", noise=9, **SMALL)


def test_noise_has_the_requested_standard_deviation():
    clean, noisy = (
        synthetic.make_video("train", 0, parameters=synthetic.Parameters(1, 1, 48, 4, "RAW", 0, noise))[1].astype(float)
        for noise in (0.0, 20.0)
    )
    inside = (clean > 80) & (clean < 175)  # nothing is clipped
    assert (noisy - clean)[inside].std() == pytest.approx(20, rel=0.1)


def test_a_set_of_another_generator_is_not_mixed_with(small_set, tmp_path):
    shutil.copytree(small_set, tmp_path / "set")
    description = tmp_path / "set" / DESCRIPTION
    changed = json.loads(description.read_text())
    changed["parameters"]["generator"] += 1
    description.write_text(json.dumps(changed))
    with pytest.raises(SyntheticError, match="generator"):
        make_synthetic(tmp_path / "set", **SMALL)


def test_a_folder_with_other_files_is_an_error(tmp_path):
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(SyntheticError, match="is not empty"):
        make_synthetic(tmp_path, **SMALL)
    assert content(tmp_path) == {"thesis.txt": b"do not touch"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 33}, "size must be even"),
        ({"size": 30}, "size must be at least 32, not 30"),
        ({"frames": 3}, "frames must be at least 4"),
        ({"num_test": 0}, "num_test must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"noise": float("nan")}, "noise must be at least 0, not nan"),
        ({"format": "AVI"}, "one of RAW, FRAME, LMDB, LMDB_SET, not 'AVI'"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_bad_parameters_are_named(changes, words, tmp_path):
    with pytest.raises(SyntheticError, match=words):
        make_synthetic(tmp_path / "set", **{**SMALL, **changes})
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(("format", "method"), [("RAW", "open"), ("FRAME", "write_bytes"), ("LMDB", "mkdir")])
def test_a_full_disk_is_one_clear_error(format, method, tmp_path, monkeypatch):
    root = tmp_path / "set"
    original = getattr(Path, method)

    def refuse(path, *arguments, **options):
        if "00004" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(ValueError, match=r"(disk of .* is full|no space left on the disk)"):
        make_synthetic(root, workers=1, format=format, **SMALL)
    monkeypatch.undo()
    make_synthetic(root, workers=1, format=format, **SMALL)
    assert not [path for path in root.rglob("*") if "partial" in path.name or path.name.endswith(".tmp")]


def test_a_full_disk_under_lmdb_is_one_clear_error(tmp_path, monkeypatch):
    def fail(_folder, _items):
        raise lmdb.Error("mdb_txn_commit: Input/output error")  # what LMDB raises on a full disk

    monkeypatch.setattr(video_stores, "_put", fail)
    with pytest.raises(SyntheticError, match="cannot write .* Input/output error"):
        make_synthetic(tmp_path / "set", workers=1, format="LMDB_SET", **SMALL)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(SyntheticError, match="disk of .* is full"):
        make_synthetic(tmp_path / "set", workers=1, format="LMDB_SET", **SMALL)


def test_the_command_line_reports_mistakes():
    command = [sys.executable, "-m", "dataset.synthetic", "--root", "unused", "--size", "71"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: size must be even for H.264 video, not 71\n")
    assert not (ROOT / "unused").exists()


def test_h264_is_real():
    """An MP4 container with an H.264 stream, several key frames and B-frames."""
    _, frames = make_video("train", 0, parameters=Parameters(1, 1, 72, 32, "RAW", 0))
    with av.open(io.BytesIO(encode_video(frames)[0])) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 96, 72)
        assert isinstance(container, av.container.InputContainer)
        pictures = list(container.decode(video=0))
    assert len(pictures) == 32
    assert sum(picture.key_frame for picture in pictures) >= 3
    assert {int(picture.pict_type) for picture in pictures} == {1, 2, 3}  # FFmpeg's I, P and B


def test_a_video_is_encoded_to_the_same_bytes_every_time() -> None:
    parameters = Parameters(60, 12, 32, 16, "RAW", 0)
    for split, index in itertools.product(("train", "test"), range(5)):
        frames = make_video(split, index, parameters=parameters)[1]
        assert len({encode_video(frames)[0] for _ in range(20)}) == 1
