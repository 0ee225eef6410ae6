"""Select the best epoch of a state by validation, and stop early."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from utils.metrics import ValidationScore


@dataclass
class BestEpoch:
    """The best epoch so far, by top-1, then by the mean of top-1, top-3 and top-5; the latest of equal ones.

    Attributes:
        patience: Epochs without improvement after which the state ends; 0: it does not end early.
        epoch: The best epoch, from 1; 0 before the first.
        since: The first epoch with the best score.
        score: The best top-1 and mean, percent.
        weights: Weights of the best epoch, on the CPU.
    """

    patience: int
    epoch: int = 0
    since: int = 0
    score: tuple[float, float] = (-1.0, -1.0)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def update(self, epoch: int, score: ValidationScore, *, weights: Mapping[str, torch.Tensor]) -> None:
        """Update the best epoch with the score and the weights of an epoch, from 1."""
        found = (score.top1, score.mean)
        if found < self.score:
            return
        if found > self.score:
            self.since = epoch
        self.epoch, self.score = epoch, found
        self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}

    def is_over(self, epoch: int) -> bool:
        """Return whether the state ends early after `epoch` epochs."""
        return 0 < self.patience <= epoch - self.since

    def state_dict(self) -> dict[str, Any]:
        """Return the entries of a checkpoint."""
        kept = {"epoch": self.epoch, "since": self.since, "score": list(self.score), "weights": self.weights}
        return {"best": kept}

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Restore the best epoch from a checkpoint."""
        kept = content["best"]
        self.epoch, self.since, self.weights = kept["epoch"], kept["since"], kept["weights"]
        self.score = (kept["score"][0], kept["score"][1])
