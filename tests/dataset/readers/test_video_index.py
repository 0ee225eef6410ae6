"""The frame index: when packets are trusted, what decoding adds, and where decoding starts."""

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from dataset.readers import video_index
from dataset.readers.video_file import VideoFile
from dataset.readers.video_index import FrameIndex, build_index, plan_runs
from tests.video_kinds import N, make_video
from tests.videos import encode_video


@pytest.fixture(scope="module")
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(request.param, tmp_path_factory.mktemp("video"))


PLAIN = (
    "B-frames",
    "open groups",
    "variable rate",
    "late start",
    "fragments",
    "edit list within a group",
    "mkv",
    "flv",
    "transport stream",
    "vp9",
    "hevc",
)
DOUBTFUL = ("interlaced", "avi, mpeg4", "avi, h264", "mp4, mpeg4", "vp8", "edit list", "within a group", "joined")


@pytest.mark.parametrize("video", PLAIN + DOUBTFUL, indirect=True)
def test_only_ambiguous_files_are_decoded_for_their_index(
    video: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    drain = VideoFile.drain

    def watched(file: VideoFile) -> list[av.VideoFrame]:
        decoded.append(file)
        return drain(file)

    monkeypatch.setattr(VideoFile, "drain", watched)
    with VideoFile(video) as file:
        build_index(file)
    assert bool(decoded) == (request.node.callspec.params["video"] in DOUBTFUL)


def test_a_seek_that_lands_too_late_fails(tmp_path: Path) -> None:
    with VideoFile(encode_video(tmp_path / "a.mp4", N)) as video:
        keys = build_index(video).keys
        assert len(keys) > 3
        assert video.packets_from_key(keys[2], latest=keys[1], known_keys=keys) is None
        assert video.packets_from_key(keys[1], latest=keys[2], known_keys=(keys[0], keys[2])) is None
        packets = video.packets_from_key(keys[1], latest=keys[2], known_keys=keys)
        assert packets is not None
        first = next(packets)
        assert first.is_keyframe and first.pts == keys[1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format_name", "avi"),
        ("codec_name", "mpeg4"),
        ("declared_frames", 4),
        ("is_interlaced", True),
        ("shown", [2, 6, None]),
        ("shown", [2, 6, 6]),
        ("shown", [2, 6, 1]),
        ("shown", []),
        ("keys", [2, None]),
        ("starts_with_key", False),
        ("damaged", True),
        ("in_order", False),
    ],
)
def test_packets_alone_are_trusted_only_if_nothing_at_all_is_odd(field: str, value: object) -> None:
    file: Any = SimpleNamespace(format_name="mpegts", codec_name="h264", declared_frames=3, is_interlaced=False)
    scan = video_index._Scan(shown=[2, 6, 4], keys=[2], num_packets=3, starts_with_key=True)
    assert video_index._is_plain(file, scan)
    setattr(file if hasattr(file, field) else scan, field, value)
    assert not video_index._is_plain(file, scan)


@pytest.mark.parametrize(
    ("times", "shown", "keys", "interlaced", "expected"),
    [
        ([2, 4, 6], [2, 6, 4], (2,), False, [2, 4, 6]),
        ([2, 4, 6], [0, 2, 6, 4], (0,), False, [2, 4, 6]),  # a packet without a frame
        ([2, 4, 6], [2, 3, 4, 5, 6, 7], (2,), True, None),  # two fields per frame
        ([2, 4, 6], [2, 6, 4], (2,), True, [2, 4, 6]),
        ([2, None, 6], [2, 6, None], (2,), False, None),
        ([2, 6, 4], [2, 6, 4], (2,), False, None),
        ([2, 4, 6], [2, 4, 4], (2,), False, None),
        ([2, 4, 6], [2, 4, 7], (2,), False, None),
        ([2, 4, 6], [2, 4, 6], (4,), False, None),
        ([2, 4, 6], [2, 4, 6], (), False, None),
    ],
)
def test_decoded_times_find_frames_only_where_nothing_is_ambiguous(
    times: list[int | None],
    shown: list[int | None],
    keys: tuple[int, ...],
    interlaced: bool,
    expected: list[int] | None,
) -> None:
    scan = video_index._Scan(shown=shown)
    found = video_index._distinct_times(times, scan, keys=keys, interlaced=interlaced)
    assert (found is None) if expected is None else (found is not None and found.tolist() == expected)


def test_runs_start_at_the_nearest_key_frame_and_only_where_that_saves_decoding() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        num_frames = int(rng.integers(1, 80))
        pts = np.cumsum(rng.integers(1, 4, size=num_frames))
        key_frames = [0, *np.flatnonzero(rng.random(num_frames - 1) < 0.15) + 1]
        keys = tuple(int(pts[i]) for i in key_frames)
        wanted = np.flatnonzero(rng.random(num_frames) < 0.2).tolist() or [num_frames - 1]
        runs = plan_runs(FrameIndex(num_frames, pts, keys), wanted)
        assert [frame for run in runs for frame in run.frames] == wanted
        key_before = {frame: max(i for i in key_frames if i <= frame) for frame in wanted}
        for run in runs:
            assert run.starts[0] == pts[key_before[run.frames[0]]]
            assert run.starts[1:] == tuple(key for key in keys if key < run.starts[0])[-1:]
        starts = {run.frames[0] for run in runs}
        for before, frame in itertools.pairwise(wanted):
            assert (frame in starts) == (key_before[frame] - before - 1 > video_index.FRAMES_WORTH_A_SEEK)
