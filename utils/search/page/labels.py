"""Texts, numbers and curves that the page and the figures of a search share. Scores are in percent."""

import math
from collections.abc import Iterator
from typing import NamedTuple, TypeGuard

from utils.figures.chart import Range
from utils.planning.graph import INITIAL, State
from utils.planning.knee import KneeFit
from utils.search.result import EdgeResult, SearchResult, StateResult, describe_input
from utils.text import count

METRICS = {"mean": "mean of top-1, top-3 and top-5", "top1": "top-1", "top3": "top-3", "top5": "top-5"}
PROTOCOL = "1 clip, center crop"
NOTHING = "–"  # written where there is no number
# Each verdict has a sign besides its word, so that it can be recognized without color.
SIGNS = {"settled": "●", "capped": "▲", "hopeless": "○", "running": "◐", "waiting": "◌"}
DIVERGED = "✕"
PATH, BEST, LOST, RUNNING, WAITING = "path", "best", "lost", "running", "waiting"
# Meaning of a transition's role in the plan, in the order of the legend.
ROLES = {
    PATH: "on the path",
    BEST: "best into its state",
    LOST: "not taken",
    RUNNING: "in training",
    WAITING: "not started",
}


def number(value: float | None) -> str:
    """Return a score with two decimals; a dash if there is none."""
    return f"{value:.2f}" if is_number(value) else NOTHING


def is_number(value: float | None) -> TypeGuard[float]:
    """Return whether a value is finite; the score of training that diverged is not."""
    return value is not None and math.isfinite(value)


def edge_name(edge: EdgeResult) -> str:
    """Return the name of a transition as written in the journal, "start -> end"."""
    return f"{edge.start} -> {edge.end}"


def arrow_name(edge: EdgeResult) -> str:
    """Return the name of a transition for display, "start → end"."""
    return f"{edge.start} → {edge.end}"


def knee_epoch(edge: EdgeResult) -> int | None:
    """Return the knee of a transition in epochs; None while it is undecided."""
    return edge.knee.epoch if edge.knee else None


def knee_value(edge: EdgeResult) -> float | None:
    """Return the fitted score at the knee; None if undecided or not finite."""
    value = edge.knee.value if edge.knee else None
    return value if is_number(value) else None


def diverged_in(edge: EdgeResult) -> int | None:
    """Return the first epoch whose score is not finite because training diverged; None if there is none."""
    return next((epoch for epoch, score in enumerate(edge.scores) if not is_number(score)), None)


def find_winner(result: SearchResult, state: State) -> EdgeResult | None:
    """Return the best incoming transition of a state; None until all of them are decided."""
    into = [edge for edge in result.edges if edge.end == state]
    if any(edge.knee is None for edge in into):
        return None
    return max(into, key=lambda edge: -math.inf if (value := knee_value(edge)) is None else value, default=None)


def edge_role(edge: EdgeResult, result: SearchResult) -> str:
    """Return the role of a transition in the plan: PATH, BEST (into its end state), LOST, RUNNING or WAITING."""
    if edge.on_path:
        return PATH
    if edge.knee is None:
        return RUNNING if edge.verdict == RUNNING else WAITING
    return BEST if find_winner(result, edge.end) is edge else LOST


def describe_roles(result: SearchResult) -> dict[str, str]:
    """Return the roles that occur in a result, with their meanings."""
    found = {edge_role(edge, result) for edge in result.edges}
    return {role: text for role, text in ROLES.items() if role in found}


def edge_label(edge: EdgeResult, *, in_short: bool) -> str:
    """Return the label of a transition: the epochs up to its knee, with a cross if training diverged."""
    epoch = knee_epoch(edge)
    if epoch is None:
        return "…" if edge.verdict == RUNNING else "?"
    text = f"{epoch}" if in_short else count(epoch, "epoch")
    return text if diverged_in(edge) is None else f"{text} ✕"


def describe_edge(edge: EdgeResult, result: SearchResult) -> str:
    """Return a transition and its outcome in a sentence."""
    if edge.knee is None:
        trained = f" after {count(edge.cost.epochs_trained, 'epoch')}" if edge.scores else ""
        return f"{arrow_name(edge)}: {edge.verdict}{trained}"
    diverged = diverged_in(edge)
    divergence = "" if diverged is None else f", training diverged in epoch {diverged}"
    score = f"knee at epoch {knee_epoch(edge)}, score {number(knee_value(edge))}"
    role = edge_role(edge, result)
    place = f"best into {edge.end}" if role == BEST else ROLES[role]
    return f"{arrow_name(edge)}: {score}, {edge.verdict}{divergence}, {place}"


def describe_estimate(fit: KneeFit, result: SearchResult) -> str:
    """Return the current estimate of the knee of a transition in training, from its fitted curve."""
    so_far = fit.within(result.max_epochs)
    if so_far.epoch == result.max_epochs:
        return "no knee yet"
    return f"its knee at epoch {so_far.epoch} so far (score {number(so_far.value)})"


