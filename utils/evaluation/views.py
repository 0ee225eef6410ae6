"""Score the views of a video: clips and crops are cut from its decoded frames on the device, in small batches."""

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

# Videos that a CPU scores concurrently. Networks small enough for a CPU leave cores idle between their many small
# operations; more videos at a time would need memory for more activations.
CPU_VIDEOS = 2


class Normalizer(Protocol):
    """Normalization of uint8 clips to network input."""

    def __call__(self, clips: torch.Tensor, *, out: torch.Tensor) -> object:
        """Write clips uint8 [N, T, H, W, C] to float32 [N, C, T, H, W]."""


def cut_view(
    frames: torch.Tensor, rows: torch.Tensor, crop_position: CropPosition, *, size: int, crop: int
) -> torch.Tensor:
    """Cut one view out of a video's frames, before normalization.

    Args:
        frames: The video's distinct frames, uint8 [U, C, H, W], no side shorter than `size`.
        rows: Indices into `frames` of the clip, int64 [T], on the CPU.
        crop_position: (height, width, size, *, crop_idx) to (top, left).
        size: Side of the crop, pixels.
        crop: Index of the crop, from 0.

    Returns:
        uint8 [T, C, size, size].
    """
    top, left = crop_position(*frames.shape[2:], size, crop_idx=crop)
    return frames[rows.to(frames.device), :, top : top + size, left : left + size]


@dataclass(frozen=True)
class ViewScorer:
    """Scores videos with a network in evaluation mode.

    A forward pass has views of one video only, at most `batch_size` and in a fixed order, so that the scores of a video
    do not depend on the process that scores it or on the videos before it.

    Attributes:
        network: Network on `device`, in evaluation mode; its `fuse` joins the heads.
        normalize: uint8 clips to network input.
        crop_position: (height, width, size, *, crop_idx) to (top, left).
        crop_size: Side of a crop, pixels.
        batch_size: Maximum views per forward pass.
        dtype: Autocast type; None is float32.
        device: Device of the network.
    """

    network: nn.Module
    normalize: Normalizer
    crop_position: CropPosition
    crop_size: int
    batch_size: int
    dtype: torch.dtype | None
    device: torch.device

    def __call__(self, frames: torch.Tensor, clip_frames: torch.Tensor, crops: tuple[int, ...]) -> NDArray[np.float32]:
        """Score every clip on every requested crop.

        Args:
            frames: The video's distinct frames, uint8 [U, C, H, W], no side shorter than crop_size.
            clip_frames: Indices into `frames` of every clip, int64 [clips, T], on the CPU.
            crops: Indices of crops.

        Returns:
            Fused logits, float32 [clips, crops, classes]; NaN or infinite if weights have diverged or the precision
            overflows.
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
    """Score items in their order; on a CPU, CPU_VIDEOS at a time in threads that divide torch's threads.

    Args:
        items: Items to score. An error raised by the iterable is raised after the scores of all earlier items.
        score: Maps an item to its scores; thread-safe.
        device: Device of the scorer; on a GPU, which one item keeps busy, items are scored one by one.

    Yields:
        Every item with its scores.
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
                    del item  # free its memory
            if started:
                done, scores = started.popleft()
                yield done, scores.result()
                del done, scores
        if not isinstance(failure, StopIteration):
            raise failure
    finally:
        pool.shutdown(cancel_futures=True)
