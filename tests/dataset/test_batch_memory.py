"""Reused shared batch buffers: correct, bounded, and never overwritten while in use."""

import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch.utils.data import Dataset, get_worker_info

from dataset.batch_memory import BatchMemory
from dataset.loading import VideoLoader
from dataset.video_dataset import ClipBatch, ClipSample, collate_clips

SIDE = 64


def clips_of(value: int, count: int = 2) -> list[torch.Tensor]:
    return [torch.full((4, SIDE, SIDE, 3), value, dtype=torch.uint8) for _ in range(count)]


def send(memory: BatchMemory, value: int, count: int = 2) -> torch.Tensor:
    """Send a batch through pickle within one process."""
    return pickle.loads(bytes(ForkingPickler.dumps(memory.stack(clips_of(value, count)))))


def test_a_batch_arrives_complete_and_its_buffer_is_reused_once_it_is_released() -> None:
    memory = BatchMemory()
    first = send(memory, 1)
    assert first.dtype == torch.uint8 and first.shape == (2, 4, SIDE, SIDE, 3) and first.is_contiguous()
    second = send(memory, 2)
    assert (first == 1).all() and (second == 2).all()
    part = first[1:, :2]  # a view keeps the buffer in use
    del first
    third = send(memory, 3)
    assert (part == 1).all() and (third == 3).all() and len(memory._buffers) == 3
    del part
    fourth = send(memory, 4)
    assert (fourth == 4).all() and (third == 3).all() and (second == 2).all() and len(memory._buffers) == 3


def test_a_batch_that_is_never_received_is_harmless() -> None:
    memory = BatchMemory()
    for value in range(5):
        send(memory, value)
    assert len(memory._buffers) == 1


def test_small_buffers_are_dropped_and_larger_ones_hold_smaller_batches() -> None:
    memory = BatchMemory()
    for count in (1, 3, 2, 3):
        assert send(memory, count, count).tolist() == torch.stack(clips_of(count, count)).tolist()
    assert len(memory._buffers) == 1


class Numbered(Dataset[ClipSample]):
    """Clips filled with their own index."""

    def __getitem__(self, index: int) -> ClipSample:
        return ClipSample(clips_of(index, 1)[0], index, index)


def places(batch: list[ClipSample]) -> tuple[ClipBatch, int]:
    """Collate, and add the address of the buffer in the worker, as the parent maps it anew each time."""
    assert get_worker_info() is not None
    made = collate_clips(batch)
    piece = made.clips._arguments[0]  # type: ignore[attr-defined]
    return made, piece.untyped_storage().data_ptr()


@pytest.mark.parametrize("keeps", [False, True])
def test_the_batches_of_a_loader(keeps: bool) -> None:
    order = [[2 * number, 2 * number + 1] for number in range(12)]
    loader = VideoLoader(Numbered(), collate_fn=places, batch_sampler=order, num_workers=1)
    kept, used = [], set()
    for (batch, place), numbers in zip(loader, order, strict=True):
        kept.append(batch)
        for one, wanted in zip(kept, order if keeps else [numbers], strict=False):
            assert [int(clip.unique()) for clip in one.clips] == wanted
        used.add(place)
        kept = kept if keeps else []
        del batch
    assert len(used) == 12 if keeps else len(used) <= 4  # two in transit, one held here, one being released
