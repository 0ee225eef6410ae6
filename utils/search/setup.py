"""What a search is made of, by those who know data sets and networks."""

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
    """A list of videos, as far as a search knows it."""

    @property
    def sha256(self) -> str:
        """Of its content."""

    def __len__(self) -> int:
        """Return how many videos it has."""


@dataclass(frozen=True)
class SearchParts(Generic[Network]):
    """Lists, factories and words that a search is joined of.

    Attributes:
        training: The videos that train the states.
        scoring: The videos that score them.
        class_names: What their classes are called, by number.
        selection: Both lists in words.
        start_weights: What the network starts from, in words.
        make_network: Returns the network with these weights; None: the weights the search starts from.
        make_trainer: Returns the trainer of a state of a record, given the record, the state's number from 0, the
            network as it is and the title of the progress bar.
        make_tester: Returns what evaluates a network on the evaluation list, at the goal.
        multiply_adds: Returns those of the forward pass of a clip of every input.
        describe_network: Returns a network in a line.
        describe_device: Returns what it is trained on, and how precisely.
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
    """Return what a search is a search of: its journal is continued for exactly this."""
    return {
        "graph": [str(transition) for transition in config.graph.exploration_order],
        "training videos": f"{len(parts.training)}, SHA-256 {parts.training.sha256}",
        "scoring videos": f"{len(parts.scoring)}, SHA-256 {parts.scoring.sha256}",
        "scoring clips": describe_scoring(config),
        "start weights": parts.start_weights,
        **training_values(config),
    }
