"""train_3d_op.py end to end: real videos, real training."""

import functools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import helpers
from dataset.build import make_validation_loader, read_search_lists
from dataset.listing import read_list
from tests import forked
from tests.conftest import MakeRecord, few_videos, write_record
from tests.scripts.searches import command, run, weights_of, write_search
from tests.scripts.searches import make_search as make_search
from tests.scripts.test_train import assert_equal
from utils.config import ConfigError, RunConfig, StateConfig, load_config
from utils.errors import UserError
from utils.jsonl import LineFileError
from utils.planning.search import Outcome, search
from utils.training.checkpoint import load_checkpoint

ONE = {"graph": ["initial -> (1,1)"]}
CHAIN = ["initial -> (0,0)", "(0,0) -> (1,0)", "(1,0) -> (1,1)"]
OWN_FILES = {
    "search.json",
    "search.html",
    "search-graph.png",
    "search-curves.png",
    "config.yml",
    "log.txt",
    "log.jsonl",
}


@pytest.fixture(scope="module")
def searched(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, dict[str, Any]]:
    """Return a search of the whole space."""
    return run(write_search(functools.partial(write_record, tiny_set, tmp_path_factory.mktemp("searched"))))


@pytest.fixture(scope="module")
def small(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, dict[str, Any]]:
    """Return a search of one transition."""
    make = functools.partial(write_record, tiny_set, tmp_path_factory.mktemp("small"))
    return run(write_search(make, search=ONE))


@pytest.fixture
def copied(small: tuple[RunConfig, dict[str, Any]], make_search: Any) -> Path:
    """Return the record of that search, with a copy of its folder that the test may change."""
    record = make_search(search=ONE)
    shutil.copytree(small[0].run_dir, load_config(record).run_dir)
    return record


