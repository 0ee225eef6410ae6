"""Preview a search: its graph as lines of text, and the ranges of epochs, clips and disk space that it takes."""

from collections.abc import Sequence

from utils.config import RunConfig
from utils.planning.graph import INITIAL, State, Transition
from utils.search.result import describe_input

_CELL = 32


def describe_graph(config: RunConfig) -> list[str]:
    """Return the graph as text: inputs from left to right, learning rates falling downwards, then all transitions."""
    graph, inputs = config.graph, config.search.inputs
    lines = [" " * 12 + "".join(f"{describe_input(entry):<{_CELL}}" for entry in inputs)]
    for level, factor in enumerate(config.search.lr_factors):
        row = [State(i, level) for i in range(len(inputs))]
        drawn = "".join(_draw_state(config, state) for state in row)
        lines.append(f"{f'rate x {factor:g}':<12}{drawn}".rstrip())
        downwards = [_draw_arrows_below(config, state) for state in row]
        if any(text.strip() for text in downwards):
            lines.append((" " * 12 + "".join(downwards)).rstrip())
    starts = ", ".join(str(transition.end) for transition in graph.transitions if transition.start == INITIAL)
    lines.append(f"training starts in {starts} and ends in {graph.goal}")
    lines.append(f"{len(graph.transitions)} transitions over {len(graph.states)} states, in the order of exploration:")
    for number, transition in enumerate(graph.exploration_order, start=1):
        end = config.state_config(transition.end, epochs=1)
        setting = f"{describe_input(end)}, rate {end.base_learning_rate:g}"
        frozen = ", batch norm frozen" if end.frozen_bn else ""
        lines.append(f"  {number:3}  {transition!s:<18}  {setting}, {end.batch_size} x {end.iter_size} clips{frozen}")
    if graph.dead_ends:
        names = ", ".join(map(str, graph.dead_ends))
        lines.append(f"no path leads from {names} to the goal: exploring them is wasted")
    return lines


def _draw_state(config: RunConfig, state: State) -> str:
    """Return the cell of a state: its name and rate, and an arrow to the next longer input."""
    if state not in config.graph.states:
        return " " * _CELL
    text = f"{state} {config.state_config(state, epochs=1).base_learning_rate:g} "
    longer = Transition(state, State(state.input + 1, state.level)) in config.graph.transitions
    return f"{text:{'-' if longer else ' '}<{_CELL - 2}}{'> ' if longer else '  '}"


def _draw_arrows_below(config: RunConfig, state: State) -> str:
    """Return the arrows below a state: to the lower rate, and from the next longer input back to that lower rate."""
    lower = Transition(state, State(state.input, state.level + 1)) in config.graph.transitions
    longer = State(state.input + 1, state.level)
    back = Transition(longer, State(state.input, state.level + 1)) in config.graph.transitions
    text = f"{'  v' if lower else '   '}{' ' * (_CELL // 2 - 4)}{'/' if back else ' '}"
    return f"{text:<{_CELL}}"


def describe_cost(
    config: RunConfig, *, clips_per_epoch: Sequence[int] | None, scoring_videos: int, weight_bytes: int
) -> list[str]:
    """Return the ranges of a search's cost as lines of text.

    Args:
        config: The search record.
        clips_per_epoch: Number of training clips in an epoch, for each input; None if the lists are missing.
        scoring_videos: Number of videos that score a state.
        weight_bytes: Size of the network's weights, bytes.
    """
    graph, search = config.graph, config.search
    edges, few, most = len(graph.transitions), search.attempt_epochs, search.max_epochs
    lines = [f"at least {edges * few:,} epochs ({few} a transition), at most {edges * most:,} ({most} a transition)"]
    if clips_per_epoch is not None:
        clips = [sum(clips_per_epoch[t.end.input] for t in graph.transitions) * n for n in (few, most)]
        scored = [(edges * (n + 1) - len(graph.outgoing(INITIAL))) * scoring_videos for n in (few, most)]
        lines.append(
            f"at least {clips[0]:,} training clips and {scored[0]:,} scoring clips, "
            f"at most {clips[1]:,} and {scored[1]:,}"
        )
    into = max(len(graph.incoming(state)) for state in graph.states)
    checkpoint = 3  # weights and the optimizer's state: 1 (SGD) or 2 (AdamW) times the weights
    files = search.workers * (min(most, search.horizon) + checkpoint) + len(graph.states) + into
    gigabytes = files * weight_bytes / 1e9
    lines.append(f"disk: at most {gigabytes:.2g} GB while it runs ({files} times the weights), then one checkpoint")
    return lines
