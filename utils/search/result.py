"""What a search reports: search.json, from which the page and the pictures are drawn. Plain types, no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from utils.config import RunConfig
from utils.planning.graph import State, Transition
from utils.planning.knee import Verdict, fit_knee
from utils.planning.search import Plan, trained
from utils.search.events import TEST, Event, edge_events, edge_scores, find_decision, make_rule
from utils.search.progress import remaining_epochs, remaining_seconds

FORMAT = 1
SEARCH_FOLDER, JOURNAL_FILE = "search", "journal.jsonl"
SEARCH_JSON, SEARCH_PAGE = "search.json", "search.html"
GRAPH_PICTURE, CURVES_PICTURE = "search-graph.png", "search-curves.png"


def path_record_name(config: RunConfig) -> str:
    """Return the name of the record that a search writes."""
    return f"{config.name}-path"


def describe_selection(
    config: RunConfig, *, training_videos: int, scoring_videos: int, groups: tuple[int, ...] | None
) -> dict[str, Any]:
    """Return which videos train and which score the states, and in `text` the same as a sentence.

    Args:
        config: The search record.
        training_videos: How many train.
        scoring_videos: How many score the states.
        groups: How many groups the two are, None where every video is its own group.
    """
    search, data = config.search, config.dataset
    if search.selection == "heldout":
        in_training, in_scoring = (f" in {count} groups" for count in groups) if groups else ("", "")
        share = f"{search.heldout_fraction:g} of every class, seed {search.heldout_seed}"
        how = f"{scoring_videos} videos{in_scoring} held out of {data.list_file} ({share})"
        text = f"{how} score the states, {training_videos}{in_training} train them"
        more: dict[str, Any] = {"fraction": search.heldout_fraction, "seed": search.heldout_seed}
        more |= {"training_groups": groups[0], "groups": groups[1]} if groups else {}
    else:
        how = f"{scoring_videos} videos of the evaluation list {data.eva_list_file}"
        text = f"{how} score the states: the plan is selected on that list, whose scores are no test of it"
        more = {}
    text += f"; every state is scored on {describe_scoring(config)}"
    used = data.list_file if search.selection == "heldout" else data.eva_list_file
    counts = {"videos": scoring_videos, "training_videos": training_videos}
    return {"kind": search.selection, "list": used, **counts, **more, "text": text}


def describe_scoring(config: RunConfig) -> str:
    """Return which clips score the states of a search."""
    if config.search.score_input == "own":
        return "clips of its own input"
    return f"the goal's clips ({describe_input(asdict(config.evaluation_state))})"


def build_result(
    config: RunConfig, events: Sequence[Event], *, plan: Plan | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect everything a search says; scores are in percent.

    Args:
        config: The search record.
        events: The journal.
        plan: The plan; None while the search runs.
        about: `network` (a line), `selection` (which videos scored the states: kind, list, videos, training_videos).
    """
    graph = config.graph
    taken = {step.transition for step in plan.steps} if plan else set()
    wins = {path[-1].transition for path in plan.best.values() if path} if plan else set()
    edges = [
        _edge(config, events, transition) | {"on_path": transition in taken, "best_into_end": transition in wins}
        for transition in graph.exploration_order
    ]
    tests = [event for event in events if event["event"] == TEST]
    left = {"epochs": remaining_epochs(config, events), "seconds": remaining_seconds(config, events)}
    return {
        "format": FORMAT,
        "record": config.name,
        "complete": plan is not None,
        "network": about["network"],
        "metric": config.search.metric,
        "score_input": config.search.score_input,
        "selection": dict(about["selection"]),
        "attempt_epochs": config.search.attempt_epochs,
        "max_epochs": config.search.max_epochs,
        "horizon": config.search.horizon,
        "lr_factors": list(config.search.lr_factors),
        "inputs": [asdict(entry) for entry in config.search.inputs],
        "states": [_state(config, state, plan) for state in graph.states],
        "goal": str(graph.goal),
        "edges": edges,
        "path": _path(config, plan) if plan else [],
        "skipped_states": [str(s.transition.end) for s in plan.steps if s.outcome.epochs == 0] if plan else [],
        "score": plan.score if plan else None,
        "test": {key: tests[0][key] for key in ("list", "top1", "top3", "top5", "mean", "videos", "missing")}
        if tests
        else None,
        "ledger": _ledger(config, edges, plan),
        "left": left if plan is None else None,
        "path_record": f"{path_record_name(config)}.yml" if plan and plan.trained_steps else None,
        "config": config.to_dict(),
    }