def test_a_search_leaves_a_plan_that_follows_from_its_scores(
    searched: tuple[RunConfig, dict[str, Any]], tiny_set: Path
) -> None:
    config, result = searched
    assert result["complete"]
    assert len(result["edges"]) == len(config.graph.transitions) == 7
    names = {path.name for path in config.run_dir.iterdir()}
    assert names == OWN_FILES | {"current.pth", "tiny-path.yml", "search"}
    # Dynamic programming on the recorded edges gives the same plan.
    edges = {f"{edge['start']} -> {edge['end']}": edge for edge in result["edges"]}

    def recorded(transition: Any, _path: Any) -> Outcome:
        knee = edges[str(transition)]["knee"]
        return Outcome(knee["value"], knee["epoch"])

    plan = search(config.graph, recorded)
    assert result["score"] == plan.score
    trained = [(str(step.transition.end), step.outcome.epochs) for step in plan.trained_steps]
    assert [(state["state"], state["epochs"]) for state in result["path"]] == trained
    # The record of the path has these states, and the evaluation settings of the search.
    path = load_config(config.run_dir / "tiny-path.yml")
    assert path.states == tuple(
        config.state_config(step.transition.end, epochs=step.outcome.epochs) for step in plan.trained_steps
    )
    assert not path.is_search
    assert (path.dataset, path.network, path.sampler) == (config.dataset, config.network, config.sampler)
    # The counts of each edge are those of its epochs.
    for edge in result["edges"]:
        assert 1 <= edge["epochs_trained"] <= 2
        batch = 4
        assert edge["clips"] == edge["epochs_trained"] * (24 // batch * batch)
        assert edge["multiply_adds"] > edge["frames"] >= edge["clips"] > 0
        points = edge["epochs_trained"] + (edge["start"] != "initial")
        assert edge["scored_clips"] == 12 * points
        assert (edge["start"] == "initial") == (edge["scores"][0] == 0.0 and edge["scored_clips"] % 24 in (0, 12))
    # Only the weights of the start and of the goal are left.
    left = sorted(
        str(file.relative_to(config.run_dir / "search")) for file in (config.run_dir / "search").rglob("*.pth")
    )
    assert "initial.pth" in left
    assert len(left) == 2
    assert_equal(weights_of(config), load_checkpoint(config.run_dir / "search" / left[0])[0]["network"])
    names_of_classes = (tiny_set / "classes.txt").read_text().splitlines()
    assert load_checkpoint(config.weights_path)[0]["class_names"] == names_of_classes
    lines = [json.loads(line) for line in (config.run_dir / "log.jsonl").read_text().splitlines()]
    assert len(lines) == sum(epochs for _, epochs in trained)
    assert [line["total_epoch"] for line in lines] == list(range(1, len(lines) + 1))


def test_states_are_scored_on_videos_that_are_not_trained_on(
    small: tuple[RunConfig, dict[str, Any]], tiny_set: Path
) -> None:
    config, result = small
    journal = [json.loads(line) for line in (config.run_dir / "search/journal.jsonl").read_text().splitlines()]
    tests = [event for event in journal if event.get("event") == "test"]
    assert len(tests) == 1, "the test list is scored once"
    assert (tests[0]["videos"], tests[0]["list"]) == (25, str(tiny_set / "test_list.txt"))
    assert journal.index(tests[0]) == len(journal) - 2, "at the end"
    assert result["test"]["top1"] == tests[0]["top1"]
    assert result["selection"]["kind"] == "heldout"
    assert (result["selection"]["videos"], result["selection"]["training_videos"]) == (12, 24)
    assert "12 videos held out of" in (config.run_dir / "tiny-path.yml").read_text()


def test_groups_are_held_out_whole_and_counted(make_search: Any, tiny_set: Path, tmp_path: Path) -> None:
    own_list = tmp_path / "own_list.txt"
    shutil.copy(tiny_set / "train_list.txt", own_list)
    videos = sorted(read_list(own_list), key=lambda video: video.label)  # three of each of twelve classes
    take_of = {video.path: i % 3 for i, video in enumerate(videos)}
    (tmp_path / "own_list.groups.txt").write_text("".join(f"take {n}\t{path}\n" for path, n in take_of.items()))
    record = make_search(search=ONE, dataset={"list_file": str(own_list)})
    config, result = run(record)
    found = {key: result["selection"][key] for key in ("videos", "groups", "training_videos", "training_groups")}
    training, scoring = read_search_lists(config)
    takes = [{take_of[video.path] for video in part} for part in (training, scoring)]
    assert not takes[0] & takes[1] and takes[0] | takes[1] == {0, 1, 2}
    assert found == {
        "videos": len(scoring),
        "groups": len(takes[1]),
        "training_videos": len(training),
        "training_groups": len(takes[0]),
    }
    said = f"{len(scoring)} videos in {len(takes[1])} groups held out of"
    for name in ("tiny-path.yml", "search.html", "log.txt"):
        assert said in (config.run_dir / name).read_text(), name


def test_selection_on_the_evaluation_list_is_reported(make_search: Any) -> None:
    config, result = run(make_search(search=ONE | {"selection": "eval_list"}))
    assert result["selection"]["kind"] == "eval_list"
    assert "scores on it are not a test" in result["selection"]["text"]
    for name in ("tiny-path.yml", "search.html", "log.txt"):
        assert "scores on it are not a test" in (config.run_dir / name).read_text(), name
    assert result["edges"][0]["scored_clips"] == 25 * result["edges"][0]["epochs_trained"]


def test_the_record_of_the_path_trains_to_the_weights_of_the_search(
    make_search: Any, tiny_set: Path, tmp_path: Path
) -> None:
    """Both train on the whole list; the search scores on the training videos, where scores must rise."""
    few = tmp_path / "few_list.txt"
    few.write_text("".join((tiny_set / "train_list.txt").read_text().splitlines(keepends=True)[:18]))
    data = {"list_file": str(few), "eva_list_file": str(few)}
    space = {"selection": "eval_list", "graph": CHAIN, "lr_factors": [1.0, 0.5], "score_input": "own"}
    config, result = run(make_search(search=space, dataset=data, optimizer={"base_learning_rate": 0.01}))
    assert len(result["path"]) >= 2
    path = load_config(config.run_dir / "tiny-path.yml")
    helpers.train(path, force=False)
    assert_equal(weights_of(path), weights_of(config))
    lines = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (path.run_dir, config.run_dir)
    ]
    exact = ("state", "epoch", "total_epoch", "train_loss", "clips", "learning_rate", "eval_top1", "eval_mean")
    assert [[line[key] for key in exact] for line in lines[0]] == [[line[key] for key in exact] for line in lines[1]]


