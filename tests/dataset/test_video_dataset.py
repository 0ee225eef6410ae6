"""Samples: the right frames in any worker, and the handling of unreadable and short videos."""

import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from dataset import sampling
from dataset.listing import VideoList, VideoRecord, read_list
from dataset.loading import VideoLoader
from dataset.readers import FewerFramesError, FrameReader, ReadError, open_reader
from dataset.readers.frame_reader import Put
from dataset.transforms.recipes import build_train_transform, evaluation_transform, resize_short_side
from dataset.video_dataset import (
    MAX_DRAWS,
    ClipSample,
    EvaluationClips,
    TrainingClips,
    VideoFrames,
    VideoViews,
    collate_clips,
    worker_init,
)
from tests.videos import encode_video, frame_numbers, overwrite_packet
from utils.clip_shape import ClipShape
from utils.errors import UserError

LENGTHS = (30, 5, 41, 64, 33)  # the second one is shorter than a clip
LABELS = (0, 1, 2, 0, 1)
SHAPE = ClipShape(num_segments=2, clip_length=4, num_steps=2)
SEED = (7, 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five valid videos, an empty and a missing one."""
    root = tmp_path_factory.mktemp("videos")
    for number, length in enumerate(LENGTHS):
        encode_video(root / f"{number}.mp4", length)
    (root / "empty.mp4").touch()
    return root


def make_list(folder: Path, lines: Sequence[str] = ()) -> VideoList:
    sound = [f"{i}.mp4 {length} {label}" for i, (length, label) in enumerate(zip(LENGTHS, LABELS, strict=True))]
    (folder / "list.txt").write_text("\n".join(lines or sound))
    return read_list(folder / "list.txt")


def as_it_is(clip: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    return clip


class WatchedReader(FrameReader):
    """Records the frames requested from the wrapped reader."""

    def __init__(self, inside: FrameReader) -> None:
        self.inside = inside
        self.asked: list[tuple[VideoRecord, list[int]]] = []

    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        self.asked.append((record, list(numbers)))
        self.inside.decode(record, numbers, put)


def training(videos: VideoList, root: Path, *, transform=as_it_is, **options) -> TrainingClips:
    return TrainingClips(videos, open_reader("RAW", root), transform, **{"shape": SHAPE, "seed": SEED, **options})


def test_a_training_clip_shows_the_frames_drawn_from_seed_epoch_and_index(tmp_path: Path, root: Path) -> None:
    videos = make_list(tmp_path)
    clips = training(videos, root)
    assert len(clips) == len(LENGTHS)
    for epoch in range(3):
        for index, length in enumerate(LENGTHS):
            rng = np.random.default_rng((*SEED, epoch, index))
            offsets = sampling.train_offsets(length, SHAPE, rng=rng)
            expected = [(offset + 2 * i) % length for offset in offsets for i in range(4)]
            sample = clips[epoch, index]
            assert frame_numbers(sample.clip.numpy()) == expected
            assert sample[1:] == (LABELS[index], index, (), 0)
    assert not torch.equal(clips[0, 2].clip, clips[1, 2].clip)
    assert not torch.equal(clips[0, 2].clip, training(videos, root, seed=(8, 1))[0, 2].clip)


def test_a_repeated_video_of_an_epoch_gives_another_clip(tmp_path: Path, root: Path) -> None:
    clips = training(make_list(tmp_path), root)
    for key in ((2, 3), (2, 3, 1), (2, 3, 2)):
        offsets = sampling.train_offsets(LENGTHS[3], SHAPE, rng=np.random.default_rng((*SEED, *key)))
        expected = [(offset + 2 * i) % LENGTHS[3] for offset in offsets for i in range(4)]
        sample = clips[key]
        assert (frame_numbers(sample.clip.numpy()), sample.video) == (expected, 3)
    assert not torch.equal(clips[2, 3].clip, clips[2, 3, 1].clip)


def test_the_transform_gets_the_clip_and_the_generator_after_the_offsets(tmp_path: Path, root: Path) -> None:
    def mark(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.full_like(clip, rng.integers(256))

    sample = training(make_list(tmp_path), root, transform=mark)[4, 3]
    rng = np.random.default_rng((*SEED, 4, 3))
    sampling.train_offsets(LENGTHS[3], SHAPE, rng=rng)
    assert sample.clip.unique().tolist() == [rng.integers(256)]


def test_workers_make_identical_samples(tmp_path: Path, root: Path) -> None:
    lines = ["0.mp4 30 0", "2.mp4 500 1", "empty.mp4 9 2", "1.mp4 5 1", "none.mp4 9 1", "3.mp4 64 2"]
    videos = make_list(tmp_path, lines)
    transform = build_train_transform("default", crop_size=24, horizontal_flip=True)
    clips = training(videos, root, transform=transform, on_error="skip")
    batches = [[(epoch, i) for i in part] for epoch in range(2) for part in ([5, 2], [0, 1], [4, 3])]
    loaders = [
        VideoLoader(
            clips, collate_fn=collate_clips, batch_sampler=batches, num_workers=workers, worker_init_fn=worker_init
        )
        for workers in (0, 2)
    ]
    alone, shared = ([*loader, *loader] for loader in loaders)
    assert len(alone) == len(shared) == 2 * len(batches)
    for one, other in zip(alone, shared, strict=True):
        assert one.clips.shape == (2, 8, 24, 24, 3) and one.clips.dtype == torch.uint8
        assert torch.equal(one.clips, other.clips)
        assert torch.equal(one.labels, other.labels) and torch.equal(one.videos, other.videos)
        assert one.notes == other.notes and one.skipped == other.skipped
        assert one.labels.tolist() == [videos[video].label for video in one.videos.tolist()]
    assert sum(batch.skipped for batch in alone) >= 8  # two bad videos in each of four epochs


def test_a_list_with_too_many_frames_is_corrected(tmp_path: Path, root: Path) -> None:
    videos = make_list(tmp_path, ["0.mp4 3000 0", "1.mp4 17 1"])
    clips = training(videos, root)
    seen: set[int] = set()
    for epoch in range(40):
        sample = clips[epoch, 0]
        seen |= set(frame_numbers(sample.clip.numpy()))
        assert sample.notes == ("0.mp4: list says 3000 frames, the file has 30",)
        assert sample.skipped == 0
    assert seen == set(range(30)) - {14, 29}  # the last frame of a span of 8 frames in steps of 2 is never shown
    short = [frame for epoch in range(10) for frame in frame_numbers(clips[epoch, 1].clip.numpy())]
    assert set(short) == set(range(5))
    validation = EvaluationClips(videos, open_reader("RAW", root), crop_size=48, shape=SHAPE)[0]
    assert validation.notes == ("0.mp4: list says 3000 frames, the file has 30",)
    views = VideoViews(videos, open_reader("RAW", root), short_side=48, num_clips=3, shape=SHAPE)[0]
    assert views.notes == ("0.mp4: list says 3000 frames, the file has 30",)
    truth = VideoViews(make_list(tmp_path), open_reader("RAW", root), short_side=48, num_clips=3, shape=SHAPE)[0]
    assert torch.equal(views.frames, truth.frames) and torch.equal(views.clip_frames, truth.clip_frames)


class ShrinkingReader(FrameReader):
    """A video with fewer frames at every read."""

    def decode(self, record: VideoRecord, _numbers: Sequence[int], _put: Put) -> None:
        raise FewerFramesError(f"{record.path} has shrunk", record.num_frames - 1)


def test_a_length_is_corrected_only_once(tmp_path: Path) -> None:
    clips = TrainingClips(make_list(tmp_path), ShrinkingReader(), as_it_is, shape=SHAPE, seed=SEED)
    with pytest.raises(ReadError, match=r"^0\.mp4 has shrunk$"):
        clips[0, 0]


def test_training_skips_and_counts_videos_that_cannot_be_read(tmp_path: Path, root: Path) -> None:
    videos = make_list(tmp_path, ["empty.mp4 30 0", "none.mp4 30 1", "0.mp4 30 2"])
    clips = training(videos, root, on_error="skip")
    most = 0
    for epoch in range(20):
        sample = clips[epoch, 0]
        assert (sample.label, sample.video) == (2, 2)
        assert len(sample.notes) == sample.skipped >= 1
        assert sample.notes[0] == f"skipped: cannot read the video {root / 'empty.mp4'}: the file is empty"
        assert sample.clip.shape == (8, 48, 64, 3)
        most = max(most, sample.skipped)
    assert most > 1
    assert clips[0, 2].skipped == 0


def test_training_gives_up_after_many_bad_videos_in_a_row(tmp_path: Path, root: Path) -> None:
    clips = training(make_list(tmp_path, ["empty.mp4 30 0", "none.mp4 30 1"]), root, on_error="skip")
    with pytest.raises(ReadError, match=rf"^{MAX_DRAWS} videos drawn in a row could not be read; last skipped: cannot"):
        clips[0, 0]


def test_by_default_a_bad_video_is_an_error(tmp_path: Path, root: Path) -> None:
    videos = make_list(tmp_path, ["empty.mp4 30 0"])
    reader = open_reader("RAW", root)
    message = f"^cannot read the video {root / 'empty.mp4'}: the file is empty$"
    with pytest.raises(ReadError, match=message):
        training(videos, root)[0, 0]
    with pytest.raises(ReadError, match=message):
        EvaluationClips(videos, reader, crop_size=24, shape=SHAPE)[0]
    with pytest.raises(ReadError, match=message):
        VideoViews(videos, reader, short_side=24, num_clips=2, shape=SHAPE)[0]


def test_on_error_decides_about_damaged_frames(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "broken.mp4", 40, options={"preset": "ultrafast", "g": "10", "bf": "0"})
    overwrite_packet(path, 12, lambda content: content[:40] + bytes(len(content) - 40))
    encode_video(tmp_path / "sound.mp4", 40)
    videos = make_list(tmp_path, ["broken.mp4 40 0", "sound.mp4 40 1"])
    reader = open_reader("RAW", tmp_path)
    damaged = rf"^cannot read the video {path}: frame 1\d \(from 0\) is damaged or depends on a damaged one$"
    whole = ClipShape(num_segments=1, clip_length=40, num_steps=1)
    with pytest.raises(ReadError, match=damaged):
        training(videos, tmp_path, shape=whole)[0, 0]
    sample = training(videos, tmp_path, shape=whole, on_error="skip")[0, 0]
    assert (sample.video, sample.label) == (1, 1) and sample.skipped == len(sample.notes) >= 1
    with pytest.raises(ReadError, match=damaged):
        EvaluationClips(videos, reader, crop_size=24, shape=whole)[0]
    sample = EvaluationClips(videos, reader, crop_size=24, shape=whole, on_error="skip")[0]
    assert (sample.clip.numel(), sample.skipped) == (0, 1) and re.match(f"skipped: {damaged[1:]}", sample.notes[0])
    with pytest.raises(ReadError, match=damaged):
        VideoViews(videos, reader, short_side=24, num_clips=1, shape=whole)[0]
    item = VideoViews(videos, reader, short_side=24, num_clips=1, shape=whole, on_error="skip")[0]
    assert not item.frames.numel() and re.match(damaged, item.missing)


def test_lost_frames_are_named_in_the_notes() -> None:
    root = Path(__file__).parents[1] / "data" / "videos"
    record = VideoRecord("one_bad_packet.mp4", 20, 0)
    reader = open_reader("RAW", root)
    damage = "1 packet cannot be decoded (Invalid data found when processing input)"
    notes = ("one_bad_packet.mp4: list says 20 frames, the file has 19", f"{root}/one_bad_packet.mp4: {damage}")
    whole = ClipShape(num_segments=1, clip_length=20, num_steps=1)
    videos: Any = [record]
    assert TrainingClips(videos, reader, as_it_is, shape=whole, seed=SEED)[0, 0].notes == notes
    assert EvaluationClips(videos, reader, crop_size=24, shape=whole)[0].notes == notes
    assert VideoViews(videos, reader, short_side=24, num_clips=1, shape=whole)[0].notes == notes


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_in_a_worker_arrives_as_it_was_raised(tmp_path: Path, root: Path, num_workers: int) -> None:
    videos = make_list(tmp_path, ["0.mp4 30 0", "empty.mp4 30 0", "2.mp4 41 1"])
    loaders = (
        VideoLoader(
            training(videos, root), collate_fn=collate_clips, batch_sampler=[[(0, 0), (0, 1)]], num_workers=num_workers
        ),
        VideoLoader(
            VideoViews(videos, open_reader("RAW", root), short_side=24, num_clips=2, shape=SHAPE),
            collate_fn=same,
            batch_size=None,
            num_workers=num_workers,
        ),
    )
    for loader in loaders:
        with pytest.raises(ReadError) as caught:
            list(loader)
        assert type(caught.value) is ReadError
        assert isinstance(caught.value, UserError)
        assert str(caught.value) == f"cannot read the video {root / 'empty.mp4'}: the file is empty"


def same(video: VideoFrames) -> VideoFrames:
    return video


def test_batches_before_an_error_are_delivered(tmp_path: Path, root: Path) -> None:
    videos = make_list(tmp_path, ["0.mp4 30 0", "2.mp4 41 1", "empty.mp4 30 0"])
    views = VideoViews(videos, open_reader("RAW", root), short_side=24, num_clips=1, shape=SHAPE)
    items = iter(VideoLoader(views, collate_fn=same, batch_size=None, num_workers=1))
    assert [next(items).video, next(items).video] == [0, 1]
    with pytest.raises(ReadError):
        next(items)


class BuggyReader(FrameReader):
    def decode(self, _record: VideoRecord, _numbers: Sequence[int], _put: Put) -> None:
        raise ZeroDivisionError("a bug")


def test_a_bug_in_a_worker_keeps_its_traceback(tmp_path: Path) -> None:
    clips = TrainingClips(make_list(tmp_path), BuggyReader(), as_it_is, shape=SHAPE, seed=SEED, on_error="skip")
    loader = VideoLoader(clips, collate_fn=collate_clips, batch_sampler=[[(0, 0)]], num_workers=1)
    with pytest.raises(ZeroDivisionError, match="Original Traceback"):
        list(loader)


def test_the_validation_takes_the_first_clip_and_the_center(tmp_path: Path, root: Path) -> None:
    videos = make_list(tmp_path)
    reader = open_reader("RAW", root)
    clips = EvaluationClips(videos, reader, crop_size=32, shape=SHAPE)
    assert len(clips) == len(LENGTHS)
    for index, length in enumerate(LENGTHS):
        offsets = sampling.test_offsets(length, SHAPE, clip=0, num_clips=1)
        frames = sampling.frame_indices(offsets, SHAPE, num_frames=length)
        expected = evaluation_transform(reader.read(videos[index], frames).numpy(), size=32)
        sample = clips[index]
        assert np.array_equal(sample.clip.numpy(), expected) and sample.clip.shape == (8, 32, 32, 3)
        assert sample[1:] == (LABELS[index], index, (), 0)


def test_no_other_video_replaces_one_in_an_evaluation(tmp_path: Path, root: Path) -> None:
    videos = make_list(tmp_path, ["empty.mp4 30 2", "0.mp4 30 1"])
    reader = open_reader("RAW", root)
    cause = f"cannot read the video {root / 'empty.mp4'}: the file is empty"
    clips = EvaluationClips(videos, reader, crop_size=32, on_error="skip", shape=SHAPE)
    batch = collate_clips([clips[0], clips[1]])
    assert batch.clips.shape == (1, 8, 32, 32, 3)
    assert (batch.labels.tolist(), batch.videos.tolist()) == ([1], [1])
    assert (batch.notes, batch.skipped) == ((f"skipped: {cause}",), 1)
    nothing = collate_clips([clips[0]])
    assert (len(nothing.clips), len(nothing.labels), nothing.skipped) == (0, 0, 1)
    missing = VideoViews(videos, reader, short_side=32, num_clips=2, on_error="skip", shape=SHAPE)[0]
    assert (missing.video, missing.label, missing.missing, missing.notes) == (0, 2, cause, ())
    assert missing.frames.numel() == missing.clip_frames.numel() == 0


@pytest.mark.parametrize("num_clips", [1, 3, 10])
def test_views_decode_a_video_once_and_hold_every_clip(tmp_path: Path, root: Path, num_clips: int) -> None:
    videos = make_list(tmp_path)
    reader = WatchedReader(open_reader("RAW", root))
    views = VideoViews(videos, reader, short_side=48, num_clips=num_clips, shape=SHAPE)
    for index, length in enumerate(LENGTHS):
        reader.asked.clear()
        video = views[index]
        ((record, asked),) = reader.asked
        assert record == videos[index]
        assert asked == sorted(set(asked))
        assert len(video.frames) == len(asked)
        assert (video.video, video.label, video.missing, video.notes) == (index, LABELS[index], "", ())
        assert video.clip_frames.shape == (num_clips, 8) and video.clip_frames.dtype == torch.int64
        shown = np.array(frame_numbers(video.frames.movedim(1, -1).numpy()))
        for clip in range(num_clips):
            offsets = sampling.test_offsets(length, SHAPE, clip=clip, num_clips=num_clips)
            expected = [(offset + 2 * i) % length for offset in offsets for i in range(4)]
            assert shown[video.clip_frames[clip].numpy()].tolist() == expected
        assert set(shown) == set(shown[video.clip_frames.numpy().reshape(-1)])


def test_views_are_resized_to_the_short_side(tmp_path: Path, root: Path) -> None:
    videos = make_list(tmp_path)
    reader = open_reader("RAW", root)
    video = VideoViews(videos, reader, short_side=24, num_clips=2, shape=SHAPE)[0]
    assert video.frames.shape[1:] == (3, 24, 32)
    whole = VideoViews(videos, reader, short_side=48, num_clips=2, shape=SHAPE)[0].frames.movedim(1, -1)
    assert np.array_equal(video.frames.movedim(1, -1).numpy(), resize_short_side(whole.numpy(), 24))


def test_samples_are_collated_in_order() -> None:
    samples = [
        ClipSample(
            torch.full((2, 4, 4, 3), i, dtype=torch.uint8), label=i + 1, video=i + 10, notes=(f"n{i}",) * i, skipped=i
        )
        for i in range(3)
    ]
    batch = collate_clips(samples)
    assert batch.clips.shape == (3, 2, 4, 4, 3) and batch.clips.dtype == torch.uint8
    assert [clip.unique().tolist() for clip in batch.clips] == [[0], [1], [2]]
    assert (batch.labels.tolist(), batch.videos.tolist()) == ([1, 2, 3], [10, 11, 12])
    assert batch.labels.dtype == batch.videos.dtype == torch.int64
    assert (batch.notes, batch.skipped) == (("n1", "n2", "n2"), 3)


class Setup(Dataset[list[Any]]):
    """The setup of a process: threads of torch and OpenCV, and whether it ignores SIGINT and SIGTERM."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> list[Any]:
        ignored = [signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGINT, signal.SIGTERM)]
        return [torch.get_num_threads(), cv2.getNumThreads(), *ignored]


def test_a_worker_takes_one_thread_and_leaves_interrupts_to_its_parent() -> None:
    loader = VideoLoader(Setup(), collate_fn=as_it_is_listed, batch_size=1, num_workers=1, worker_init_fn=worker_init)
    assert list(loader) == [[[1, 1, True, True]]]


def as_it_is_listed(samples: list[Any]) -> list[Any]:
    return samples
