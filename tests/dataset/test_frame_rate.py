"""Clips at a fixed frame rate: real videos of many rates and containers against the frames nearest to each tick."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helpers
from dataset import sampling
from dataset.build import make_reader, make_video_views, read_evaluation_list, read_training_list
from dataset.listing import VideoList, VideoRecord, read_fingerprint, read_list
from dataset.prediction.request import Source
from dataset.prediction.scoring import VideoScorer
from dataset.prediction.videos import open_video
from dataset.prepare.__main__ import main
from dataset.readers import open_reader
from dataset.transforms.recipes import evaluation_transform
from dataset.video_dataset import EvaluationClips, TrainingClips, VideoViews
from model.build import make_initial_network
from tests.conftest import MakeRecord
from tests.utils.evaluation.test_scores import make_manifest
from tests.videos import encode_video, frame_numbers, overwrite_packet
from utils.clip_shape import ClipShape
from utils.config import ConfigError, load_config
from utils.errors import UserError

RATE = 7.0  # of the clips: no tick is half way between two frames of the videos below
SHAPE = ClipShape(num_segments=2, clip_length=3, num_steps=2, frame_rate=RATE)
# Name, frames per second, number of frames. The last one has 25 per second for 20 frames, then 5.
VARIABLE = [*range(20), *range(20, 120, 5)]
VIDEOS: list[tuple[str, Any, int]] = [
    ("10.mp4", 10, 23),
    ("12.5.mkv", Fraction(25, 2), 30),
    ("15.avi", 15, 35),
    ("24000_1001.mp4", Fraction(24000, 1001), 60),
    ("25.webm", 25, 60),
    ("30.ts", 30, 70),
    ("50.mkv", 50, 120),
    ("60.mp4", 60, 150),
    ("variable.mkv", 25, len(VARIABLE)),
]
CODECS: dict[str, dict[str, Any]] = {
    ".avi": {"codec": "mpeg4", "options": {}},
    ".webm": {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rates")
    for name, rate, count in VIDEOS:
        pts = VARIABLE if name.startswith("variable") else None
        encode_video(root / name, count, rate=rate, pts=pts, **CODECS.get(Path(name).suffix, {}))
    lines = [f"{name} {count} 0" for name, _, count in VIDEOS]
    (root / "my_list.txt").write_text("\n".join([*lines, "variable.mkv#skip=15 12 0", "60.mp4#skip=31 100 0"]))
    return root


def seconds_of(record: VideoRecord) -> list[float]:
    """Start of every frame of a list line and end of the last, as encoded."""
    name, _, skip = record.path.partition("#skip=")
    rate = next(rate for known, rate, _ in VIDEOS if known == name)
    units = VARIABLE if name.startswith("variable") else list(range(200))
    units = units[int(skip or 0) :][: record.num_frames + 1]
    if len(units) == record.num_frames:  # the last frame lasts as long as most frames
        units.append(units[-1] + int(np.median(np.diff(units))))
    return [float((unit - units[0]) / rate) for unit in units]


def nearest(times: Sequence[float], rate: float) -> list[int]:
    """The frame nearest to each tick by brute force, with times in milliseconds as in Matroska, or exact."""
    ticks = [tick / rate for tick in range(max(1, round(times[-1] * rate)))]
    return [min(range(len(times) - 1), key=lambda frame: abs(times[frame] - tick)) for tick in ticks]


def assert_nearest(frames: Sequence[int] | np.ndarray, times: Sequence[float] | np.ndarray, rate: float) -> None:
    """No frame is nearer to its tick than the given one, up to the rounding of time stamps."""
    assert len(frames) == max(1, round(times[-1] * rate))
    apart = np.abs(np.array(times[:-1])[None] - np.arange(len(frames))[:, None] / rate)
    assert (apart[np.arange(len(frames)), frames] <= apart.min(axis=1) + 0.0021).all()


def first_number(record: VideoRecord) -> int:
    return int(record.path.partition("#skip=")[2] or 0)


@pytest.mark.parametrize("index", range(len(VIDEOS) + 2))
def test_clips_of_all_datasets_show_the_frames_nearest_to_their_ticks(root: Path, index: int) -> None:
    videos, reader = read_list(root / "my_list.txt"), open_reader("RAW", root)
    record = videos[index]
    assert reader.times(record) == pytest.approx(seconds_of(record), abs=0.0011)
    shown = nearest(seconds_of(record), RATE)
    assert abs(len(shown) - RATE * seconds_of(record)[-1]) <= 0.5
    clips = TrainingClips(videos, reader, lambda clip, _: clip, shape=SHAPE, seed=(3,))
    for epoch in range(3):
        rng = np.random.default_rng(int(np.random.default_rng((3, epoch, index)).integers(1 << 62)))
        starts = sampling.train_offsets(len(shown), SHAPE, rng=rng)
        ticks = [(start + 2 * step) % len(shown) for start in starts for step in range(3)]
        expected = [first_number(record) + shown[tick] for tick in ticks]
        assert frame_numbers(clips[epoch, index].clip.numpy()) == expected
    spread = sampling.spread_clips(len(shown), SHAPE, num_clips=2)
    of_clips = [[first_number(record) + shown[tick] for tick in clip] for clip in spread]
    single = EvaluationClips(videos, reader, crop_size=48, shape=SHAPE)[index].clip.numpy()
    frames = reader.read(record, [number - first_number(record) for number in of_clips[0]]).numpy()
    assert np.array_equal(single, evaluation_transform(frames, size=48))
    views = VideoViews(videos, reader, short_side=48, num_clips=2, shape=SHAPE)[index]
    found = [frame_numbers(views.frames[rows].permute(0, 2, 3, 1).numpy()) for rows in views.clip_frames]
    assert found == of_clips


def test_clips_have_the_same_duration_at_every_frame_rate(root: Path) -> None:
    """2 x 3 frames at 7 per second; the first two seconds of every video are sampled at the same ticks."""
    videos, reader = read_list(root / "my_list.txt"), open_reader("RAW", root)
    for record in list(videos)[: len(VIDEOS)]:
        ticks = sampling.frames_at_rate(reader.times(record), RATE)
        moments = np.array(seconds_of(record))[ticks][:14]
        gap = max(np.diff(seconds_of(record)).max() if "variable" in record.path else 0, 0.1)
        assert np.abs(moments - np.arange(len(moments)) / RATE).max() <= gap / 2


@pytest.mark.parametrize("seed", range(20))
def test_ticks_of_any_times_are_the_nearest_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.append(0, np.cumsum(rng.uniform(0.005, 0.3, size=rng.integers(1, 60))))
    rate = float(rng.uniform(0.5, 80))
    found = sampling.frames_at_rate(times, rate)
    assert_nearest(found, times, rate)
    assert (np.diff(found) >= 0).all()


def test_of_two_equally_near_frames_the_first_is_taken_and_rounded_times_change_nothing() -> None:
    exact = np.arange(31) / 30
    for times in (exact, np.round(exact, 3)):
        assert sampling.frames_at_rate(times, 30).tolist() == list(range(30))
        assert sampling.frames_at_rate(times, 15).tolist() == list(range(0, 30, 2))
        assert sampling.frames_at_rate(times, 60).tolist() == np.repeat(np.arange(30), 2).tolist()
    assert sampling.frames_at_rate(np.array([0.0, 0.0]), 30).tolist() == [0]


def convert(command: str, root: Path, out: Path, *words: object) -> VideoList:
    options = ["--list", root / "my_list.txt", "--root", root, "--output", out, "--new_list", out / "new_list.txt"]
    main([command, *map(str, [*options, "--workers", 1, *words])])
    return read_list(out / "new_list.txt")


@pytest.mark.parametrize("kind", ["resize", "frames", "lmdb"])
def test_stores_of_one_rate_give_the_same_clips(root: Path, tmp_path: Path, kind: str) -> None:
    videos = convert(kind, root, tmp_path / "out", "--fps", 21, "--short_side", 0)
    format = {"resize": "RAW", "frames": "FRAME", "lmdb": "LMDB"}[kind]
    reader = open_reader(format, tmp_path / "out", picture_rate=0 if kind == "resize" else 21)
    for record, source in zip(videos, read_list(root / "my_list.txt"), strict=True):
        shown = np.array(frame_numbers(reader.read(record, range(record.num_frames)).numpy()))
        assert_nearest(shown - first_number(source), seconds_of(source), 21)
        assert reader.times(record) == pytest.approx(np.arange(len(shown) + 1) / 21)
        third = sampling.frames_at_rate(reader.times(record), RATE)
        assert third.tolist() == list(range(0, 3 * len(third), 3))
    said = json.loads((tmp_path / "out/new_list.fingerprint.json").read_text())
    assert said["frame_rate"] == 21
    convert(kind, root, tmp_path / "out", "--fps", 21, "--short_side", 0)  # nothing is left to do


def test_a_copy_of_a_store_of_one_rate_records_the_rate(root: Path, tmp_path: Path) -> None:
    out, copied = tmp_path / "out", tmp_path / "copy_list.txt"
    convert("frames", root, out, "--fps", 21)
    words = ["lmdb", "--list", out / "new_list.txt", "--root", out, "--format", "FRAME", "--output", tmp_path / "copy"]
    main([*map(str, words), "--new_list", str(copied), "--workers", "1"])
    assert read_fingerprint(copied).get("frame_rate") == 21


def test_resized_videos_keep_the_time_stamps_of_the_source(root: Path, tmp_path: Path) -> None:
    videos = convert("resize", root, tmp_path / "out", "--short_side", 32)
    reader = open_reader("RAW", tmp_path / "out")
    for record, source in zip(videos, read_list(root / "my_list.txt"), strict=True):
        assert reader.times(record)[:-1] == pytest.approx(seconds_of(source)[:-1], abs=0.0021), source.path
    assert reader.times(videos[0])[-1] == pytest.approx(2.3)


def test_images_are_converted_at_the_given_rate_and_short_videos_are_named(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    (folder / "50.mkv").symlink_to(root / "50.mkv")
    (folder / "my_list.txt").write_text("50.mkv 130 0\n")
    convert("frames", folder, tmp_path / "all", "--short_side", 0)
    for number, source in enumerate((folder, tmp_path / "all")):
        if number:
            (source / "my_list.txt").write_text("50 120 0\n")
        words = ["--format", "FRAME", "--rate", 50] if number else []
        (record,) = convert("frames", source, tmp_path / str(number), "--fps", 19, "--short_side", 0, *words)
        reader = open_reader("FRAME", tmp_path / str(number))
        shown = frame_numbers(reader.read(record, range(record.num_frames)).numpy())
        assert_nearest(shown, [i / 50 for i in range(121)], 19)
    missing = (tmp_path / "0/new_list.missing.txt").read_text()
    assert missing == "50.mkv\tthe list says 130 frames, the file has 120\n"
    with pytest.raises(UserError, match=r"--fps 20: FRAME stores no time stamps; set the frame rate with --rate"):
        convert("frames", tmp_path / "all", tmp_path / "refused", "--fps", 20, "--format", "FRAME")
    with pytest.raises(UserError, match=r"--fps 2000: must be 0\.1 to 1000"):
        convert("resize", folder, tmp_path / "refused", "--fps", 2000)


def test_a_list_with_too_many_frames_is_read_to_the_end_of_the_file(root: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("50.mkv 500 0\n50.mkv 120 0\n")
    clips = EvaluationClips(read_list(tmp_path / "list.txt"), open_reader("RAW", root), crop_size=48, shape=SHAPE)
    long, right = clips[0], clips[1]
    assert long.notes == ("50.mkv: list says 500 frames, the file has 120",)
    assert torch.equal(long.clip, right.clip)


def test_a_clip_is_the_same_before_and_after_decoding_finds_a_lost_frame(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "lost.mp4", 24)
    overwrite_packet(path, 5, lambda content: content[:6] + bytes(len(content) - 6))
    for count in (24, 23):  # according to the packets, then as decoded
        (tmp_path / "list.txt").write_text(f"lost.mp4 {count} 0\n")
        videos, shape = read_list(tmp_path / "list.txt"), ClipShape(1, 8, 1, frame_rate=12.0)
        found = set()
        for epoch in range(3):
            reader = open_reader("RAW", tmp_path)
            clips = TrainingClips(videos, reader, lambda clip, _: clip, shape=shape, seed=(0,))
            first, again = clips[epoch, 0].clip, clips[epoch, 0].clip
            assert torch.equal(first, again)
            times = reader.times(VideoRecord("lost.mp4", 20, 0))
            found.add(round(times[-1] * 25))
        assert found == {21}  # a frame before it is missing


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset.format=LMDB"], r"sampler\.frame_rate: LMDB has no time stamps; set dataset\.picture_rate"),
        (["dataset.picture_rate=25"], r"dataset\.picture_rate: RAW files have time stamps; set it to 0"),
        (["sampler.frame_rate=-1"], r"sampler\.frame_rate: found -1\.0, must be at least 0"),
    ],
)
def test_unknown_rates_are_errors(make_record: MakeRecord, words: list[str], message: str) -> None:
    record = make_record(sampler={"frame_rate": 10})
    with pytest.raises(ConfigError, match=message):
        load_config(record, words)


def test_a_rate_other_than_that_of_the_store_is_an_error(make_record: MakeRecord, root: Path, tmp_path: Path) -> None:
    convert("frames", root, tmp_path / "out", "--fps", 10)
    listed, out = str(tmp_path / "out/new_list.txt"), str(tmp_path / "out")
    data = {"format": "FRAME", "list_file": listed, "eva_list_file": listed, "root_path": out, "eva_root_path": out}
    record = make_record(dataset=data, sampler={"frame_rate": 5, "clip_length": 4})
    with pytest.raises(ConfigError, match=r"dataset\.picture_rate: found 25, but the videos of .* made with 10 frames"):
        read_training_list(load_config(record, ["dataset.picture_rate=25"]))
    config = load_config(record, ["dataset.picture_rate=10"])
    views = make_video_views(config, videos=read_evaluation_list(config))[0]
    reader = make_reader(config, out)
    assert reader.times(views and read_evaluation_list(config)[0])[1] == 0.1
    assert views.missing == ""


def test_windows_of_a_prediction_are_counted_in_the_records_rate(make_record: MakeRecord, root: Path) -> None:
    record = make_record(sampler={"frame_rate": 25, "clip_length": 8})
    config = load_config(record)
    network = make_initial_network(config, trained=None).eval()
    views = helpers.make_view_scorer(config, network=network, dtype=None, device=torch.device("cpu"))
    windows = list(
        VideoScorer(config, views).score_windows(
            open_video(Source(root / "50.mkv", "50"), max_pixels=1 << 20), stride=None
        )
    )
    assert [window.seen for window in windows] == [(first, first + 14) for first in (0, 16, 32, 48, 64, 80, 96, 104)]
    assert [round(window.begin * 25) for window in windows[:3]] == [0, 8, 16]
    assert windows[-1].end == pytest.approx(120 / 50)


def test_scores_of_another_rate_do_not_match_and_older_manifests_are_unchanged() -> None:
    before = make_manifest()
    assert "frame_rate" not in before.identity
    now = make_manifest(frame_rate=12.5)
    assert before.fingerprint != now.fingerprint
    assert before.differences(now) == ["frame_rate 0.0, now 12.5"]
    assert now.differences(before) == ["frame_rate 12.5, now 0.0"]