@pytest.mark.parametrize("score_input", ["goal", "own"])
def test_scores_of_states_are_of_one_clip_unless_asked_otherwise(
    score_input: str, make_search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scored on the goal's clips, the end of a transition and the start of the next have the same score."""
    seen: list[int] = []
    original = make_validation_loader

    def look(config: RunConfig, state: StateConfig, **arguments: Any) -> Any:
        loader = original(config, state, **arguments)
        seen.append(len(loader.dataset[0].clip))
        return loader

    monkeypatch.setattr(helpers, "make_validation_loader", look)
    graph = ["initial -> (0,0)", "(0,0) -> (1,0)"]
    space = {"graph": graph, "lr_factors": [1.0], "score_input": score_input, "max_epochs": 1, "heldout_fraction": 0.5}
    sampler = {"num_steps": 2, "eva_num_segments": 2}  # the goal is 16 frames, 2 pieces of them in the evaluation
    settings = {"optimizer": {"base_learning_rate": 0.05}, "network": {"net_name": "p3d_resnet18"}}
    config, result = run(make_search(search=space, sampler=sampler, **settings))
    first, second = result["edges"]
    if first["knee"]["epoch"] == 1:
        assert (second["scores"][0] == first["scores"][1]) == (score_input == "goal")
    assert seen == ([32, 32, 32] if score_input == "goal" else [8, 16, 32])  # frames; the last is the test
    assert result["score_input"] == score_input
    said = "the goal's clips (2 x 16 frames, every 2nd, 24 px)" if score_input == "goal" else "clips of its own input"
    assert result["selection"]["text"].endswith(f"every state is scored on {said}")
    assert said in (config.run_dir / "search.html").read_text().replace("&#x27;", "'")


def test_a_finished_search_is_left_alone(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, config = copied, load_config(copied)
    before = {path: path.stat().st_mtime_ns for path in config.run_dir.rglob("*") if path.suffix != ".txt"}
    run(record)
    assert "the search is complete" in capsys.readouterr().out
    before.pop(config.run_dir / "config.yml")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (config.run_dir / "search.html").unlink()  # missing files are written again without training
    (config.run_dir / "current.pth").unlink()
    journal = (config.run_dir / "search/journal.jsonl").read_text()
    run(record)
    assert (config.run_dir / "search.html").exists()
    assert (config.run_dir / "current.pth").exists()
    assert (config.run_dir / "search/journal.jsonl").read_text().startswith(journal)
    run(record, force=True)
    assert (config.run_dir / "earlier-001" / "search.html").exists()


def test_a_search_of_another_record_is_refused(copied: Path, make_search: Any) -> None:
    config = load_config(copied)
    saved = config.saved_path.read_text()
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"search": {"attempt_epochs": 2}}, "search.attempt_epochs: was 1, is 2"),
        ({"search": {"graph": ["initial -> (0,0)", "(0,0) -> (1,1)"]}}, "search.graph: was"),
        ({"optimizer": {"seed": 4}}, "optimizer.seed: was 0, is 4"),
    )
    for change, named in changes:
        changed = {**change, "search": ONE | change.get("search", {})}
        with pytest.raises(ConfigError, match=named):
            run(make_search(**changed))
        config.saved_path.unlink()  # the journal holds the configuration too
        with pytest.raises(LineFileError, match=named):
            run(make_search(**changed))
        config.saved_path.write_text(saved)


