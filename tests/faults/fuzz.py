"""Corrupt files of eleven kinds at random positions and read them: right, refused or reported, never silently wrong.

    python -m tests.faults.fuzz [h264 hevc vp9 mpeg4 mjpeg flv1 jpeg png lmdb list record] [--count 200]

Files are corrupted as by disks, networks and interrupted copies: changed bits or bytes, truncation, a part missing,
repeated, zeroed or noise. Corruption that a format cannot detect (a bit of a coded picture, a digit of a list) is
distinguished from errors of this project: a reference decoder returns wrong content, too, without an error
("unmarked").
"""

import functools
import io
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import lmdb
import numpy as np
from av.stream import Disposition
from PIL import Image

from dataset.listing import VideoRecord, read_list
from dataset.readers import FewerFramesError, open_reader
from dataset.writers.stores import VideoEnvironments
from tests.faults.experiment import Counts, make_record, read_options
from tests.faults.outcomes import BAD, GOOD, find_outcome
from tests.video_kinds import MPEG4, VP9, X265
from tests.videos import X264, encode_video, numbered_frame
from utils.config import load_config

NUM_FRAMES = 38
CLOSE = 1.0  # mean difference in levels of 255 that lossy codecs may cause in intact parts
NUMBERS = [0, 3, 7, 14, 21, 22, 30, 37]  # frames that are read
VIDEOS: dict[str, tuple[str, dict[str, Any]]] = {
    "h264": ("a.mp4", {"options": X264}),
    "hevc": ("a.mp4", {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": X265}}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "options": VP9}),
    "mpeg4": ("a.avi", MPEG4),
    "mjpeg": ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {}}),
    "flv1": ("a.flv", {"codec": "flv", "options": {"g": "12"}}),
}
Frames = list[np.ndarray | None]  # None: missing, or marked as corrupt


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        make: Makes an intact file in a folder and returns its path.
        read: Returns the content of a file as read by this project, and its notes; raises UserError.
        reference: Returns the content as read by other programs, None for parts that they mark as corrupt.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], tuple[list[Any], tuple[str, ...]]]
    reference: Callable[[Path], list[Any]]


def _read_frames(format: str, numbers: list[int], path: Path) -> tuple[list[Any], tuple[str, ...]]:
    video = path.parent if format != "RAW" else path
    reader = open_reader(format, video.parent)
    record = VideoRecord(video.name, NUM_FRAMES, 0)
    try:
        return list(reader.read(record, numbers).numpy()), reader.take_notes()
    except FewerFramesError as error:  # as loaders do: read the frames that exist
        there = [number for number in numbers if number < error.num_frames] or [0]
        return list(reader.read(record, there).numpy()), (str(error), *reader.take_notes())


def _decode_reference(path: Path) -> list[Any]:
    """Decode from the start; return the frames NUMBERS, None from an error to the next key frame."""
    frames: Frames = []
    with av.open(str(path), metadata_errors="replace") as container:
        stream = next(one for one in container.streams.video if not one.disposition & Disposition.attached_pic)
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        is_marked = False
        packets = container.demux(stream)
        while True:
            try:
                if (packet := next(packets, None)) is None:
                    break
                decoded = stream.codec_context.decode(packet if packet.size else None)
            except av.error.FFmpegError:
                is_marked = True
                if packet is None:
                    break
                continue
            for frame in decoded:
                is_marked = frame.is_corrupt or (is_marked and not frame.key_frame)
                frames.append(None if is_marked else frame.to_ndarray(format="rgb24"))
    return [frames[number] if number < len(frames) else None for number in NUMBERS]


def _open_picture(data: bytes | None) -> np.ndarray | None:
    try:
        return None if data is None else np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None


def _make_picture(format: str, folder: Path) -> Path:
    (folder / "00001.jpg").parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbered_frame(0)).save(folder / "00001.jpg", format)
    return folder / "00001.jpg"


def _make_lmdb(folder: Path) -> Path:
    encoded = []
    for number in range(NUM_FRAMES):
        stream = io.BytesIO()
        Image.fromarray(numbered_frame(number)).save(stream, "JPEG")
        encoded.append(stream.getvalue())
    VideoEnvironments(folder.parent).write(folder.name, encoded)
    return folder / "data.mdb"


