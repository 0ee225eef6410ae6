"""Scores of the views of a video: clips and crops are cut from its decoded frames on the device, a few at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from utils.training.precision import autocast

CropPosition = Callable[..., tuple[int, int]]
Item = TypeVar("Item")
Scores = TypeVar("Scores")

# Videos that a CPU scores side by side. Networks as small as CPUs can run leave its cores idle between their many small
# operations; more videos at a time would want the memory of more activations.
CPU_VIDEOS = 2


class Normalizer(Protocol):
    """From bytes to network input."""

    def __call__(self, clips: torch.Tensor, *, out: torch.Tensor) -> object:
        """Write clips uint8 [N, T, H, W, C] to float32 [N, C, T, H, W]."""


def cut_view(
    frames: torch.Tensor, rows: torch.Tensor, crop_position: CropPosition, *, size: int, crop: int
) -> torch.Tensor:
    """Cut one view out of a video's frames, as the network sees it before it is normalised.

    Args:
        frames: The video's distinct frames, uint8 [U, C, H, W], no side shorter than `size`.
        rows: Which of them make up the clip, int64 [T], on the CPU.
        crop_position: (height, width, size, *, crop_idx) to (top, left).
        size: Side of the crop, pixels.
        crop: Number of the crop.

    Returns:
        uint8 [T, C, size, size].
    """
    top, left = crop_position(*frames.shape[2:], size, crop_idx=crop)
    return frames[rows.to(frames.device), :, top : top + size, left : left + size]


@dataclass(frozen=True)
class ViewScorer:
    """Scores videos with a network in evaluation mode.

    The views of a video are scored by themselves and in a fixed order, at most `batch_size` in a forward pass, so that
    the scores of a video do not depend on the process it comes to or on the videos before it.

    Attributes:
        network: On `device`, in evaluation mode; its `fuse` joins the heads.
        normalize: From bytes to network input.
        crop_position: (height, width, size, *, crop_idx) to (top, left).
        crop_size: Side of a crop, pixels.
        batch_size: Views of one forward pass.
        dtype: Autocast type; None is float32.
        device: Where the network is.
    """

    network: nn.Module
    normalize: Normalizer
    crop_position: CropPosition
    crop_size: int
    batch_size: int
    dtype: torch.dtype | None
    device: torch.device

    def __call__(self, frames: torch.Tensor, clip_frames: torch.Tensor, crops: tuple[int, ...]) -> NDArray[np.float32]:
        """Score every clip on every crop asked for.

        Args:
            frames: The video's distinct frames, uint8 [U, C, H, W], no side shorter than crop_size.
            clip_frames: Which of them make up each clip, int64 [clips, T], on the CPU.
            crops: Numbers of crops.

        Returns:
            Logits, the heads joined, float32 [clips, crops, classes]; not finite where the weights or the precision
            give nothing better.
        """
        with torch.inference_mode():
            frames = frames.to(self.device, non_blocking=True)
            views = [(clip, crop) for clip in range(len(clip_frames)) for crop in crops]
            chunks = [views[begin : begin + self.batch_size] for begin in range(0, len(views), self.batch_size)]
            scores = torch.cat([self._score_views(frames, clip_frames, chunk) for chunk in chunks])
            return scores.unflatten(0, (len(clip_frames), len(crops))).cpu().numpy()

    def _score_views(
        self, frames: torch.Tensor, clip_frames: torch.Tensor, views: list[tuple[int, int]]
    ) -> torch.Tensor:
        """Return logits float32 [views, classes] of (clip, crop) pairs."""
        shape = (frames.shape[1], clip_frames.shape[1], self.crop_size, self.crop_size)
        inputs = torch.empty((len(views), *shape), dtype=torch.float32, device=self.device)
        for (clip, crop), target in zip(views, inputs.split(1), strict=True):
            cut = cut_view(frames, clip_frames[clip], self.crop_position, size=self.crop_size, crop=crop)
            self.normalize(cut.movedim(1, -1)[None], out=target)
        with autocast(self.device, self.dtype):
            return self.network.fuse(self.network(inputs)).float()  # type: ignore[operator]


def score_ahead(
    items: Iterable[Item], score: Callable[[Item], Scores], *, device: torch.device
) -> Iterator[tuple[Item, Scores]]:
    """Score items in their order, on a CPU a few at a time in threads that share out its threads of torch.

    Args:
        items: What is to be scored. An error of theirs comes in its turn, behind all that came before it.
        score: From an item to its scores, the same whichever thread calls it.
        device: Where it computes; the items of a GPU, which is busy with one, are scored one by one.

    Yields:
        Each item with its scores.
    """
    if device.type != "cpu":
        for item in items:
            yield item, score(item)
        return
    threads = -(-torch.get_num_threads() // CPU_VIDEOS)
    remaining, failure = iter(items), None
    started: deque[tuple[Item, Future[Scores]]] = deque()
    pool = ThreadPoolExecutor(CPU_VIDEOS, initializer=torch.set_num_threads, initargs=(threads,))
    try:
        while failure is None or started:
            while failure is None and len(started) <= CPU_VIDEOS:
                try:
                    item = next(remaining)
                except Exception as error:  # StopIteration too
                    failure = error
                else:
                    started.append((item, pool.submit(score, item)))
                    del item  # or its memory would not be used again
            if started:
                done, scores = started.popleft()
                yield done, scores.result()
                del done, scores
        if not isinstance(failure, StopIteration):
            raise failure
    finally:
        pool.shutdown(cancel_futures=True)
