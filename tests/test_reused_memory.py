"""Shared memory that workers write again and again: right, bounded, and never under somebody who still looks."""

from typing import NamedTuple

import pytest
import torch
from torch.utils.data import Dataset
from torch.utils.data._utils.pin_memory import pin_memory

from dataset.loading import VideoLoader
from dataset.reused_memory import Placed

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
