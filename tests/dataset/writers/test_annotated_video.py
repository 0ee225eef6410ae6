"""Annotated copies: the right text on every frame, and every frame at its time."""

import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dataset.readers.video_file import decode_frames
from dataset.writers.annotated_video import write_annotated
from tests.videos import encode_video, sequential_frames
from utils.files import FileError


def shown_at(path: Path) -> list[Fraction]:
    """Seconds at which the frames of a file are shown."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        return sorted(packet.pts * stream.time_base for packet in container.demux(stream) if packet.pts is not None)


def seconds_of(path: Path) -> float:
    with av.open(str(path)) as container:
        assert container.duration is not None
        return container.duration / av.time_base


def test_annotated_frames_have_the_text_of_their_window(tmp_path: Path) -> None:
    video = encode_video(tmp_path / "v.mp4", 12, size=(160, 240))
    copied = tmp_path / "out/c.mp4"
    write_annotated(
        decode_frames(video),
        copied,
        lambda frame: ["80 %  Übung\x1b\n"] if frame < 6 else ["-"],
        times=range(12),
        time_base=Fraction(1, 25),
        rate=Fraction(25),
    )
    before, after = sequential_frames(video), sequential_frames(copied)
    assert len(after) == 12
    place = np.s_[8:16, 20:70]
    changes = [np.abs(old[place].astype(int) - new[place]).mean() for old, new in zip(before, after, strict=True)]
    assert min(changes[:6]) > 20 and max(changes[6:]) < 8
    for frame, copy in zip(before, after, strict=True):
        assert np.abs(frame[40:].astype(int) - copy[40:]).mean() < 10  # a line feed in a name is no second line


@pytest.mark.parametrize(
    ("time_base", "times"),
    [
        (Fraction(1, 12800), [512 * i if i < 15 else 7680 + 5120 * (i - 15) for i in range(30)]),
        (Fraction(1, 1000), [33 * i + i * i for i in range(30)]),
        (Fraction(1001, 30000), list(range(30))),
        (Fraction(1, 90000), [3003 * i + i % 2 for i in range(30)]),
    ],
)
def test_every_frame_has_the_time_of_the_source(tmp_path: Path, time_base: Fraction, times: list[int]) -> None:
    video = encode_video(tmp_path / "v.mp4", 30)
    rate = len(times) / (times[-1] * time_base)
    write_annotated(decode_frames(video), tmp_path / "c.mp4", lambda _: [], times=times, time_base=time_base, rate=rate)
    assert shown_at(tmp_path / "c.mp4") == [time * time_base for time in times]
    assert seconds_of(tmp_path / "c.mp4") == pytest.approx(float(times[-1] * time_base + 1 / rate), abs=0.02)


@pytest.mark.parametrize("count", [3, 300])  # below and above what the writer buffers
def test_a_copy_that_cannot_be_written_says_why(tmp_path: Path, count: int) -> None:
    noise = (np.random.default_rng(n).integers(0, 256, (96, 128, 3), dtype=np.uint8) for n in range(count))
    limits, rate = resource.getrlimit(resource.RLIMIT_FSIZE), Fraction(25)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    try:
        with pytest.raises(FileError, match=r"c\.mp4: cannot be written \(File too large\)"):
            write_annotated(noise, tmp_path / "c.mp4", lambda _: [], times=range(count), time_base=1 / rate, rate=rate)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("counted", [11, 13])
def test_another_number_of_frames_than_counted_is_an_error(tmp_path: Path, counted: int) -> None:
    video, rate = encode_video(tmp_path / "v.mp4", 12), Fraction(25)
    with pytest.raises(FileError, match=rf"more or fewer frames than the {counted} counted"):
        write_annotated(
            decode_frames(video), tmp_path / "c.mp4", lambda _: [], times=range(counted), time_base=1 / rate, rate=rate
        )
    assert list(tmp_path.iterdir()) == [video]
