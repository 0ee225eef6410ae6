"""Shared memory that workers write again and again: right, bounded, and never under somebody who still looks."""

import gc
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, get_worker_info
from torch.utils.data._utils.pin_memory import pin_memory

from dataset import reused_memory
from dataset.loading import VideoLoader
from dataset.reused_memory import Placed, Sender

SIDE = 1 << 10


class Item(NamedTuple):
    number: int
    frames: torch.Tensor
    small: torch.Tensor


class Pictures(Dataset):
    """Large tensors full of their own number, of sizes that go up and down."""

    def __init__(self, count: int, *, heights: tuple[int, ...] = (SIDE,)) -> None:
        self.count, self.heights = count, heights

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        shape = (2, self.heights[index % len(self.heights)], SIDE)
        return Item(index, torch.full(shape, index, dtype=torch.uint8), torch.tensor([index]))


def same(item: Item) -> Item:
    return item


def load(pictures: Pictures, *, workers: int) -> VideoLoader:
    return VideoLoader(
        pictures, collate_fn=same, batch_size=None, num_workers=workers, prefetch_factor=1 if workers else None
    )


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_items_arrive_in_order_and_whole(workers: int) -> None:
    heights = (SIDE, 3 * SIDE, 7, SIDE + 1, SIDE)
    for index, item in enumerate(load(Pictures(20, heights=heights), workers=workers)):
        assert item.number == index
        assert item.frames.shape == (2, heights[index % 5], SIDE)
        assert (item.frames == index).all()
        assert item.small.tolist() == [index]


def test_memory_is_used_again_once_it_is_let_go_of() -> None:
    places = [item.frames.data_ptr() for item in load(Pictures(20), workers=2)]
    assert len(set(places)) <= 6


@pytest.mark.parametrize("part", [slice(None), slice(1, None)])
def test_what_is_still_looked_at_stays(part: slice) -> None:
    """A view of the tensor is enough to hold its memory, and so is an array."""
    held = {}
    for item in load(Pictures(30), workers=2):
        if item.number % 4 == 0:
            held[item.number] = item.frames[part, 5:]
        if item.number % 4 == 1:
            held[item.number] = item.frames.numpy()[part, :, 7:]
    assert len(held) == 16
    for number, pixels in held.items():
        assert pixels.shape[0] == (2 if part == slice(None) else 1)
        assert bool((pixels == number).all())


def test_a_list_of_all_items_holds_all_of_them() -> None:
    items = list(load(Pictures(12), workers=2))
    assert [int(item.frames[1, -1, -1]) for item in items] == list(range(12))
    assert len({item.frames.data_ptr() for item in items}) == 12


def test_what_torch_pins_is_a_copy_and_gives_the_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With pin_memory, torch's thread sees an item before VideoLoader does; it copies to memory that a GPU reads."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    piece = torch.zeros(64 + 6, dtype=torch.uint8)
    piece[0], piece[64:] = 1, torch.arange(6)
    item = pin_memory(Item(3, Placed(piece, (0, 0), torch.Size((2, 3))), torch.tensor([3])))  # type: ignore[arg-type]
    assert isinstance(item, Item)
    assert piece[0] == 0
    piece.fill_(9)
    assert item.frames.tolist() == [[0, 1, 2], [3, 4, 5]]


class Written(Dataset):
    """Tensors written where `empty` says, after some that are never sent; `small` tells whether it was reused."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Item:
        reused_memory.empty((2, SIDE, SIDE))[...] = 255  # as from a video that turned out to be shorter
        kept = reused_memory.empty((3, SIDE, SIDE))
        pixels = reused_memory.empty((2, SIDE, SIDE))
        pixels[...] = index
        kept[...] = 254
        frames = torch.from_numpy(pixels)
        pieces = len(reused_memory._sender._pieces) if get_worker_info() is not None else 0
        return Item(index, frames[:, :, : SIDE // 2] if index % 3 == 2 else frames, torch.tensor([index, pieces]))


@pytest.mark.parametrize("workers", [0, 2])
def test_tensors_are_written_where_they_are_sent_from(workers: int) -> None:
    loader = VideoLoader(Written(), collate_fn=same, batch_size=None, num_workers=workers)
    for index, item in enumerate(loader):
        assert item.frames.shape == (2, SIDE, SIDE // 2 if index % 3 == 2 else SIDE)
        assert (item.frames == index).all()
        assert item.small[0] == index
        assert item.small[1] <= 6


def test_memory_that_was_lent_is_sent_without_a_copy() -> None:
    sender = Sender()
    pixels = sender.lend((2, 3))
    pixels[...] = 7
    placed = sender.send(torch.from_numpy(pixels), worker=0)
    assert placed.piece.data_ptr() + 64 == pixels.ctypes.data
    del pixels
    gc.collect()
    assert placed.piece[0] == 1  # until the parent lets go of it
    opened = placed.open()
    assert opened.tolist() == [[7] * 3] * 2
    del opened
    assert placed.piece[0] == 0


@pytest.mark.parametrize("view", [lambda a: a, lambda a: a[1:], lambda a: a.T.reshape(-1)[:3], torch.from_numpy])
def test_memory_that_is_never_sent_is_free_when_no_view_is_left(view) -> None:
    sender = Sender()
    held = view(sender.lend((3, 1)))
    (piece,) = sender._pieces
    assert piece[0] == 1
    assert sender.lend((3, 1)).ctypes.data != piece.data_ptr() + 64
    del held
    assert piece[0] == 0
    again = sender.lend((2, 1))
    assert again.ctypes.data == piece.data_ptr() + 64
    other = torch.from_numpy(np.ones((2, 1), dtype=np.uint8))
    assert sender.send(other, worker=0).number == (0, 1)
