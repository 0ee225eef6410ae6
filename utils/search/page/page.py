"""search.html: the whole result of a search in one self-contained file; no network, and no scripts when finished."""

from collections.abc import Iterator
from urllib.parse import quote
from xml.etree.ElementTree import Element

import yaml

from utils.figures.markup import (
    element,
    facts,
    note,
    numbers,
    render_document,
    scroll_box,
    section,
    table,
    table_row,
    warning,
)
from utils.search.page import labels
from utils.search.page.drawings import curve_svg, graph_svg, legend
from utils.search.page.labels import METRICS, NOTHING, PROTOCOL, Ranges, number
from utils.search.page.layout import COMPACT, WIDE
from utils.search.page.status import reload_script, render_status
from utils.search.result import EdgeResult, SearchResult, describe_input
from utils.text import count, describe_time

_FIT_KEYS = ("a", "b", "c", "d", "e", "residual")


def render_page(result: SearchResult) -> str:
    """Return the HTML page of a running or finished search."""
    is_complete = result.complete
    return render_document(
        f"{'' if is_complete else 'searching: '}{result.record}",
        _render_head(result),
        _render_graph(result),
        *([_render_path(result)] if is_complete else []),
        _render_curves(result),
        _render_edges(result),
        _render_ledger(result),
        _render_configuration(result),
        script=reload_script(is_complete=is_complete),
    )


def _render_head(result: SearchResult) -> Element:
    decided = sum(edge.knee is not None for edge in result.edges)
    of_all = f"{decided} of {count(len(result.edges), 'transition')} decided"
    progress: list[Element] = []
    if result.complete:
        status = f"Search finished: {of_all}"
    else:
        status = f"Searching: {of_all}"
        progress = [
            element("progress", of_all, max=len(result.edges), value=decided, aria_label=of_all),
            note(" ".join(_describe_training(result))),
        ]
    return element(
        "header",
        render_status(status, is_complete=result.complete),
        element("h1", result.record),
        note(result.network),
        *progress,
        facts(_list_facts(result)),
        _render_selection(result),
    )


def _describe_training(result: SearchResult) -> Iterator[str]:
    """Yield a sentence about each transition in training."""
    for place, edge in enumerate(result.edges, start=1):
        if edge.verdict == "running":
            fit = f", {labels.describe_estimate(edge.fit, result)}" if edge.fit else ""
            trained = f"{edge.cost.epochs_trained} of at most {count(result.max_epochs, 'epoch')}"
            yield f"In training: transition {place}, {labels.arrow_name(edge)}, {trained}{fit}."


def _list_facts(result: SearchResult) -> Iterator[tuple[str, str, str]]:
    """Yield the headline figures: name, value and a line of explanation."""
    metric, searched = METRICS[result.metric], result.ledger.search
    about = f"{count(searched.clips, 'clip')} trained, {describe_time(searched.seconds)}"
    trained = count(searched.epochs_trained, "epoch")
    if result.left is not None:
        (low, high), seconds = result.left.epochs, result.left.seconds
        shortest, longest = map(describe_time, seconds)
        speed = f"{shortest} to {longest} at the speed so far" if seconds[1] else "nothing trained yet"
        yield "Left", f"{f'{low:,} to ' if low < high else ''}{count(high, 'epoch')}", speed
        yield "Trained so far", trained, about
        return
    yield "Score of the path", _percent(result.score), f"{metric}, {PROTOCOL}, fitted at the knee"
    if test := result.test:
        tops = ", ".join(f"top-{k} {number(getattr(test, f'top{k}'))}" for k in (1, 3, 5) if f"top{k}" != result.metric)
        missing = f", {test.missing} missing" if test.missing else ""
        was_used = result.selection.kind == "eval_list"
        term = "On the list it was selected on" if was_used else "Test, once at the end"
        videos = f"{count(test.videos, 'video')} of {test.list}{missing}"
        yield term, _percent(getattr(test, result.metric)), f"{metric}; {tops}; {PROTOCOL}; {videos}"
    epochs = sum(step.epochs for step in result.path)
    yield "The path trains", count(epochs, "epoch"), f"in {count(len(result.path), 'state')}"
    yield "The search trained", trained, about


def _percent(value: float | None) -> str:
    return f"{number(value)}%" if labels.is_number(value) else NOTHING


