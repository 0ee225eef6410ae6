"""Segments of long videos: in lists, in every reader, in training clips and in held-out splits."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from dataset.heldout import split_heldout
from dataset.listing import VideoRecord, list_of, read_list, segment_path, split_segment
from dataset.readers import FewerFramesError, ReadError, open_reader
from dataset.readers.lmdb import LmdbStore
from dataset.video_dataset import TrainingClips, VideoViews
from dataset.writers.stores import FrameFolders, ShardedEnvironments, VideoEnvironments
from tests.official_sets import write_pictures
from tests.videos import encode_video, frame_numbers
from utils.clip_shape import ClipShape

N = 50


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A video of 50 numbered frames with a space in its name, as RAW, FRAME, LMDB and in an LMDB shard."""
    root = tmp_path_factory.mktemp("roots")
    encode_video(root / "RAW/a b.mkv", N).rename(root / "RAW/a b")
    pictures = [path.read_bytes() for path in sorted(write_pictures(root / "pictures", N).iterdir())]
    FrameFolders(root / "FRAME").write("a b", pictures)
    VideoEnvironments(root / "LMDB").write("a b", pictures)
    ShardedEnvironments(root / "SHARD").write("a b/deep/x", pictures)
    ShardedEnvironments(root / "SHARD").write("a b/deep/xy", pictures[:3])
    return {format: root / format for format in ("RAW", "FRAME", "LMDB", "SHARD")}


@pytest.mark.parametrize("layout", ["RAW", "FRAME", "LMDB", "SHARD"])
def test_frames_of_a_segment_count_from_its_begin(layout: str, roots: dict[str, Path]) -> None:
    video = "a b/deep/x" if layout == "SHARD" else "a b"
    reader = pickle.loads(pickle.dumps(open_reader(layout.replace("SHARD", "LMDB"), roots[layout])))
    record = VideoRecord(f"{video}#skip=13", 30, 0)
    for frames in ([0, 29], [7, 2, 7], range(30)):
        assert frame_numbers(reader.read(record, frames).numpy()) == [13 + frame for frame in frames]
    assert frame_numbers(reader.read(VideoRecord(f"{video}#skip=0", 3, 0), [0, 2]).numpy()) == [0, 2]
    with pytest.raises(FewerFramesError) as caught:
        reader.read(VideoRecord(f"{video}#skip=40", 30, 0), [29])
    assert caught.value.num_frames == 10
    with pytest.raises(ReadError, match=r"#skip=50: the video has 50 frames, so nothing is left of the segment"):
        reader.read(VideoRecord(f"{video}#skip=50", 30, 0), [0])


def test_a_shard_distinguishes_its_videos(roots: dict[str, Path]) -> None:
    store = LmdbStore(roots["SHARD"])
    assert [store.count(f"a b/deep/{name}", "") for name in ("x", "xy", "z")] == [N, 3, 0]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.mp4", ("a.mp4", 0)),
        ("a b.mp4#skip=90", ("a b.mp4", 90)),
        ("#20 x#skip=007", ("#20 x", 7)),
        ("a#skip=1#skip=2", ("a#skip=1", 2)),
        ("a#skip=3.mp4", ("a#skip=3.mp4", 0)),
        ("a#skip=", ("a#skip=", 0)),
        ("a#skip=-1", ("a#skip=-1", 0)),
        ("#skip=5", ("#skip=5", 0)),
    ],
)
def test_only_a_complete_suffix_is_a_segment(path: str, expected: tuple[str, int]) -> None:
    assert split_segment(path) == expected


def test_a_segment_path_round_trips(tmp_path: Path) -> None:
    assert split_segment(segment_path("x y.mp4", 12)) == ("x y.mp4", 12)
    (tmp_path / "list.txt").write_text("x y.mp4#skip=12 30 4\r\nz.mp4 9 0")
    videos = read_list(tmp_path / "list.txt")
    assert list(videos) == [VideoRecord("x y.mp4#skip=12", 30, 4), VideoRecord("z.mp4", 9, 0)]
    assert list(list_of(videos, path="here")) == list(videos)


def test_clips_never_leave_their_segment(roots: dict[str, Path]) -> None:
    videos = list_of([VideoRecord("a b#skip=20", 12, 0), VideoRecord("a b#skip=44", 30, 1)], path="here")
    reader = open_reader("RAW", roots["RAW"])
    shape = ClipShape(2, 3, 1)
    clips = TrainingClips(videos, reader, lambda clip, rng: clip, seed=(0,), shape=shape)
    for index, (first, last) in enumerate([(20, 31), (44, 49)]):
        numbers = {n for epoch in range(25) for n in frame_numbers(clips[epoch, index].clip.numpy())}
        assert (min(numbers), max(numbers)) == (first, last)
    assert "list says 30 frames, the file has 6" in clips[0, 1].notes[0]
    views = VideoViews(videos, reader, short_side=48, num_clips=4, shape=shape)
    assert set(frame_numbers(views[0].frames.movedim(1, -1).numpy())) <= set(range(20, 32))


def test_segments_of_a_video_are_held_out_together() -> None:
    rng = np.random.default_rng(0)
    records = [
        VideoRecord(segment_path(f"v{video}.mp4", 10 * part), 10, int(rng.integers(3)))
        for video in range(40)
        for part in range(4)
    ]
    for seed in range(5):
        training, heldout = split_heldout(list_of(records, path="here"), fraction=0.2, seed=seed)
        sides = [{split_segment(record.path)[0] for record in side} for side in (training, heldout)]
        assert not sides[0] & sides[1]
        assert len(training) + len(heldout) == len(records) and 0.15 < len(heldout) / len(records) < 0.4
        assert {record.label for record in training} == {0, 1, 2}


def test_a_class_of_one_video_is_not_held_out_with_all_its_segments() -> None:
    records = [VideoRecord(f"a.mp4#skip={i}", 5, 0) for i in range(4)]
    records += [VideoRecord(f"b{i}.mp4", 5, 1) for i in range(6)]
    training, heldout = split_heldout(list_of(records, path="here"), fraction=0.5, seed=0)
    assert sum(record.label == 0 for record in training) == 4
    assert sum(record.label == 1 for record in heldout) == 3
