"""The file format of scores: one row of logits per (video, clip, crop), for any number of processes.

A folder of scores has `manifest.json`, which identifies the evaluation, and part files `part-*.npz`, each written
atomically. Videos are identified by their line in the list, from 0. A part has the arrays

    layout           int64, version of this format; parts of version 1 have none and store probabilities
    fingerprint      text, that of the manifest
    videos           int64 [V]
    crops            int64 [C], the crops on which every video of this part was scored
    scores           float32 [V, clips, C, classes], logits of the network, its heads fused
    missing_videos   int64 [M], videos that could not be scored (on these crops)
    missing_causes   text [M]

This module does not import torch, so that merging starts at once and runs anywhere.
"""

import dataclasses
import hashlib
import io
import json
import secrets
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError
from utils.files import ZIP_ERRORS, write_atomically
from utils.sealed import unseal, write_sealed_json

MANIFEST_NAME = "manifest.json"
SCORES_FOLDER = "scores"
PART_PATTERN = "part-*.npz"
_LAYOUT = 2  # 1: probabilities, from which logits cannot be recovered
_START_ANEW = (
    "extract_score_3d.py --force moves the earlier scores and results aside and scores the videos again (the training "
    "stays)"
)


class ScoresError(UserError):
    """Scores cannot be used; the message names the file or the differences, and what to do."""


class CorruptPartError(ScoresError):
    """A part file is corrupt."""


