"""Errors of a loader whose workers die: they name the signal, the usual cause and the video."""

import contextlib
import gc
import os
import signal
import sys
import time
from multiprocessing import active_children
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from dataset import loading, worker_board
from dataset.loading import VideoLoader, WorkerError
from dataset.worker_board import WorkerBoard, publish_video
from tests import forked
from utils.errors import UserError


class DyingVideos(Dataset):
    """Five videos; at the fourth, a worker dies by a signal, or exits with a code."""

    def __init__(self, end: int) -> None:
        self.end = end

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> torch.Tensor:
        publish_video(f"folder/clip {index}.mp4")
        if index == 3:
            if self.end < 0:
                os.kill(os.getpid(), -self.end)
            os._exit(self.end)
        return torch.tensor(index)


def stack(samples: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(samples)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (-signal.SIGKILL, r"was ended by SIGKILL, which a machine short of memory does: lower dataset\.num_workers"),
        (-signal.SIGBUS, r"was ended by SIGBUS, as a file is shorter than it says, or its disk fails"),
        (7, "exited with code 7"),
    ],
)
def test_a_worker_that_dies_names_its_video(end: int, said: str) -> None:
    loader = VideoLoader(DyingVideos(end), collate_fn=stack, batch_size=1, num_workers=2)
    with pytest.raises(
        WorkerError, match=rf"^a worker of the loader {said}.*; the video it read last is folder/clip 3\.mp4$"
    ):
        for _ in loader:
            pass
    assert not loading._workers


def test_a_worker_that_dies_during_a_step_names_its_video_too() -> None:
    """Torch's SIGCHLD handler raises anywhere in the main thread."""
    loader = VideoLoader(DyingVideos(-signal.SIGKILL), collate_fn=stack, batch_size=1, num_workers=1, prefetch_factor=4)
    with pytest.raises(WorkerError, match=r"the video it read last is folder/clip 3\.mp4$"):
        for _ in loader:
            time.sleep(20)
    assert isinstance(WorkerError("x"), UserError)


class LostOnTheWay:
    """A batch of a worker that dies before its parent receives it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Unpickle as a broken connection does."""
        return _lose, (os.getpid(),)


def _lose(pid: int) -> None:
    with contextlib.suppress(RuntimeError):  # torch's handler may run later
        os.kill(pid, signal.SIGKILL)
        raise ConnectionResetError("by peer")


def test_a_worker_that_dies_while_sending_a_batch_is_named() -> None:
    videos: Any = range(3)
    loader = VideoLoader(videos, collate_fn=lambda _: LostOnTheWay(), num_workers=1)
    with pytest.raises(WorkerError, match="^a worker of the loader was ended by SIGKILL"):
        list(loader)


def test_full_shared_memory_is_given_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_LITTLE_SHARED_MEMORY", 1 << 63)
    assert "shared memory is full" in loading._describe_end(-signal.SIGBUS)
    assert "shared memory" not in loading._describe_end(-signal.SIGKILL)


def test_other_errors_are_unchanged() -> None:
    error = RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")  # none of ours
    loading._require_no_dead(error)


def test_a_board_holds_any_path(monkeypatch: pytest.MonkeyPatch) -> None:
    board = WorkerBoard(2)
    monkeypatch.setattr(worker_board, "_row", None)
    publish_video("nobody's")
    board.take_row(1)
    publish_video("a long path " * 200)
    publish_video("ünï/视频.mp4")
    assert (board.video_of(0), board.video_of(1)) == ("", "ünï/视频.mp4")


def test_a_process_exits_with_a_partly_read_loader() -> None:
    """A notebook or test drops a loader before its end; its workers ignore SIGTERM, and torch would wait for them."""
    code = (
        "import torch\n"
        "from dataset.loading import VideoLoader\n"
        "data = torch.arange(4000).split(1)\n"
        "batches = iter(VideoLoader(data, collate_fn=torch.stack, num_workers=1))\n"
        "print(next(batches).item())\n"
    )
    ended = forked.run([sys.executable, "-c", code])
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0\n", "")


def test_workers_end_with_a_loader_in_a_reference_cycle() -> None:
    """As after a stopped training; the garbage collector closes the queues first."""
    before = set(active_children())
    data = torch.arange(40).split(1)
    loader = VideoLoader(data, collate_fn=torch.stack, num_workers=2, persistent_workers=True)
    batches = iter(loader)
    assert next(batches).item() == 0
    loader.cycle = [loader, batches]
    del loader, batches
    gc.collect()
    assert set(active_children()) <= before


class Broken(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 3:
            raise self.error("at 3")
        return torch.zeros(1)

    def __init__(self, error: type[Exception]) -> None:
        self.error = error


@pytest.mark.parametrize("error", [UserError, ZeroDivisionError])
def test_workers_have_ended_when_an_error_arrives(error: type[Exception]) -> None:
    """Otherwise the garbage collector would later close their queues first and wait 5 s for each worker."""
    before = set(active_children())
    with pytest.raises(error):
        list(VideoLoader(Broken(error), collate_fn=torch.stack, num_workers=2))
    assert set(active_children()) <= before