def _setting(config: RunConfig, state: State) -> dict[str, Any]:
    """The setting of a state: input, batch and rate."""
    values = asdict(config.state_config(state, epochs=config.search.max_epochs))
    del values["epochs"]
    return {"learning_rate": values.pop("base_learning_rate"), **values}


def _state(config: RunConfig, state: State, plan: Plan | None) -> dict[str, Any]:
    best = plan.best[state][-1] if plan else None
    return {
        "state": str(state),
        "input": state.input,
        "level": state.level,
        **_setting(config, state),
        "score": best.outcome.score if best else None,
        "best_from": str(best.transition.start) if best else None,
        "on_path": plan is not None and any(step.transition.end == state for step in plan.steps),
    }


def _edge(config: RunConfig, events: Sequence[Event], transition: Transition) -> dict[str, Any]:
    mine, decision = edge_events(events, transition), find_decision(events, transition)
    scores = edge_scores(events, transition)
    verdict = make_rule(config).judge(scores) if scores and decision else None
    return {
        "start": str(transition.start),
        "end": str(transition.end),
        "scores": [None if math.isnan(score) else score for score in scores],
        "fit": _fit(scores, verdict),
        "knee": {"epoch": decision["epoch"], "value": decision["value"]} if decision else None,
        "verdict": decision["verdict"] if decision else ("running" if scores else "waiting"),
        "epochs_trained": max(len(scores) - 1, 0),
        "clips": sum(event["clips"] for event in mine),
        "frames": sum(event["clips"] for event in mine) * config.search.inputs[transition.end.input].num_frames,
        "scored_clips": sum(event["scored_clips"] for event in mine),
        "seconds": sum(event["seconds"] + event["scoring_seconds"] for event in mine),
    }


def _fit(scores: Sequence[float], verdict: Verdict | None) -> dict[str, float] | None:
    finite = [score for score in scores if math.isfinite(score)]
    if len(finite) < 2:
        return None
    fit = verdict.fit if verdict else fit_knee(finite)
    return {name: getattr(fit, name) for name in ("a", "b", "c", "d", "e", "residual")}


def _path(config: RunConfig, plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "state": str(step.transition.end),
            "epochs": step.outcome.epochs,
            **_setting(config, step.transition.end),
            "score": step.outcome.score,
        }
        for step in plan.trained_steps
    ]


def _ledger(config: RunConfig, edges: Sequence[Mapping[str, Any]], plan: Plan | None) -> dict[str, Any]:
    """What the search has trained, and how much of it is the path itself."""
    names = ("epochs_trained", "clips", "frames", "scored_clips", "seconds")
    ledger: dict[str, Any] = {"search": {name: sum(edge[name] for edge in edges) for name in names}, "path": None}
    if plan:
        by_ends = {(edge["start"], edge["end"]): edge for edge in edges}
        path = dict.fromkeys(("epochs", "clips", "frames", "scored_clips", "seconds"), 0)
        for step in trained(plan.steps):
            edge = by_ends[str(step.transition.start), str(step.transition.end)]
            share = step.outcome.epochs / edge["epochs_trained"]
            path["epochs"] += step.outcome.epochs
            for name in ("clips", "frames", "scored_clips", "seconds"):
                path[name] += round(edge[name] * share)
        ledger["path"] = path
    return ledger


def plan_record(config: RunConfig, plan: Plan) -> RunConfig:
    """Return the record of a plan: the states that train, one after the other."""
    return config.with_states(
        [config.state_config(step.transition.end, epochs=step.outcome.epochs) for step in plan.trained_steps]
    )


def describe_input(setting: Mapping[str, Any]) -> str:
    """Return an input in words: '16 frames', '32 frames, every 2nd', '8 x 4 frames'."""
    pieces = f"{setting['num_segments']} x " if setting["num_segments"] > 1 else ""
    every = "" if setting["num_steps"] == 1 else f", every {_ordinal(setting['num_steps'])}"
    return f"{pieces}{setting['clip_length']} frames{every}"


def _ordinal(number: int) -> str:
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10 if number % 100 not in (11, 12, 13) else 0, 'th') }"
