"""The best epoch of a state by its validation: which it is, its weights, and when it is no use to go on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from utils.metrics import ValidationScore


@dataclass
class BestEpoch:
    """The best epoch so far, by top-1, then by the mean of top-1, top-3 and top-5; of equals the latest.

    Attributes:
        patience: Epochs without a better one after which the state is over; 0: never.
        epoch: The best epoch, from 1; 0 before the first.
        since: The first epoch that was as good.
        score: Its top-1 and mean, percent.
        weights: Its weights, on the CPU.
    """

    patience: int
    epoch: int = 0
    since: int = 0
    score: tuple[float, float] = (-1.0, -1.0)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def note(self, epoch: int, score: ValidationScore, *, weights: Mapping[str, torch.Tensor]) -> None:
        """Take an epoch and its weights into account."""
        found = (score.top1, score.mean)
        if found < self.score:
            return
        if found > self.score:
            self.since = epoch
        self.epoch, self.score = epoch, found
        self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}

    def is_over(self, epoch: int) -> bool:
        """Return whether no better epoch has come for long enough when `epoch` epochs are done."""
        return 0 < self.patience <= epoch - self.since

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        kept = {"epoch": self.epoch, "since": self.since, "score": list(self.score), "weights": self.weights}
        return {"best": kept}

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        kept = content["best"]
        self.epoch, self.since, self.weights = kept["epoch"], kept["since"], kept["weights"]
        self.score = (kept["score"][0], kept["score"][1])