def _read_lmdb_reference(path: Path) -> list[Any]:
    with lmdb.open(str(path.parent), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return [_open_picture(transaction.get(f"{number + 1:06d}.jpg".encode())) for number in NUMBERS]


def _make_list(folder: Path) -> Path:
    return _make_config(folder).parent / "videos/train_list.txt"


def _make_config(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return make_record(folder.parent, "states")


def _read_text(path: Path) -> tuple[list[Any], tuple[str, ...]]:
    return [repr(list(read_list(path)) if path.suffix == ".txt" else load_config(path))], ()


def _video_kind(name: str, options: dict[str, Any]) -> Kind:
    make = lambda folder: encode_video(folder / name, NUM_FRAMES, **options)  # noqa: E731
    return Kind(make, functools.partial(_read_frames, "RAW", NUMBERS), _decode_reference)


def _picture_kind(format: str) -> Kind:
    return Kind(
        functools.partial(_make_picture, format),
        functools.partial(_read_frames, "FRAME", [0]),
        lambda path: [_open_picture(path.read_bytes())],
    )


KINDS: dict[str, Kind] = {
    **{kind: _video_kind(*row) for kind, row in VIDEOS.items()},
    "jpeg": _picture_kind("JPEG"),
    "png": _picture_kind("PNG"),
    "lmdb": Kind(_make_lmdb, functools.partial(_read_frames, "LMDB", NUMBERS), _read_lmdb_reference),
    "list": Kind(_make_list, _read_text, lambda path: _read_text(path)[0]),
    "record": Kind(_make_config, _read_text, lambda path: _read_text(path)[0]),
}


def corrupt(content: bytes, rng: random.Random) -> bytes:
    """Return the content of a file with one kind of corruption."""
    size = len(content)
    begin = rng.randrange(size)
    stop = min(size, begin + rng.choice((1, 16, 512, 4096)))
    kind = rng.randrange(7)
    if kind < 2:
        changed = bytearray(content)
        for _ in range(rng.choice((1, 1, 3, 20))):
            changed[rng.randrange(size)] ^= 1 << rng.randrange(8) if kind else rng.randrange(1, 256)
        return bytes(changed)
    middle = (b"", content[begin:stop] * 2, bytes(stop - begin), rng.randbytes(stop - begin))
    return content[:begin] if kind == 2 else content[:begin] + middle[kind - 3] + content[stop:]


def judge(kind: Kind, path: Path, expected: list[Any]) -> str:
    """Read a corrupt file and return the outcome, one of `tests.faults.outcomes.OUTCOMES`."""
    found, notes = kind.read(path)
    if notes:
        return "reported"
    wrong = [place for place, one in enumerate(found) if not _is_like(one, expected[place])]
    if not wrong:
        return "as it was"
    # If decoding stops unnoticed, the rest of a picture is arbitrary memory: both only need to be wrong.
    shown = kind.reference(path)
    is_unmarked = all(shown[place] is not None and not _is_like(shown[place], expected[place]) for place in wrong)
    return "unmarked" if is_unmarked else "silently wrong"


def _is_like(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        is_alike = one.shape == other.shape
        return is_alike and bool(np.abs(one.astype(int) - other.astype(int)).mean() <= CLOSE)
    return isinstance(one, str) and one == other


def try_kind(folder: Path, name: str, *, count: int) -> Counts:
    """Corrupt and read until there were `count` files; keep those with a bad outcome, with their output."""
    kind, counts = KINDS[name], Counts(folder / f"fuzz-{name}.json")
    sound = kind.make(folder / f"sound-{name}")
    expected, notes = kind.read(sound)
    assert not notes
    while (number := counts.total()) < count:
        path = folder / f"fuzzed-{name}-{number:04d}" / sound.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(corrupt(sound.read_bytes(), random.Random(f"{name} {number}")))
        read = functools.partial(judge, kind, path, expected)
        outcome = find_outcome(read, path, log=folder / f"fuzzed-{name}-{number:04d}.txt")
        counts.add({outcome: 1})
        if outcome in GOOD:
            shutil.rmtree(path.parent)
            (folder / f"fuzzed-{name}-{number:04d}.txt").unlink()
    return counts


def main() -> None:
    """Corrupt, read and count."""
    options, is_well = read_options(__doc__, KINDS, count=200), True
    for name in options.kinds:
        counts = try_kind(options.folder, name, count=options.count)
        is_well &= not any(counts[outcome] for outcome in BAD)
        found = " | ".join(str(counts[outcome]) for outcome in (*GOOD, *BAD))
        print(f"| {name} | {counts.total()} | {found} |", flush=True)
    sys.exit(not is_well)


if __name__ == "__main__":
    main()
