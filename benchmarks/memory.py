"""Memory of a loader's worker over thousands of opened videos.

A list repeats some small videos under different names, so that every clip opens a file that the worker has not opened
before. The worker, of a loader of training clips, reports its private memory after every clip: what it shares with no
other process, and how much of that it has written (the rest is mapped files, which the system can reclaim). Linux
only.

    python benchmarks/memory.py
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import Memory, Parser, describe_machine, own_memory
from dataset.listing import VideoList, VideoRecord, list_of
from dataset.loading import VideoLoader
from dataset.readers import open_reader
from dataset.synthetic.store import FORMATS
from dataset.transforms.recipes import build_train_transform
from dataset.video_dataset import ClipSample, TrainingClips, worker_init
from utils.clip_shape import ClipShape

STORES = ("RAW", "FRAME", "LMDB")
SIDE, FRAMES, LENGTH = 64, 24, 8


class WatchedClips(Dataset):
    """Training clips, each with the memory of the process that made it."""

    def __init__(self, clips: TrainingClips) -> None:
        """Wrap the clips."""
        self.clips = clips

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[ClipSample, Memory]:
        """Return a clip and the memory of its process."""
        return self.clips[0, index], own_memory()


def _as_it_is(item: tuple[ClipSample, Memory]) -> tuple[ClipSample, Memory]:
    return item


def make_videos(folder: Path, store: str, *, distinct: int, listed: int) -> VideoList:
    """Write `distinct` videos of a format, and list them under `listed` names."""
    make_store, encode = FORMATS[store]
    videos = make_store(folder)
    rng = np.random.default_rng(0)
    records = []
    for number in range(listed):
        name = f"video{number:05d}{videos.suffix}"
        records.append(VideoRecord(name, FRAMES, number % 10))
        if number < distinct:
            small = rng.integers(0, 256, (FRAMES, SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
            videos.write(name, encode(small.repeat(8, axis=1).repeat(8, axis=2)))
        else:
            link_video(folder / records[number % distinct].path, folder / name)
    return list_of(records, path=store)


def link_video(source: Path, target: Path) -> None:
    """Link a video, a file or a folder, to another name; copy LMDB, which a process cannot open twice."""
    if source.is_dir():
        is_lmdb = (source / "data.mdb").exists()
        shutil.copytree(source, target, copy_function=shutil.copy if is_lmdb else os.link)
    else:
        os.link(source, target)


def watch_worker(folder: Path, store: str, videos: VideoList) -> list[Memory]:
    """Return the memory of a loader's only worker after each video."""
    transform = build_train_transform("default", crop_size=SIDE, ra_n=0, ra_m=0, horizontal_flip=True)
    reader = open_reader(store, folder)
    clips = TrainingClips(videos, reader, transform, shape=ClipShape(1, LENGTH, 1), seed=(0,))
    loader = VideoLoader(
        WatchedClips(clips), batch_size=None, num_workers=1, collate_fn=_as_it_is, worker_init_fn=worker_init
    )
    return [memory for _, memory in loader]


def measure_workers(root: Path, *, stores: Sequence[str], distinct: int, after: Sequence[int]) -> None:
    """Print a worker's memory by the number of videos that it has opened."""
    titles = "".join(f"{f'{count:,}':>16}" for count in after)
    print(f"private memory of a loader's worker, MB (written part), by opened videos\n{'':8}{titles}")
    for store in stores:
        folder = root / store
        memory = watch_worker(folder, store, make_videos(folder, store, distinct=distinct, listed=max(after)))
        cells = (f"{memory[count - 1].private:.1f} ({memory[count - 1].written:.1f})" for count in after)
        print(f"{store:8}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def main() -> None:
    """Make the videos, measure, print."""
    parser = Parser(__doc__)
    parser.add_number("--distinct", 300, "videos to make per format")
    parser.add_argument(
        "--after", type=int, nargs="+", default=[100, 1000, 2500, 5000], help="numbers of opened videos"
    )
    parser.add_argument("--stores", nargs="+", choices=STORES, default=STORES)
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        measure_workers(Path(folder), stores=options.stores, distinct=options.distinct, after=options.after)


if __name__ == "__main__":
    main()