@dataclass(frozen=True)
class Manifest:
    """The identity of a folder of scores; paths, list file and versions only inform, all else must match to merge."""

    network: str
    checkpoint_sha256: str
    list_sha256: str
    num_videos: int
    num_classes: int
    format: str
    root_path: str
    num_clips: int
    num_crops: int
    num_segments: int
    clip_length: int
    num_steps: int
    crop_size: int
    mean: list[float]
    std: list[float]
    use_flow: bool
    use_fore: bool
    precision: str
    checkpoint: str
    list_file: str
    versions: dict[str, str]
    frame_rate: float = 0.0  # absent from older manifests

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that must match for scores to belong together; a frame_rate of 0 is omitted, as it once was."""
        left_out = ("root_path", "checkpoint", "list_file", "versions", *(() if self.frame_rate else ("frame_rate",)))
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in left_out}

    @property
    def fingerprint(self) -> str:
        """A hash of the identity and the version of the format, 16 hexadecimal digits."""
        # It includes the root of the first extraction, which the manifest keeps when the videos are moved.
        content = json.dumps({"layout": _LAYOUT, **self.identity, "root_path": self.root_path}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def row_shape(self) -> tuple[int, int]:
        """(clips, classes)."""
        return self.num_clips, self.num_classes

    def differences(self, other: "Manifest") -> list[str]:
        """Return texts such as 'num_clips 10, now 20' for every field of the identity that differs in `other`."""
        found = []
        for key in {**self.identity, **other.identity}:
            value, new = getattr(self, key), getattr(other, key)
            if new != value:
                short = slice(12) if key.endswith("sha256") else slice(None)
                found.append(f"{key} {str(value)[short]}, now {str(new)[short]}")
        return found


@dataclass(frozen=True)
class Part:
    """The content of one part file."""

    path: Path
    videos: NDArray[np.int64]
    crops: NDArray[np.int64]
    missing: dict[int, str]
    scores: NDArray[np.float32]


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a folder of scores; None if there is none.

    Raises:
        ScoresError: The file is not a manifest of this version.
    """
    path = folder / MANIFEST_NAME
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
        if "sha256" in content:  # absent in earlier versions; a corrupted key would be an unknown field below
            content = unseal(content, path)
        layout = content.pop("layout")
        if layout != _LAYOUT:
            raise ValueError(_describe_layout(layout))
        return Manifest(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ScoresError(f"{path} cannot be read ({error}); {_START_ANEW}") from error


def _describe_layout(layout: Any) -> str:
    kind = "probabilities of an earlier version of this project" if layout == 1 else "another version of this project"
    return f"scores of layout {layout}, {kind}; this one stores logits, layout {_LAYOUT}"


def open_scores(folder: Path, manifest: Manifest) -> Manifest:
    """Create a folder of scores, or check that the scores in it match; return its manifest.

    Raises:
        ScoresError: The folder has scores of another evaluation; the message names the differences.
    """
    found = read_manifest(folder)
    if found is None or not any(folder.glob(PART_PATTERN)):
        content = {"layout": _LAYOUT, **dataclasses.asdict(manifest)}
        write_sealed_json(folder / MANIFEST_NAME, content)
        return manifest
    require_same(folder, found, manifest)
    return found


def require_same(folder: Path, found: Manifest, expected: Manifest) -> None:
    """Raise a ScoresError if two manifests differ; the message names the differences."""
    differences = found.differences(expected)
    if differences:
        raise ScoresError(
            f"{folder} holds scores of another evaluation: {'; '.join(differences)}. Rename the record, or run "
            "extract_score_3d.py --force, which moves the earlier scores and results aside (the training stays)"
        )


def read_part(path: Path, manifest: Manifest, *, with_scores: bool = True) -> Part:
    """Read and check one part file.

    Args:
        path: The file.
        manifest: Manifest of the folder of scores.
        with_scores: Read the scores; otherwise they are zeros that take no memory, and damage in them goes unnoticed.

    Raises:
        CorruptPartError: The file is truncated or corrupt (every member has a checksum).
        ScoresError: The file is intact, but of another evaluation.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            part, fingerprint, layout = _unpack(path, archive, with_scores=with_scores)
    except ZIP_ERRORS as error:
        raise CorruptPartError(f"{path} is truncated or corrupt ({error})") from error
    if layout != _LAYOUT:
        raise ScoresError(f"{path} holds {_describe_layout(layout)}; move it away, or {_START_ANEW}")
    if fingerprint != manifest.fingerprint:
        raise ScoresError(f"{path} belongs to other scores ({fingerprint}, not {manifest.fingerprint}); move it away")
    num_clips, num_classes = manifest.row_shape
    expected = (len(part.videos), num_clips, len(part.crops), num_classes)
    fits = part.scores.shape == expected and part.scores.dtype == np.float32
    fits = fits and all(0 <= video < manifest.num_videos for video in [*part.videos.tolist(), *part.missing])
    if not fits or not all(0 <= crop < manifest.num_crops for crop in part.crops.tolist()):
        raise ScoresError(f"{path} does not fit its manifest: scores {part.scores.shape}, expected {expected}")
    return part


def _unpack(path: Path, archive: zipfile.ZipFile, *, with_scores: bool) -> tuple[Part, str, int]:
    """Return the content of a part, its fingerprint and its version of the format."""

    def array(name: str) -> NDArray[Any]:
        # Read the whole member first: zipfile then verifies its checksum before anything is parsed.
        return np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)

    missing = zip(array("missing_videos").tolist(), array("missing_causes").tolist(), strict=True)
    scores = array("scores") if with_scores else _unread_array(archive, "scores")
    part = Part(path, array("videos"), array("crops"), dict(missing), scores)
    layout = int(array("layout")) if "layout.npy" in archive.namelist() else 1
    return part, str(array("fingerprint")), layout


def _unread_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Return zeros of the shape and type of a member, in a broadcast array that takes no memory."""
    with archive.open(f"{name}.npy") as member:
        np.lib.format.read_magic(member)
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    return np.broadcast_to(np.zeros((), dtype=dtype), shape)


def describe_broken(scores: NDArray[np.floating]) -> str:
    """Return how many views of a video have NaN or infinite scores, in words; "" if none has.

    Args:
        scores: Logits of the video's views, [..., classes].
    """
    broken = np.count_nonzero(~np.isfinite(scores).all(axis=-1))
    views = scores.size // scores.shape[-1]
    return f"the network's logits are NaN or infinite in {broken} of {views} views" if broken else ""


class PartWriter:
    """Collects the scores of a process and writes them in parts.

    Names of parts have a random token, so that processes and runs never write to each other's files.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, *, rank: int, videos_per_part: int = 16, seconds_per_part: float = 60.0
    ) -> None:
        """Write to a folder opened by `open_scores`.

        Args:
            folder: The folder of scores.
            manifest: Its manifest.
            rank: Rank of this process, shown in the names of parts.
            videos_per_part: Maximum videos per part.
            seconds_per_part: Maximum seconds between parts, the most work that a kill can lose.
        """
        self._folder = folder
        self._manifest = manifest
        self._prefix = f"part-{rank:03d}-{secrets.token_hex(6)}"
        self._videos_per_part = videos_per_part
        self._seconds_per_part = seconds_per_part
        self._num_parts = 0
        self._crops: tuple[int, ...] = ()
        self._scores: dict[int, NDArray[np.float32]] = {}
        self._missing: dict[int, str] = {}
        self._started = time.monotonic()

    def __enter__(self) -> "PartWriter":
        """Return the writer; the end of the block writes the rest."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write the rest, also after an error."""
        self.flush()

    def add(self, video: int, crops: tuple[int, ...], scores: NDArray[np.float32]) -> None:
        """Add the logits of a video, float32 [clips, crops, classes], all finite.

        Raises:
            ScoresError: A score is NaN or infinite.
            FileError: The part is due and cannot be written.
        """
        num_clips, num_classes = self._manifest.row_shape
        assert scores.shape == (num_clips, len(crops), num_classes), scores.shape
        if not np.isfinite(scores).all():
            raise ScoresError(f"video {video} has scores that are not numbers: do the weights hold NaN or infinity?")
        self._begin(crops)
        self._scores[video] = scores
        self._flush_if_due()

    def add_missing(self, video: int, crops: tuple[int, ...], cause: str) -> None:
        """Record a video that cannot be scored, and the cause."""
        self._begin(crops)
        self._missing[video] = cause
        self._flush_if_due()

    def flush(self) -> None:
        """Write the scores added since the last part."""
        scores, missing, crops = self._scores, self._missing, self._crops
        self._scores, self._missing = {}, {}
        self._started = time.monotonic()
        if not scores and not missing:
            return
        num_clips, num_classes = self._manifest.row_shape
        rows = np.stack(list(scores.values())) if scores else np.zeros((0, num_clips, len(crops), num_classes))
        arrays: dict[str, NDArray[Any]] = {
            "layout": np.array(_LAYOUT, dtype=np.int64),
            "fingerprint": np.array(self._manifest.fingerprint),
            "videos": np.array(list(scores), dtype=np.int64),
            "crops": np.array(crops, dtype=np.int64),
            "scores": rows.astype(np.float32, copy=False),
            "missing_videos": np.array(list(missing), dtype=np.int64),
            "missing_causes": np.array(list(missing.values()), dtype=np.str_),
        }
        path = self._folder / f"{self._prefix}-{self._num_parts:05d}.npz"
        write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
        self._num_parts += 1

    def _begin(self, crops: tuple[int, ...]) -> None:
        if crops != self._crops:
            self.flush()
            self._crops = crops

    def _flush_if_due(self) -> None:
        is_full = len(self._scores) + len(self._missing) >= self._videos_per_part
        if is_full or time.monotonic() - self._started >= self._seconds_per_part:
            self.flush()