def _render_selection(result: SearchResult) -> Element:
    """Return which videos select the path; a warning if they are the evaluation list."""
    text = result.selection.text
    if result.selection.kind == "eval_list":
        return warning("Selected on the evaluation list.", f"{text}.")
    return note(f"{text[0].upper()}{text[1:]}.")


def _render_graph(result: SearchResult) -> Element:
    """Return the graph in two sizes, for a desktop and for a phone; the style sheet shows one of them."""
    anchors = {labels.edge_name(edge): f"edge-{place}" for place, edge in labels.drawn_edges(result)}
    text = (
        "Columns: inputs from short to long; rows: learning rates from high to low. Each state shows the best score of "
        "its incoming transitions, each line the epochs up to the knee; lines link to their curves."
    )
    graphs = []
    for name, sizes in (("wide", WIDE), ("compact", COMPACT)):
        svg = graph_svg(result, sizes, name=f"graph-{name}", anchors=anchors)
        graphs.append(scroll_box(svg, f"Graph, {name}", kind=f"graph {name}"))
    return section("graph", "Graph", note(text), legend(labels.describe_roles(result)), *graphs)


def _render_path(result: SearchResult) -> Element:
    states = {state.state: state for state in result.states}
    rows, place = [], 0
    for edge in labels.walk_path(result):
        state, epochs = states[edge.end], labels.knee_epoch(edge) or 0
        place += epochs > 0
        cells = [
            ("", str(place) if epochs else NOTHING),
            ("th", str(edge.end)),
            *numbers(str(epochs), number(labels.knee_value(edge))),
            ("", describe_input(state.setting) if epochs else "passed through without training"),
            *numbers(
                f"{state.setting.base_learning_rate:g}", f"{state.setting.batch_size} × {state.setting.iter_size}"
            ),
            ("", "frozen" if state.setting.frozen_bn else "trained"),
        ]
        rows.append(table_row(cells, kind="" if epochs else "idle"))
    head = [("", "#"), ("", "state"), *numbers("epochs", "score, %"), ("", "clip"), *numbers("rate", "batch")]
    head.append(("", "batch norm"))
    return section("path", "Path", _describe_path(result), table("path", head, rows))


def _describe_path(result: SearchResult) -> Element:
    """Return where the record and the weights of the path are, or why there is no path."""
    record = result.path_record
    if record is None:
        words = "No transition improved on the weights it started from: there is no path to train."
        return warning(words, "Other learning rates may help.")
    folder = f"{result.config.logging.output_dir.rstrip('/')}/{result.record}"
    command = f"python train_3d.py --config_file {folder}/{record}"
    link, weights = element("a", record, href=quote(record)), element("code", "current.pth")
    text = ("The path as a record: ", link, "; its weights: ", weights, ". Train it again with ")
    return note(*text, element("code", command), ".")


def _render_curves(result: SearchResult) -> Element:
    ranges = labels.chart_ranges(result)
    figures = [
        _render_figure(place, edge, result, ranges[labels.edge_name(edge)])
        for place, edge in labels.drawn_edges(result)
    ]
    waiting = [labels.arrow_name(edge) for _, edge in labels.ordered_edges(result) if not edge.scores]
    more = [note(f"Not started: {', '.join(waiting)}.")] if waiting else []
    text = (
        f"Score in percent ({METRICS[result.metric]}, {PROTOCOL}) after each epoch; epoch 0 is before training. "
        "Line: fitted curve; filled points: up to the knee; hollow points: beyond it. Transitions into the same state "
        "share their axes, as do those from the initial weights."
    )
    charts = [note(text), element("div", *figures, kind="charts")] if figures else []
    return section("curves", "Curves", *charts, *more)


def _render_figure(place: int, edge: EdgeResult, result: SearchResult, ranges: Ranges) -> Element:
    name, role, knee = f"edge-{place}", labels.edge_role(edge, result), labels.knee_epoch(edge)
    state = next(state for state in result.states if state.state == edge.end)
    on_path: list[Element | str] = [element("span", "on the path", kind="badge"), " · "] if role == "path" else []
    last = count(edge.cost.epochs_trained, "epoch")
    found = f"{last} trained" if knee is None else f"knee at epoch {knee} of {edge.cost.epochs_trained}"
    head = element("span", element("span", f"{place}. {labels.arrow_name(edge)}"), _render_verdict(edge), kind="head")
    caption = element(
        "figcaption",
        head,
        element("span", *on_path, f"{'best into its state · ' if role == 'best' else ''}{found}", kind="sub"),
        element("span", f"{describe_input(state.setting)}, rate {state.setting.base_learning_rate:g}", kind="sub"),
    )
    scores = element("details", element("summary", "Scores per epoch"), _render_scores(edge))
    chart = curve_svg(edge, ranges, result=result, name=f"{name}-title")
    return element("figure", caption, chart, scores, id=name, kind=role)