def describe_score(result: SearchResult) -> str:
    """Return the score of the path with its protocol, and whether the path was selected on the evaluation list."""
    metric = METRICS[result.metric]
    if not result.complete:
        return f"the search is running; scores in % ({metric}, {PROTOCOL})"
    warning = ", selected on the evaluation list" if result.selection.kind == "eval_list" else ""
    return f"score {number(result.score)}% ({metric}, {PROTOCOL}, fitted at the knee{warning})"


def walk_path(result: SearchResult) -> Iterator[EdgeResult]:
    """Yield the transitions of the chosen path in order, including those of 0 epochs."""
    following = {edge.start: edge for edge in result.edges if edge.on_path}
    state = INITIAL
    while state in following:
        yield following[state]
        state = following[state].end


def ordered_edges(result: SearchResult) -> list[tuple[int, EdgeResult]]:
    """Return the transitions with their numbers in exploration order, those of the path first."""
    numbers = {edge_name(edge): place for place, edge in enumerate(result.edges, start=1)}
    first = list(walk_path(result))
    rest = [edge for edge in result.edges if not edge.on_path]
    return [(numbers[edge_name(edge)], edge) for edge in [*first, *rest]]


def drawn_edges(result: SearchResult) -> list[tuple[int, EdgeResult]]:
    """Return the `ordered_edges` that have scores and therefore a chart."""
    return [(place, edge) for place, edge in ordered_edges(result) if edge.scores]


def state_score(state: StateResult, result: SearchResult) -> str:
    """Return the best score of a state; a lower bound while some of its incoming transitions are undecided."""
    into = [edge for edge in result.edges if edge.end == state.state]
    values = [value for edge in into if (value := knee_value(edge)) is not None]
    if not values:
        return NOTHING
    return f"{'' if all(edge.knee for edge in into) else '≥ '}{max(values):.1f}"


def state_lines(state: StateResult, *, wraps: bool) -> tuple[str, ...]:
    """Return the lines written in a state below its name: its clip and learning rate."""
    clip = describe_input(state.setting)
    pieces = clip.split(", ") if wraps else [clip]
    clip_lines = [piece + ("," if place < len(pieces) else "") for place, piece in enumerate(pieces, start=1)]
    return (*clip_lines, f"rate {state.setting.base_learning_rate:g}")


def state_tag(state: StateResult, result: SearchResult, *, in_short: bool) -> str:
    """Return the tag of a state in the plan: "goal", "passed through" or ""."""
    is_skipped = state.state in result.skipped_states
    if state.state == result.goal:
        return "goal, 0 epochs" if is_skipped and not in_short else "goal"
    return ("skipped" if in_short else "passed through") if is_skipped else ""


def initial_weights(result: SearchResult, *, in_short: bool) -> str:
    """Return a description of the weights that a search starts from."""
    kind = "pretrained" if result.config.network.pretrained_model else "random"
    return kind if in_short else f"{kind} weights"


def fitted_curve(edge: EdgeResult) -> list[tuple[float, float]]:
    """Return 61 points (epoch, score) of the fitted curve over the fitted epochs, denser where it is steep."""
    diverged = diverged_in(edge)
    last = (len(edge.scores) if diverged is None else diverged) - 1
    if edge.fit is None or last < 1:
        return []
    epochs = [last * (k / 60) ** 2 for k in range(61)]
    return list(zip(epochs, edge.fit.curve(epochs).tolist(), strict=True))


def score_range(edge: EdgeResult) -> Range:
    """Return the lowest and highest score to draw, at least 4 apart, so that noise does not look like progress."""
    found = [*edge.scores, *(score for _, score in fitted_curve(edge)), knee_value(edge)]
    values = [score for score in found if is_number(score)]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    pad = max(0.06 * (high - low), (4.0 - (high - low)) / 2)
    rise = max(pad - low - 0.24, 0.0) if low >= 0 else 0.0  # scores are not negative: leave little room below 0
    return low - pad + rise, high + pad + rise


class Ranges(NamedTuple):
    """Axis ranges of a chart: first and last epoch, lowest and highest score."""

    epochs: Range
    scores: Range


def chart_ranges(result: SearchResult) -> dict[str, Ranges]:
    """Return the axis ranges of every transition that has scores, by its name.

    Transitions into the same state compete and share their ranges. Transitions from the initial state, whose scores
    start at 0, share ranges among themselves.
    """
    rivals: dict[State, list[EdgeResult]] = {}
    for edge in result.edges:
        if edge.scores:
            rivals.setdefault(INITIAL if edge.start == INITIAL else edge.end, []).append(edge)
    ranges: dict[str, Ranges] = {}
    for edges in rivals.values():
        last = max([len(edge.scores) - 1 for edge in edges] + [result.attempt_epochs])
        lows, highs = zip(*map(score_range, edges), strict=True)
        ranges |= {edge_name(edge): Ranges((0.0, float(last)), (min(lows), max(highs))) for edge in edges}
    return ranges


def verdict_text(edge: EdgeResult) -> tuple[str, str]:
    """Return the sign and the word of a verdict, and whether training diverged."""
    if diverged_in(edge) is not None:
        return DIVERGED, f"{edge.verdict}, diverged"
    return SIGNS[edge.verdict], edge.verdict
