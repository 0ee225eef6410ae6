"""The weights a search keeps: whatever is still needed at every moment, nothing else in the end, and others' files."""

import random
from pathlib import Path as File

import pytest

from utils.planning.graph import INITIAL, Graph, State, Transition, build_graph
from utils.planning.search import Outcome, Path, search, trained
from utils.search.weights import WeightFolder

GRAPHS = [build_graph("extended", num_inputs=3, num_levels=3), build_graph("basic", num_inputs=2, num_levels=2)]


class Exploration:
    """Explores with files of a few bytes: every epoch leaves one, the knee is one of them or none."""

    def __init__(self, folder: WeightFolder, seed: int) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.outcomes: dict[Transition, Outcome] = {}
        self.best: dict[State, Path] = {INITIAL: ()}
        folder.path.mkdir(parents=True)
        folder.initial.write_text("initial")

    def __call__(self, transition: Transition, path: Path) -> Outcome:
        steps = trained(path)  # a state that is passed through hands on the weights it got
        assert self.folder.end(path).read_text() == (str(steps[-1].transition) if steps else "initial")
        epochs = self.rng.randint(1, 4)
        for epoch in range(1, epochs + 1):
            file = self.folder.epoch(transition, epoch)
            file.parent.mkdir(exist_ok=True)
            file.write_text(str(transition))
        self.folder.checkpoint(transition).touch()
        (file.parent / ".current.pth.0a1b2c3d.tmp").touch()  # a kill left it
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
def test_what_is_needed_is_there_and_in_the_end_nothing_else(graph: Graph, seed: int, tmp_path: File) -> None:
    folder = WeightFolder(tmp_path / "search", graph, say=pytest.fail)
    explore = Exploration(folder, seed)
    plan = search(graph, explore, arrive=explore.arrive)
    end = folder.end(plan.steps).relative_to(folder.path)
    assert files_in(folder.path) == {"initial.pth", str(end)}
    assert len(list(folder.path.iterdir())) == len({"initial.pth", end.parts[0]}), "no empty folder is left"


def test_the_transition_that_is_next_keeps_what_it_has(tmp_path: File) -> None:
    graph, said = GRAPHS[1], list[str]()
    folder = WeightFolder(tmp_path, graph, say=said.append)
    first, second = graph.exploration_order[:2]
    for transition in (first, second):
        folder.checkpoint(transition).parent.mkdir()
        for file in (folder.checkpoint(transition), folder.epoch(transition, 1), folder.epoch(transition, 1234)):
            file.touch()
    before = files_in(tmp_path)
    folder.release({}, {})  # nothing is decided: the first may have begun
    assert files_in(tmp_path) == {name for name in before if folder.checkpoint(first).parent.name in name}
    assert said == []


def test_files_of_others_stay_and_are_named_once(tmp_path: File) -> None:
    graph, said = GRAPHS[1], list[str]()
    folder = WeightFolder(tmp_path / "search", graph, say=said.append)
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
    assert said == [f"{file} is not of this search: it is left there" for file in named]