@pytest.mark.usefixtures("copied")
def test_scores_of_two_clips_are_never_in_one_journal(make_search: Any) -> None:
    """The clip of the final evaluation, which is not a training key, scores the states unless score_input is own."""
    found = r"scoring clips: was .*\(16 frames, 24 px\), is .*\(2 x 16 frames, 24 px\)"
    with pytest.raises(LineFileError, match=found):
        run(make_search(search=ONE, sampler={"eva_num_segments": 2}))
    own = ONE | {"max_epochs": 1, "score_input": "own"}
    run(make_search("own", search=own))
    run(make_search("own", search=own, sampler={"eva_num_segments": 2}))


def test_a_search_of_another_list_is_refused(make_search: Any, tmp_path: Path, tiny_set: Path) -> None:
    own_list = tmp_path / "own_list.txt"
    own_list.write_text((tiny_set / "train_list.txt").read_text())
    record = make_search(search=ONE, dataset={"list_file": str(own_list)})
    run(record)
    own_list.write_text("".join((tiny_set / "train_list.txt").read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(LineFileError, match=r"training videos: was 24, SHA-256 .*, is 2"):
        run(record)


def test_a_diverged_transition_is_hopeless_and_the_search_continues(
    make_search: Any, tiny_set: Path, tmp_path: Path
) -> None:
    """Scored on its four training videos, whose score rises on every processor."""
    lists = few_videos(tiny_set, tmp_path, num_train=4, num_test=0)
    steep = {"lr_factors": [1e12, 1.0], "graph": ["initial -> (0,0)", "(0,0) -> (1,1)", "initial -> (1,1)"]}
    _, result = run(
        make_search(
            search=steep | {"selection": "eval_list", "attempt_epochs": 4, "max_epochs": 4},
            dataset=lists | {"eva_list_file": lists["list_file"]},
            optimizer={"base_learning_rate": 0.02, "clip_gradient": 0},
            network={"dropout_ratio": 0},
        )
    )
    first = result["edges"][0]
    assert first["scores"][-1] is None
    assert first["verdict"] in ("hopeless", "capped")
    assert result["complete"]
    assert result["path"][-1]["state"] == "(1,1)"


def test_a_search_in_which_all_diverges_ends_with_one_line_and_a_page(make_search: Any) -> None:
    record = make_search(search=ONE, optimizer={"base_learning_rate": 1e20, "clip_gradient": 0})
    for _ in range(2):
        with pytest.raises(UserError, match="no transition improved"):
            run(record)
    config = load_config(record)
    assert (config.run_dir / "search.html").exists()
    assert not config.weights_path.exists()


def test_records_of_the_wrong_kind_are_refused(make_search: Any, make_record: MakeRecord) -> None:
    for script, record in (("train_3d_op.py", make_record("plain")), ("train_3d.py", make_search("space"))):
        done = forked.run([sys.executable, script, "--config_file", record])
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "search.inputs" in done.stderr
        assert ("train_3d.py" if script == "train_3d_op.py" else "train_3d_op.py") in done.stderr


def test_a_dry_run_draws_and_counts(make_search: Any) -> None:
    record = make_search()
    done = forked.run(command(record, "--dry-run"), check=True)
    assert "7 transitions over 4 states" in done.stdout
    assert "at least 7 epochs (1 a transition), at most 14 (2 a transition)" in done.stdout
    assert "at least 168 training clips and 144 scoring clips, at most 336 and 228" in done.stdout
    assert not load_config(record).run_dir.exists()
    missing = "\n".join(helpers.describe_search(load_config(record, ["dataset.list_file=none.txt"])))
    assert "no such file 'none.txt'" in missing
    assert "at least 7 epochs" in missing


def test_the_cost_of_a_search_is_in_the_previewed_range(searched: tuple[RunConfig, dict[str, Any]]) -> None:
    config, result = searched
    said = "\n".join(helpers.describe_search(config))
    ledger = result["ledger"]["search"]
    assert 168 <= ledger["clips"] <= 336
    assert 144 <= ledger["scored_clips"] <= 228
    assert "144 scoring clips" in said
    assert len(read_list(config.dataset.list_file)) == 36
