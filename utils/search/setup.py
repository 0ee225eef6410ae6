"""The parts of a search, supplied by the code that knows data sets and networks, and the identity of a search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from torch import nn

from utils.config import RunConfig
from utils.config.record import training_values
from utils.search.result import Selection, describe_scoring
from utils.search.weights import Weights
from utils.training.state import StateTrainer

Network = TypeVar("Network", bound=nn.Module)


class Videos(Protocol):
    """What a search needs of a list of videos."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the list's content."""

    def __len__(self) -> int:
        """Return the number of videos."""


@dataclass(frozen=True)
class SearchParts(Generic[Network]):
    """Video lists, factories and descriptions that a search needs.

    Attributes:
        training: The videos that train the states.
        scoring: The videos that score them.
        class_names: Names of the classes, by label.
        selection: Description of both lists.
        start_weights: Description of the weights that the search starts from.
        make_network: Returns the network with the given weights; None: the weights that the search starts from.
        make_trainer: Returns the trainer of a state, given a record, the state's index in it, the network with its
            current weights, and the title of the progress bar.
        make_tester: Returns a trainer that evaluates a network on the evaluation list, at the goal.
        multiply_adds: Returns the multiply-adds of a forward pass of one clip of each input.
        describe_network: Returns a one-line description of a network.
        describe_device: Returns a description of the device and the precision.
    """

    training: Videos
    scoring: Videos
    class_names: Sequence[str]
    selection: Selection
    start_weights: str
    make_network: Callable[[Weights | None], Network]
    make_trainer: Callable[[RunConfig, int, Network, str], StateTrainer]
    make_tester: Callable[[Network], StateTrainer]
    multiply_adds: Callable[[], tuple[int, ...]]
    describe_network: Callable[[Network], str]
    describe_device: Callable[[], str]


def identify_search(config: RunConfig, parts: SearchParts) -> dict[str, Any]:
    """Return the identity of a search: its journal is continued only if all of these values are the same."""
    return {
        "graph": [str(transition) for transition in config.graph.exploration_order],
        "training videos": f"{len(parts.training)}, SHA-256 {parts.training.sha256}",
        "scoring videos": f"{len(parts.scoring)}, SHA-256 {parts.scoring.sha256}",
        "scoring clips": describe_scoring(config),
        "start weights": parts.start_weights,
        **training_values(config),
    }