def _render_verdict(edge: EdgeResult) -> Element:
    sign, word = labels.verdict_text(edge)
    kind = edge.verdict if labels.diverged_in(edge) is None else "diverged"
    return element("span", element("span", sign, aria_hidden="true"), f" {word}", kind=f"verdict {kind}")


def _render_scores(edge: EdgeResult) -> Element:
    rows = []
    for epoch, score in enumerate(edge.scores):
        found = number(score) if labels.is_number(score) else "diverged"
        fitted = number(float(edge.fit.curve(epoch))) if edge.fit and labels.is_number(score) else NOTHING
        rows.append(table_row([("th", str(epoch)), *numbers(found, fitted)]))
    head = [("", "epoch"), *numbers("score, %", "fit")]
    return table(f"scores of {labels.arrow_name(edge)}", head, rows)


def _render_edges(result: SearchResult) -> Element:
    columns = ("knee", "score", "start", "epochs", "clips", "scored clips", "time", *_FIT_KEYS)
    head = [("", "#"), ("", "transition"), ("", "verdict"), *numbers(*columns)]
    rows = []
    for place, edge in labels.ordered_edges(result):
        epoch, diverged, fit = labels.knee_epoch(edge), labels.diverged_in(edge), edge.fit
        values = (
            NOTHING if epoch is None else str(epoch),
            number(labels.knee_value(edge)),
            number(edge.scores[0] if edge.scores else None),
            *(f"{number:,}" for number in (edge.cost.epochs_trained, edge.cost.clips, edge.cost.scored_clips)),
            describe_time(edge.cost.seconds),
            *(f"{getattr(fit, key):.3g}" if fit else NOTHING for key in _FIT_KEYS),
        )
        verdict = edge.verdict if diverged is None else f"{edge.verdict}, diverged in epoch {diverged}"
        cells = [("", str(place)), ("th", labels.arrow_name(edge)), ("", verdict), *numbers(*values)]
        rows.append(table_row(cells, kind="path" if edge.on_path else "", name=f"row-{place}"))
    text = (
        "Knee: epochs up to the knee; epochs: all that were trained. Score: fitted at the knee, in percent; start: "
        "measured before training, in percent. Fit: "
    )
    formula = element("span", "f(x) = −a·exp(−b·x) − c·x − d·x² + e", kind="formula")
    return section("edges", "Transitions", note(text, formula, "."), table("transitions", head, rows, kind="dense"))


def _render_ledger(result: SearchResult) -> Element:
    rows = []
    for text, key in (
        ("epochs", "epochs_trained"),
        ("clips trained", "clips"),
        ("frames trained", "frames"),
        ("multiply-adds forward", "multiply_adds"),
        ("clips scored", "scored_clips"),
        ("time", "seconds"),
    ):
        written = describe_time if key == "seconds" else "{:,}".format
        mine, total = getattr(result.ledger.path, key, None), getattr(result.ledger.search, key)
        alone, ratio = NOTHING if mine is None else written(mine), f"{total / mine:.1f} ×" if mine else NOTHING
        rows.append(table_row([("th", text), *numbers(written(total), alone, ratio)]))
    head = [("", ""), *numbers("the search", "the path alone", "ratio")]
    text = "Compute of the search, and of training the path alone."
    return section("ledger", "Compute", note(text), table("compute", head, rows))


def _render_configuration(result: SearchResult) -> Element:
    rules = (
        f"A transition is settled once {count(result.attempt_epochs, 'epoch')} have passed beyond its knee, capped at "
        f"{count(result.max_epochs, 'epoch')}, and hopeless if its knee is at epoch 0: the weights before it are kept."
    )
    text = yaml.safe_dump(result.config.to_dict(), sort_keys=False, allow_unicode=True, width=100)
    values = element("details", element("summary", "All values of the record"), element("pre", text, tabindex=0))
    return section("configuration", "Configuration", note(rules), values)
