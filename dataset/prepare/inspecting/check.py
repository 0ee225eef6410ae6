"""Check every video of a list: decode its first, its last and some random frames, as training does.

A video file is also decoded from its start: the frames must be the same, and no frame in between may be corrupt.
"""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.listing import VideoRecord, class_names_beside, read_list
from dataset.prepare.annotations import PrepareError
from dataset.prepare.lists import ListFile, write_list, write_new
from dataset.prepare.parallel import Journal, run_parallel
from dataset.readers import FrameReader, ReadError, open_reader
from utils.text import one_line, say


@dataclass(frozen=True, slots=True)
class Sample:
    """Frames of a video to decode; `index` is its line in the list, from 0."""

    index: int
    record: VideoRecord
    frames: tuple[int, ...]
    format: str
    root: str
    use_flow: bool


def check_list(
    listed: Path, *, format: str, root: Path, use_flow: bool, frames: int, seed: int, output: Path | None, workers: int
) -> int:
    """Check the videos of a list by their first, last and `frames` random frames; write a clean list and rejects.

    X_list.clean.txt and X_list.rejects.txt go to `output`, the folder of the list by default.

    Returns:
        Number of rejected videos.

    Raises:
        PrepareError: A file of an earlier check exists; nothing is overwritten.
    """
    folder = output or listed.parent
    clean, rejects = (folder / f"{listed.stem}.{ending}.txt" for ending in ("clean", "rejects"))
    for path in (clean, rejects):
        if path.exists():
            raise PrepareError(f"{path} exists: {listed} was checked before; move it away, or choose another --output")
    videos, classes = read_list(listed), class_names_beside(listed)
    # Report an invalid file beside the list, and a wrong root, before any decoding.
    ListFile.of(clean, videos)
    open_reader(format, root, use_flow=use_flow)
    samples = [
        Sample(index, record, _choose(record, seed=(seed, index), count=frames), format, str(root), use_flow)
        for index, record in enumerate(videos)
    ]
    causes = _decode_all(samples, folder=folder, name=listed.stem, list_sha256=videos.sha256, workers=workers)
    rejected = [(record.path, cause) for record, cause in zip(videos, causes, strict=True) if cause]
    write_new({rejects: "".join(f"{one_line(path)}\t{cause}\n" for path, cause in rejected)})
    if len(rejected) == len(videos):
        say(f"{listed}: none of {len(videos)} videos can be decoded; {rejects} says why")
    else:
        kept = videos.subset(np.flatnonzero([not cause for cause in causes]))
        accepted = ListFile.of(clean, kept, missing=rejected)
        write_list(accepted, classes, root=root, files=(listed,))
    return len(rejected)


def _choose(record: VideoRecord, *, seed: tuple[int, int], count: int) -> tuple[int, ...]:
    drawn = np.random.default_rng(seed).integers(0, record.num_frames, size=max(count, 0))
    return tuple(sorted({0, record.num_frames - 1, *(int(frame) for frame in drawn)}))


def _decode_all(samples: list[Sample], *, folder: Path, name: str, list_sha256: str, workers: int) -> list[str]:
    """Return why each video is rejected, "" if it is not; a killed command resumes from its journal."""
    request = hashlib.sha256(repr([sample.frames for sample in samples]).encode()).hexdigest()
    first = samples[0]
    header = {
        "list": list_sha256,
        "frames": request,
        "root": first.root,
        "format": first.format,
        "flow": first.use_flow,
    }
    path = folder / f".{name}.check.jsonl"
    journal = Journal(path, header=header)
    rest = [sample for sample in samples if str(sample.index) not in journal]
    done = len(samples) - len(rest)
    for sample, cause in run_parallel(decode, rest, workers=workers, title=f"checking {name}", done=done):
        journal.put(str(sample.index), cause)
    causes = [journal[str(sample.index)] for sample in samples]
    path.unlink()  # a new check decodes again
    return causes


def decode(sample: Sample) -> str:
    """Decode a sample; return why that fails, "" if it does not."""
    try:
        _reader(sample.format, sample.root, sample.use_flow).verify(sample.record, sample.frames)
    except ReadError as error:
        return str(error)
    return ""


@functools.lru_cache(maxsize=1)
def _reader(format: str, root: str, use_flow: bool) -> FrameReader:
    return open_reader(format, root, use_flow=use_flow)
