"""The weights in output/<record>/search/ that a search keeps while it runs.

Kept are the weights of each state or transition that are still needed (at most one file for each state and for each
transition into the state being explored) and, for each transition being trained, one file for each epoch, since any may
become the knee (at most min(max_epochs, horizon)), and one checkpoint to continue from.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils import distributed
from utils.jsonl import as_json
from utils.planning.graph import Graph, State, Transition
from utils.planning.search import Outcome
from utils.planning.search import Path as Steps
from utils.training.checkpoint import CheckpointError, Position, load_checkpoint, save_checkpoint

Weights = dict[str, torch.Tensor]

# Files that a search writes into the folder of a transition, including temporary ones left by a kill.
_OWN = re.compile(r"(current|epoch_\d+)\.pth|\.(current|epoch_\d+)\.pth\.[0-9a-f]+\.tmp")


def name_of(transition: Transition) -> str:
    """Return the name of a transition's folder, such as "0.0-to-1.0"."""
    return "-to-".join(str(state).strip("()").replace(",", ".") for state in (transition.start, transition.end))


class WeightFolder:
    """The folder with a search's weights; rank 0 reads and removes the files."""

    def __init__(self, path: Path, graph: Graph, *, identity: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """Open the folder.

        Args:
            path: The folder.
            graph: The graph of the search.
            identity: Identity of the search: weights of another search are refused.
            say: Reports files in the folder that do not belong to the search.
        """
        self.path, self._graph, self._say = path, graph, say
        self._search = hashlib.sha256(json.dumps(as_json(identity), sort_keys=True).encode()).hexdigest()
        self.initial = path / "initial.pth"
        self._named: set[Path] = set()

    def keep_initial(self, make_network: Callable[[], nn.Module], *, begins: bool) -> None:
        """Write the weights that the search starts from, once: a pretrained file may be gone when the search continues.

        Args:
            make_network: Returns the network with these weights.
            begins: Whether nothing has been trained yet; then a file of an earlier failed start is replaced.
        """

        def keep() -> None:
            if begins or not self.initial.exists():
                self.write(self.initial, {"network": make_network().state_dict()}, position=Position())

        distributed.decide_on_main(keep)

    def write(self, path: Path, content: dict[str, Any], *, position: Position) -> None:
        """Write a checkpoint labeled with its search and path; rank 0 only."""
        save_checkpoint(path, {**content, **self._owner(path)}, position=position)

    def load(self, path: Path) -> tuple[dict[str, Any], Position]:
        """Read a checkpoint that `write` has written to this path; rank 0 only.

        Raises:
            CheckpointError: It is corrupt, or belongs to another search, transition or epoch.
        """
        content, position = load_checkpoint(path)
        if any(content.get(name) != value for name, value in self._owner(path).items()):
            raise CheckpointError(f"{path}: belongs to another search, transition or epoch; restore the original file")
        return content, position

    def _owner(self, path: Path) -> dict[str, str]:
        return {"search": self._search, "file": path.relative_to(self.path).as_posix()}

    def checkpoint(self, transition: Transition) -> Path:
        """Return the path of the checkpoint of a transition in training."""
        return self._folder(transition) / "current.pth"

    def epoch(self, transition: Transition, epoch: int) -> Path:
        """Return the path of the weights after an epoch of a transition."""
        return self._folder(transition) / f"epoch_{epoch:03d}.pth"

    def end(self, path: Steps) -> Path:
        """Return the file with the weights at the end of a path."""
        return path[-1].outcome.weights if path else self.initial

    def read(self, path: Steps) -> Weights:
        """Return the weights at the end of a path, the same on all ranks."""
        return distributed.decide_on_main(lambda: self.load(self.end(path))[0]["network"])

    def outcome(self, transition: Transition, path: Steps, *, score: float, epochs: int) -> Outcome:
        """Return the outcome of a transition; at 0 epochs its weights are those at the end of the path to its start."""
        return Outcome(score, epochs, self.epoch(transition, epochs) if epochs else self.end(path))

    def release(self, outcomes: Mapping[Transition, Outcome], best: Mapping[State, Steps]) -> None:
        """Remove weights that are no longer needed; files that the search did not write are kept and reported.

        Args:
            outcomes: Outcomes of the decided transitions.
            best: The best path to each state whose incoming transitions are all decided.
        """
        if not distributed.is_main():
            return
        needed = self._needed(outcomes, best)
        for transition in self._graph.transitions:
            folder = self._folder(transition)
            if transition not in outcomes or not folder.is_dir():
                continue
            for file in sorted(folder.iterdir()):
                if _OWN.fullmatch(file.name) and not file.is_dir():
                    if file not in needed:
                        file.unlink()
                elif file not in self._named:
                    self._named.add(file)
                    self._say(f"{file} does not belong to this search and is kept")
            if not any(folder.iterdir()):
                folder.rmdir()

    def _folder(self, transition: Transition) -> Path:
        return self.path / name_of(transition)

    def _needed(self, outcomes: Mapping[Transition, Outcome], best: Mapping[State, Steps]) -> set[Path]:
        """Return the files that are still needed.

        They are the best weights of each state with transitions still to explore (or of the goal), and the weights of
        each transition into an undecided state.
        """
        needed = set()
        for state in self._graph.states:
            if state not in best:
                needed |= {outcomes[t].weights for t in self._graph.incoming(state) if t in outcomes}
            elif state == self._graph.goal or any(t not in outcomes for t in self._graph.outgoing(state)):
                needed.add(self.end(best[state]))
        return needed
