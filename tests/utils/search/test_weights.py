"""The weights that a search keeps: those still needed at any moment, nothing else at the end, and foreign files."""

import random
import shutil
from pathlib import Path as File

import pytest
import torch

from utils.planning.graph import INITIAL, Graph, State, Transition, build_graph
from utils.planning.search import Outcome, Path, search, trained
from utils.search.weights import WeightFolder
from utils.training.checkpoint import CheckpointError, Position

GRAPHS = [build_graph("extended", num_inputs=3, num_levels=3), build_graph("basic", num_inputs=2, num_levels=2)]


class Exploration:
    """Explores with small files: each epoch writes one, and the knee is at one of them or at 0."""

    def __init__(self, folder: WeightFolder, seed: int) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.outcomes: dict[Transition, Outcome] = {}
        self.best: dict[State, Path] = {INITIAL: ()}
        folder.path.mkdir(parents=True)
        folder.initial.write_text("initial")

    def __call__(self, transition: Transition, path: Path) -> Outcome:
        steps = trained(path)  # a state without training passes on the weights it got
        assert self.folder.end(path).read_text() == (str(steps[-1].transition) if steps else "initial")
        epochs = self.rng.randint(1, 4)
        for epoch in range(1, epochs + 1):
            file = self.folder.epoch(transition, epoch)
            file.parent.mkdir(exist_ok=True)
            file.write_text(str(transition))
        self.folder.checkpoint(transition).touch()
        (file.parent / ".current.pth.0a1b2c3d.tmp").touch()  # left by a kill
        knee = self.rng.randint(0, epochs)
        file = self.folder.epoch(transition, knee) if knee else self.folder.end(path)
        self.outcomes[transition] = Outcome(self.rng.random(), knee, file)
        self.folder.release(self.outcomes, self.best)
        return self.outcomes[transition]

    def arrive(self, state: State, path: Path) -> None:
        self.best[state] = path
        self.folder.release(self.outcomes, self.best)


def files_in(folder: File) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("graph", GRAPHS, ids=("extended", "basic"))
@pytest.mark.parametrize("seed", range(10))
def test_needed_weights_are_kept_and_nothing_else_at_the_end(graph: Graph, seed: int, tmp_path: File) -> None:
    folder = WeightFolder(tmp_path / "search", graph, identity={}, say=pytest.fail)
    explore = Exploration(folder, seed)
    plan = search(graph, explore, arrive=explore.arrive)
    end = folder.end(plan.steps).relative_to(folder.path)
    assert files_in(folder.path) == {"initial.pth", str(end)}
    assert len(list(folder.path.iterdir())) == len({"initial.pth", end.parts[0]}), "no empty folder is left"


def test_undecided_transitions_keep_their_files(tmp_path: File) -> None:
    graph, said = GRAPHS[1], list[str]()
    folder = WeightFolder(tmp_path, graph, identity={}, say=said.append)
    first, second = graph.exploration_order[:2]
    for transition in (first, second):
        folder.checkpoint(transition).parent.mkdir()
        for file in (folder.checkpoint(transition), folder.epoch(transition, 1), folder.epoch(transition, 1234)):
            file.touch()
    before = files_in(tmp_path)
    folder.release({}, {})  # none is decided, so any may be in training
    assert files_in(tmp_path) == before
    folder.release({second: folder.outcome(second, (), score=1.0, epochs=1)}, {})  # decided out of order
    kept = {folder.epoch(second, 1), folder.checkpoint(first), folder.epoch(first, 1), folder.epoch(first, 1234)}
    assert files_in(tmp_path) == {str(file.relative_to(tmp_path)) for file in kept}
    assert said == []


def test_foreign_files_are_kept_and_reported_once(tmp_path: File) -> None:
    graph, said = GRAPHS[1], list[str]()
    folder = WeightFolder(tmp_path / "search", graph, identity={}, say=said.append)
    explore = Exploration(folder, seed=0)
    place = folder.checkpoint(graph.exploration_order[0]).parent
    (place / "epoch_001.pth.d").mkdir(parents=True)
    foreign = [place / "notes.txt", place / "epoch_001.pth.d" / "kept", place / "my_epoch_001.pth"]
    elsewhere = [folder.path / "mine" / "epoch_001.pth", folder.path / "notes.txt"]
    elsewhere[0].parent.mkdir()
    for file in (*foreign, *elsewhere):
        file.write_text("a user's")
    plan = search(graph, explore, arrive=explore.arrive)
    assert all(file.read_text() == "a user's" for file in (*foreign, *elsewhere))
    end = str(folder.end(plan.steps).relative_to(folder.path))
    left = {str(file.relative_to(folder.path)) for file in (*foreign, *elsewhere)}
    assert files_in(folder.path) == {"initial.pth", end} | left
    named = [place / "epoch_001.pth.d", place / "my_epoch_001.pth", place / "notes.txt"]
    assert said == [f"{file} does not belong to this search and is kept" for file in named]


def test_weights_of_another_search_transition_or_epoch_are_refused(tmp_path: File) -> None:
    graph, said = GRAPHS[1], list[str]()
    folder = WeightFolder(tmp_path, graph, identity={"optimizer.seed": 0}, say=said.append)
    first, second = graph.exploration_order[:2]
    path = folder.epoch(first, 2)
    folder.write(path, {"network": {"w": torch.ones(2)}}, position=Position(0, 2))
    assert torch.equal(folder.load(path)[0]["network"]["w"], torch.ones(2))
    for other in (folder.epoch(first, 3), folder.epoch(second, 2), folder.checkpoint(first), folder.initial):
        other.parent.mkdir(exist_ok=True)
        shutil.copy(path, other)
        with pytest.raises(CheckpointError, match=f"{other.name}: belongs to another search, transition or epoch"):
            folder.load(other)
    with pytest.raises(CheckpointError, match="belongs to another search"):
        WeightFolder(tmp_path, graph, identity={"optimizer.seed": 1}, say=said.append).load(path)


def test_start_weights_are_written_once_but_replaced_if_nothing_has_been_trained(tmp_path: File) -> None:
    folder = WeightFolder(tmp_path, GRAPHS[1], identity={}, say=pytest.fail)
    for seed, begins in ((0, True), (1, True), (2, False)):
        torch.manual_seed(seed)
        network = torch.nn.Linear(2, 2)
        folder.keep_initial(lambda network=network: network, begins=begins)  # type: ignore[misc]
        if begins:
            expected = network.weight
    assert torch.equal(folder.load(folder.initial)[0]["network"]["weight"], expected)
