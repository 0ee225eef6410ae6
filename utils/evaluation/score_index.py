"""Index the rows of all part files by (video, crop): check coverage, find gaps, read in the order of the list."""

import functools
import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.evaluation.scores import (
    PART_PATTERN,
    CorruptPartError,
    Manifest,
    Part,
    ScoresError,
    describe_broken,
    read_part,
)
from utils.files import FileError

_ABSENT = -1
# Parts cached while reading in the order of the list: every process writes its own parts, so consecutive videos are
# spread over as many parts as there were processes (times the crops, if extracted one by one).
_PARTS_IN_MEMORY = 64
_CORRUPT_HINT = "run the extraction again: it sets this file aside and scores its videos again"


@dataclass(frozen=True)
class ScoreIndex:
    """The rows of all parts of a folder.

    Attributes:
        manifest: Manifest of the scores.
        parts: The part files.
        part_of: Index of the part that has the row, int32 [videos, crops], -1 if there is none.
        row_of: Row in that part, int32 [videos, crops].
        missing: Why a video could not be scored, by video, for videos without a row for every crop.
    """

    manifest: Manifest
    parts: tuple[Path, ...]
    part_of: NDArray[np.int32]
    row_of: NDArray[np.int32]
    missing: dict[int, str]

    @property
    def scored_videos(self) -> NDArray[np.int64]:
        """The videos that have a row for every crop, in the order of the list."""
        return np.flatnonzero((self.part_of != _ABSENT).all(axis=1))

    @property
    def digest(self) -> str:
        """A hash of the set of parts; parts are never rewritten under the same name."""
        lines = [self.manifest.fingerprint, *(f"{part.name} {part.stat().st_size}" for part in self.parts)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def pending(self, crops: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
        """Return (video, crops without a row) for every video that lacks one, in the order of the list."""
        absent = self.part_of[:, list(crops)] == _ABSENT
        return [
            (int(video), tuple(crop for crop, lacks in zip(crops, absent[video], strict=True) if lacks))
            for video in np.flatnonzero(absent.any(axis=1))
        ]

    def require_complete(self, *, completed_by: str) -> None:
        """Raise a ScoresError unless every (video, crop) has a row or its video is recorded as missing.

        Args:
            completed_by: The command that completes the scores, for the message.
        """
        crops = tuple(range(self.manifest.num_crops))
        gaps = [(video, lacking) for video, lacking in self.pending(crops) if video not in self.missing]
        if gaps:
            count = sum(len(lacking) for _, lacking in gaps)
            first = ", ".join(f"video {video} crop {'+'.join(map(str, lacking))}" for video, lacking in gaps[:3])
            raise ScoresError(
                f"the scores are incomplete: {count} of {self.part_of.size} (video, crop) pairs are missing, e.g. "
                f"{first} (videos counted from 0); complete them with: {completed_by}"
            )
        if not len(self.scored_videos):
            cause = next(iter(self.missing.values()))
            raise ScoresError(f"no video could be scored, all {len(self.missing)} are missing: {cause}")

    def blocks(
        self, size: int = 64, *, on_broken: Callable[[int, str], None] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield (videos [N], logits [N, crops, clips, classes]) of all scored videos in the order of the list.

        The order, and so every result, does not depend on the processes that wrote the parts. Only a few parts are in
        memory at a time.

        Args:
            size: Maximum videos per block.
            on_broken: Called with each video whose logits are NaN or infinite, and a description; the video is then
                left out. None: such a video is an error.

        Raises:
            ScoresError: A part is corrupt, or (without `on_broken`) a logit is NaN or infinite.
        """
        read = functools.lru_cache(_PARTS_IN_MEMORY)(self._read)
        num_crops, (num_clips, num_classes) = self.manifest.num_crops, self.manifest.row_shape
        scored = self.scored_videos
        for begin in range(0, len(scored), size):
            videos = scored[begin : begin + size]
            scores = np.empty((len(videos), num_crops, num_clips, num_classes), dtype=np.float32)
            for place, video in enumerate(videos):
                for crop in range(num_crops):
                    part, axis_of = read(int(self.part_of[video, crop]))
                    scores[place, crop] = part[self.row_of[video, crop], :, axis_of[crop]]
            finite = np.isfinite(scores).all(axis=(1, 2, 3))
            for video, broken in zip(videos[~finite], scores[~finite], strict=True):
                self._report_broken(int(video), broken, on_broken)
            if finite.all():
                yield videos, scores
            elif finite.any():
                yield videos[finite], scores[finite]

    def _read(self, number: int) -> tuple[NDArray[np.float32], dict[int, int]]:
        """Return the scores of a part, [videos, clips, crops, classes], and the position of each crop in them."""
        try:
            part = read_part(self.parts[number], self.manifest)
        except CorruptPartError as error:
            raise ScoresError(f"{error}; {_CORRUPT_HINT}") from error
        return part.scores, {crop: axis for axis, crop in enumerate(part.crops.tolist())}

    def _report_broken(
        self, video: int, scores: NDArray[np.float32], on_broken: Callable[[int, str], None] | None
    ) -> None:
        parts = sorted({str(self.parts[number]) for number in self.part_of[video]})
        problem = f"{describe_broken(scores)} ({', '.join(parts)})"
        if on_broken is None:
            raise ScoresError(f"video {video} (counted from 0): {problem}; {_CORRUPT_HINT}")
        on_broken(video, problem)


def index_scores(
    folder: Path, manifest: Manifest, *, on_corrupt: Callable[[Path, CorruptPartError], None] | None = None
) -> ScoreIndex:
    """Index the rows of all parts of a folder; the scores themselves are read and checked only with `on_corrupt`.

    Args:
        folder: The folder of scores.
        manifest: Its manifest.
        on_corrupt: Called with each part that cannot be read or has NaN or infinite logits; the part is then ignored.
            None: such a part is an error.

    Raises:
        ScoresError: A part is corrupt (without `on_corrupt`) or of other scores, or a row occurs twice.
    """
    part_of = np.full((manifest.num_videos, manifest.num_crops), _ABSENT, dtype=np.int32)
    row_of = part_of.copy()
    paths: list[Path] = []
    missing: dict[int, str] = {}
    for path in sorted(folder.glob(PART_PATTERN)):
        try:
            part = read_part(path, manifest, with_scores=on_corrupt is not None)
            if on_corrupt is not None and (broken := describe_broken(part.scores)):
                raise CorruptPartError(f"{path}: {broken}")
        except CorruptPartError as error:
            if on_corrupt is None:
                raise ScoresError(f"{error}; {_CORRUPT_HINT}") from error
            on_corrupt(path, error)
            continue
        rows = np.ix_(part.videos, part.crops)
        _require_single(part, part_of[rows], paths)
        part_of[rows] = len(paths)
        row_of[rows] = np.arange(len(part.videos), dtype=np.int32)[:, None]
        missing.update(part.missing)
        paths.append(path)
    complete = (part_of != _ABSENT).all(axis=1)
    still_missing = {video: cause for video, cause in sorted(missing.items()) if not complete[video]}
    return ScoreIndex(manifest, tuple(paths), part_of, row_of, still_missing)


def _require_single(part: Part, earlier: NDArray[np.int32], paths: list[Path]) -> None:
    taken = np.argwhere(earlier != _ABSENT)
    repeated = len(part.videos) - len(np.unique(part.videos))
    if len(taken) or repeated:
        row, column = taken[0] if len(taken) else (0, 0)
        other = paths[earlier[row, column]].name if len(taken) else "itself"
        raise ScoresError(
            f"{len(taken) + repeated} (video, crop) pairs occur twice, e.g. video {part.videos[row]} crop "
            f"{part.crops[column]} in {part.path} and {other}: two extractions ran at the same time. Move one of the "
            "two files away and run the extraction again, which fills the gaps"
        )


def set_aside_corrupt_part(path: Path) -> Path:
    """Rename a corrupt part so that it is no longer read; return its new path."""
    aside = path.with_name(f"corrupt-{secrets.token_hex(2)}-{path.name}")
    try:
        path.rename(aside)
    except OSError as error:
        raise FileError(f"{path} is corrupt and cannot be renamed ({error.strerror})") from error
    return aside
