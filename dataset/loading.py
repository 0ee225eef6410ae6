"""A loader whose workers' errors arrive as they were raised."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from dataset import reused_memory
from utils import stopping
from utils.errors import UserError


class VideoLoader(DataLoader):
    """A DataLoader that raises a worker's UserError as it is: torch itself would raise one whose text is a traceback.

    The error travels in place of the batch and is raised where the batch would have come. Anything else that goes wrong
    in a worker is a bug, and keeps torch's traceback.
    """

    def __init__(self, dataset: Dataset, *, collate_fn: Callable[[Any], Any], **options: Any) -> None:
        """Make the loader; arguments are those of DataLoader.

        It draws its seeds from a generator of its own: how many it draws depends on the workers, and the global
        generator is the training's.
        """
        generator = torch.Generator()
        collate = _GuardedCollate(collate_fn)
        super().__init__(_Guarded(dataset), collate_fn=collate, generator=generator, **options)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its own iterator class
        receiver = reused_memory.Receiver()
        with stopping.held_back():  # until the workers it starts leave signals to this process
            batches = super().__iter__()
        for batch in batches:
            if isinstance(batch, _Failure):
                raise batch.error
            yield receiver.take(batch)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error on its way to the parent process."""

    error: UserError


class _Guarded(Dataset):
    """A data set that gives a _Failure where the one inside raises a UserError."""

    def __init__(self, inside: Any) -> None:
        self._inside = inside

    def __len__(self) -> int:
        return len(self._inside)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._inside[key]
        except UserError as error:
            return _Failure(error)


@dataclass(frozen=True, slots=True)
class _GuardedCollate:
    """Passes on the first _Failure among what is to be put together, and places large tensors in shared memory."""

    inside: Callable[[Any], Any]

    def __call__(self, fetched: Any) -> Any:
        samples = fetched if isinstance(fetched, list) else [fetched]
        failure = next((sample for sample in samples if isinstance(sample, _Failure)), None)
        return reused_memory.place(self.inside(fetched)) if failure is None else failure
