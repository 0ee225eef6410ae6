"""Generate a set of synthetic videos in a folder, in parallel and resumable, without overwriting another set."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lmdb
from tqdm import tqdm

from dataset.writers.stores import Store, is_disk_full
from utils.errors import UserError
from utils.files import write_text_atomically
from utils.text import printable
from utils.workers import process_pool, usable_cores

DESCRIPTION = "synthetic.json"
_RUN_AGAIN = "finished videos are kept: free some space and run the same command again"


class SyntheticError(UserError):
    """A synthetic dataset cannot be made as requested."""


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """A video to generate.

    Attributes:
        split: `train` or `test`.
        index: Index within the split, from 0.
        class_name: Class name, also the name of its folder.
        num_frames: Number of frames.
    """

    split: str
    index: int
    class_name: str
    num_frames: int

    @property
    def stem(self) -> str:
        """Path relative to the dataset's folder, without the format's suffix."""
        return f"{self.split}/{self.class_name}/{self.index:05d}"


def require_at_least(values: object, limits: Mapping[str, int]) -> None:
    """Require that attributes are not below their limits.

    Raises:
        SyntheticError: An attribute is below its limit, or NaN.
    """
    for name, low in limits.items():
        if not getattr(values, name) >= low:  # also true for NaN
            raise SyntheticError(f"{name} must be at least {low}, not {getattr(values, name)}")


def make_set(
    root: Path,
    parameters: Mapping[str, Any],
    *,
    store: Store,
    videos: Sequence[VideoSpec],
    encode: Callable[[VideoSpec], list[bytes]],
    texts: Mapping[str, str],
    workers: int | None,
    implied: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Make a synthetic dataset, or complete it; return at once if it is complete.

    Args:
        root: Folder of the dataset, created if missing.
        parameters: All parameters that the videos depend on.
        store: Where the videos are written.
        videos: All videos of the set.
        encode: Renders and encodes a video and returns its parts; must be picklable.
        texts: Contents of further files by name, written at the end.
        workers: Number of processes, None for the number of usable processors. It does not change the videos.
        implied: Values of parameters that older sets do not name, as these could not be chosen then.

    Raises:
        SyntheticError: The folder holds something else, or the disk is full.
    """
    if workers is not None and workers < 1:
        raise SyntheticError(f"workers must be at least 1, not {workers}")
    try:
        if _claim(root, parameters, texts, implied):
            return
        _make_missing(root, store, videos, encode=encode, workers=workers or usable_cores())
        for name, text in texts.items():
            write_text_atomically(root / name, text)
        _describe(root, parameters, complete=True)
    except (OSError, lmdb.Error) as error:
        cause = f"cannot write the dataset in {root}: {error}"
        if is_disk_full(root, error):
            cause = f"the disk of {root} is full; {_RUN_AGAIN}"
        raise SyntheticError(cause) from error


def _claim(root: Path, wanted: Mapping[str, Any], texts: Mapping[str, str], implied: Mapping[str, Any]) -> bool:
    """Check that the folder is empty or holds this set, and write the parameters; return whether it is complete."""
    description = root / DESCRIPTION
    if description.exists():
        found = json.loads(description.read_text(encoding="utf-8"))
        there = {**implied, **found["parameters"]}
        differing = [name for name in wanted if there.get(name) != wanted[name]]
        if differing:
            have = ", ".join(f"{name} {there.get(name)}" for name in differing)
            want = ", ".join(f"{name} {wanted[name]}" for name in differing)
            raise SyntheticError(
                f"{root} holds a dataset with {have}, but {want} was requested; "
                "nothing was changed: choose another folder or delete that one"
            )
        return bool(found["complete"]) and all((root / name).exists() for name in texts)
    if root.exists() and any(root.iterdir()):
        raise SyntheticError(f"{root} is not empty and has no {DESCRIPTION}: choose another folder for the dataset")
    _describe(root, wanted, complete=False)
    return False


def _describe(root: Path, parameters: Mapping[str, Any], *, complete: bool) -> None:
    content = json.dumps({"complete": complete, "parameters": dict(parameters)}, indent=2)
    write_text_atomically(root / DESCRIPTION, f"{content}\n")


def _make_missing(
    root: Path, store: Store, videos: Sequence[VideoSpec], *, encode: Callable[[VideoSpec], list[bytes]], workers: int
) -> None:
    """Render and encode missing videos in workers; only this process writes, and handles a full disk or a kill."""
    missing = [video for video in videos if not store.holds(video.stem + store.suffix, num_frames=video.num_frames)]
    title = printable(f"making {root}")
    with tqdm(total=len(videos), initial=len(videos) - len(missing), desc=title, unit="video") as bar:
        for video, parts in zip(missing, _encoded(missing, encode, workers), strict=True):
            store.write(video.stem + store.suffix, parts)
            bar.update()


def _encoded(
    videos: Sequence[VideoSpec], encode: Callable[[VideoSpec], list[bytes]], workers: int
) -> Iterator[list[bytes]]:
    """Yield the encoded videos in order, computed in this process or in a pool."""
    workers = min(workers, len(videos))
    if workers <= 1:
        yield from map(encode, videos)
        return
    with process_pool(workers) as pool:
        yield from pool.map(encode, videos, chunksize=4)
