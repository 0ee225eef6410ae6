"""The report of a search: search.json, from which the page and the pictures are drawn. No torch."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from utils.config import RunConfig
from utils.config.sections import InputConfig
from utils.planning.graph import State, Transition
from utils.planning.knee import KneeFit, fit_knee
from utils.planning.search import Plan, Step
from utils.search.events import Decision, FinalScore, History, make_rule
from utils.search.progress import Remaining, estimate_remaining

FORMAT = 1
SEARCH_FOLDER, JOURNAL_FILE = "search", "journal.jsonl"
SEARCH_JSON, SEARCH_PAGE = "search.json", "search.html"
GRAPH_PICTURE, CURVES_PICTURE = "search-graph.png", "search-curves.png"


@dataclass(frozen=True)
class Selection:
    """Which videos train the states of a search and which score them.

    Attributes:
        kind: Value of search.selection.
        list: The list file of the videos that score the states.
        videos: Number of videos that score the states.
        training_videos: Number of videos that train them.
        text: Description of the selection as a sentence.
        fraction: Fraction of each class that is held out; this and the following are None if not applicable.
        seed: Seed of the draw.
        training_groups: Number of groups of the training videos.
        groups: Number of groups of the scoring videos.
    """

    kind: str
    list: str
    videos: int
    training_videos: int
    text: str
    fraction: float | None = None
    seed: int | None = None
    training_groups: int | None = None
    groups: int | None = None


@dataclass(frozen=True)
class Subject:
    """What a report says besides the events.

    Attributes:
        network: One-line description of the network.
        selection: The videos.
        multiply_adds: Multiply-adds of the forward pass of one clip of each input.
    """

    network: str
    selection: Selection
    multiply_adds: tuple[int, ...]


@dataclass(frozen=True)
class StateResult:
    """A state of the graph; `score` and `best_from` are of its best incoming transition, None without a plan."""

    state: State
    input: int
    level: int
    setting: InputConfig
    score: float | None
    best_from: State | None
    on_path: bool


@dataclass(frozen=True)
class Knee:
    """The epoch that a transition keeps, and the fitted score at it."""

    epoch: int
    value: float


@dataclass(frozen=True)
class Cost:
    """The cost of training and scoring; clips, frames and (forward) multiply-adds count training only."""

    epochs_trained: int
    clips: int
    frames: int
    multiply_adds: int
    scored_clips: int
    seconds: float


@dataclass(frozen=True)
class EdgeResult:
    """A transition: its curve, knee and cost."""

    start: State
    end: State
    scores: tuple[float, ...]
    fit: KneeFit | None
    knee: Knee | None
    verdict: str
    cost: Cost
    on_path: bool
    best_into_end: bool


@dataclass(frozen=True)
class PathState:
    """A state that the path trains."""

    state: State
    epochs: int
    setting: InputConfig
    score: float


@dataclass(frozen=True)
class Ledger:
    """The cost of all transitions, and the part of it that the path itself costs."""

    search: Cost
    path: Cost | None


@dataclass(frozen=True)
class SearchResult:
    """The content of search.json, field by field; scores are in percent."""

    format: int
    record: str
    complete: bool
    network: str
    metric: str
    score_input: str
    selection: Selection
    attempt_epochs: int
    max_epochs: int
    horizon: int
    lr_factors: tuple[float, ...]
    inputs: tuple[InputConfig, ...]
    states: tuple[StateResult, ...]
    goal: State
    edges: tuple[EdgeResult, ...]
    path: tuple[PathState, ...]
    skipped_states: tuple[State, ...]
    score: float | None
    test: FinalScore | None
    ledger: Ledger
    left: Remaining | None
    path_record: str | None
    config: RunConfig

    def to_json(self) -> dict[str, Any]:
        """Return the content of search.json."""
        found: dict[str, Any] = _as_json(self)
        if path := found["ledger"]["path"]:
            path["epochs"] = path.pop("epochs_trained")
        return found


def _as_json(value: Any) -> Any:
    """Return a value for JSON: numbers that are not finite become null, and fields that default to None are omitted."""
    if isinstance(value, State):
        return str(value)
    if isinstance(value, RunConfig):
        return value.to_dict()
    if isinstance(value, KneeFit):
        return {name: getattr(value, name) for name in ("a", "b", "c", "d", "e", "residual")}
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    if not is_dataclass(value):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    found: dict[str, Any] = {}
    for field in fields(value):
        part = getattr(value, field.name)
        if field.name == "cost":  # the fields of a cost and of a setting are merged into the parent's
            found |= vars(part)
        elif field.name == "setting":
            setting = {key: number for key, number in asdict(part).items() if key != "epochs"}
            found |= {"learning_rate": setting.pop("base_learning_rate"), **setting}
        elif part is not None or field.default is not None:
            found[field.name] = _as_json(part)
    return found


def path_record_name(config: RunConfig) -> str:
    """Return the name of the record that a search writes."""
    return f"{config.name}-path"


def describe_selection(
    config: RunConfig, *, training_videos: int, scoring_videos: int, groups: tuple[int, ...] | None
) -> Selection:
    """Return the description of the videos that train and score the states.

    Args:
        config: The search record.
        training_videos: Number of videos that train the states.
        scoring_videos: Number of videos that score them.
        groups: Numbers of groups of the training and of the scoring videos; None: each video is its own group.
    """
    search, data = config.search, config.dataset
    source, drawn = data.eva_list_file, dict[str, Any]()
    if search.selection == "heldout":
        in_training, in_scoring = (f" in {count} groups" for count in groups) if groups else ("", "")
        part = f"{search.heldout_fraction:g} of every class, seed {search.heldout_seed}"
        text = f"{scoring_videos} videos{in_scoring} held out of {data.list_file} ({part}) score the states, "
        text += f"{training_videos}{in_training} train them"
        training, scoring = groups or (None, None)
        source, drawn = data.list_file, {"fraction": search.heldout_fraction, "seed": search.heldout_seed}
        drawn |= {"training_groups": training, "groups": scoring}
    else:
        text = f"{scoring_videos} videos of the evaluation list {data.eva_list_file} score the states"
        text += ": the plan is selected on this list, so scores on it are not a test"
    text += f"; every state is scored on {describe_scoring(config)}"
    return Selection(search.selection, source, scoring_videos, training_videos, text, **drawn)


def describe_scoring(config: RunConfig) -> str:
    """Return a description of the clips that score the states of a search."""
    if config.search.policy != "released" or config.search.score_input == "own":
        return "clips of its own input"
    return f"the goal's clips ({describe_input(config.evaluation_state)})"


def build_result(config: RunConfig, history: History, *, plan: Plan | None, subject: Subject) -> SearchResult:
    """Return the report of a search; without a plan, of a search in progress."""
    graph, search = config.graph, config.search
    edges = tuple(
        _edge(config, history, transition=transition, plan=plan, subject=subject)
        for transition in graph.exploration_order
    )
    return SearchResult(
        format=FORMAT,
        record=config.name,
        complete=plan is not None,
        network=subject.network,
        metric=search.metric,
        score_input=search.score_input,
        selection=subject.selection,
        attempt_epochs=search.attempt_epochs,
        max_epochs=search.max_epochs,
        horizon=search.horizon,
        lr_factors=search.lr_factors,
        inputs=search.inputs,
        states=tuple(_state(config, state, plan=plan) for state in graph.states),
        goal=graph.goal,
        edges=edges,
        path=tuple(_path_state(config, step) for step in plan.trained_steps) if plan else (),
        skipped_states=tuple(s.transition.end for s in plan.steps if s.outcome.epochs == 0) if plan else (),
        score=plan.score if plan else None,
        test=history.test,
        ledger=Ledger(_add_up(edges), _path_cost(edges, plan) if plan else None),
        left=None if plan else estimate_remaining(config, history),
        path_record=f"{path_record_name(config)}.yml" if plan and plan.trained_steps else None,
        config=config,
    )


def _state(config: RunConfig, state: State, *, plan: Plan | None) -> StateResult:
    best = plan.best[state][-1] if plan else None
    return StateResult(
        state=state,
        input=state.input,
        level=state.level,
        setting=config.state_config(state, epochs=config.search.max_epochs),
        score=best.outcome.score if best else None,
        best_from=best.transition.start if best else None,
        on_path=plan is not None and any(step.transition.end == state for step in plan.steps),
    )


def _path_state(config: RunConfig, step: Step) -> PathState:
    state, epochs = step.transition.end, step.outcome.epochs
    return PathState(state, epochs, config.state_config(state, epochs=epochs), step.outcome.score)


def _edge(
    config: RunConfig, history: History, *, transition: Transition, plan: Plan | None, subject: Subject
) -> EdgeResult:
    curve, scores, decision = history.curve(transition), history.scores(transition), history.decisions.get(transition)
    clips = sum(point.clips for point in curve)
    return EdgeResult(
        start=transition.start,
        end=transition.end,
        scores=tuple(scores),
        fit=_fit(config, scores, decision=decision),
        knee=Knee(decision.epoch, decision.value) if decision else None,
        verdict=decision.verdict if decision else ("running" if scores else "waiting"),
        cost=Cost(
            epochs_trained=max(len(scores) - 1, 0),
            clips=clips,
            frames=clips * config.search.inputs[transition.end.input].num_frames,
            multiply_adds=clips * subject.multiply_adds[transition.end.input],
            scored_clips=sum(point.scored_clips for point in curve),
            seconds=sum(point.seconds + point.scoring_seconds for point in curve),
        ),
        on_path=plan is not None and transition in (step.transition for step in plan.steps),
        best_into_end=plan is not None and transition == plan.best[transition.end][-1].transition,
    )


def _fit(config: RunConfig, scores: list[float], *, decision: Decision | None) -> KneeFit | None:
    """Return the curve of the decision, or that of the scores so far; None for fewer than two scores."""
    finite = [score for score in scores if math.isfinite(score)]
    if len(finite) < 2:
        return None
    verdict = make_rule(config).judge(scores) if decision else None
    return verdict.fit if verdict else fit_knee(finite)


def _add_up(edges: Sequence[EdgeResult]) -> Cost:
    return Cost(**{field.name: sum(getattr(edge.cost, field.name) for edge in edges) for field in fields(Cost)})


def _path_cost(edges: Sequence[EdgeResult], plan: Plan) -> Cost:
    """Return the cost of the path itself: for each of its transitions, the epochs up to the knee."""
    by_ends = {(edge.start, edge.end): edge.cost for edge in edges}
    taken = [(by_ends[s.transition.start, s.transition.end], s.outcome.epochs) for s in plan.trained_steps]
    return Cost(
        **{
            field.name: sum(round(getattr(cost, field.name) * (epochs / cost.epochs_trained)) for cost, epochs in taken)
            for field in fields(Cost)
        }
    )


def plan_record(config: RunConfig, plan: Plan) -> RunConfig:
    """Return the record of a plan: the states that train at least one epoch, in order."""
    return config.with_states(
        [config.state_config(step.transition.end, epochs=step.outcome.epochs) for step in plan.trained_steps]
    )


def describe_input(setting: InputConfig) -> str:
    """Return a short description of an input: '16 frames, 56 px', '32 frames, every 2nd, 224 px'.

    Inputs of several segments are '8 x 4 frames, 112 px'.
    """
    pieces = f"{setting.num_segments} x " if setting.num_segments > 1 else ""
    every = "" if setting.num_steps == 1 else f", every {_ordinal(setting.num_steps)}"
    return f"{pieces}{setting.clip_length} frames{every}, {setting.crop_size} px"


def _ordinal(number: int) -> str:
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10 if number % 100 not in (11, 12, 13) else 0, 'th') }"
