"""search.html: all a search says, as one file that any browser reads without a network or scripts."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import yaml

from utils.search.page.labels import (
    METRICS,
    NOTHING,
    PROTOCOL,
    Entry,
    Ranges,
    arrow_name,
    broke_down,
    chart_ranges,
    count,
    describe_estimate,
    describe_roles,
    edge_name,
    edge_role,
    fitted_score,
    is_number,
    knee_epoch,
    knee_value,
    number,
    ordered_edges,
    walk_path,
)
from utils.search.page.style import RELOAD_SCRIPT, STYLE
from utils.search.page.svg import curve_svg, graph_svgs, legend, verdict_mark
from utils.search.result import describe_input
from utils.text import describe_time

_RELOAD_SECONDS = 30
# Nothing but what is in the file itself may be loaded, whatever is written in a record.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_FIT_KEYS = ("a", "b", "c", "d", "e", "residual")
_FIT_TEXT = "f(x) = −a·exp(−b·x) − c·x − d·x² + e"


def render_page(result: Mapping[str, Any]) -> str:
    """Return the page of a search that runs or has finished.

    Args:
        result: See `utils.search.result.build_result`.
    """
    sections = [
        _render_head(result),
        _render_graph(result),
        _render_path(result) if result["complete"] else "",
        _render_curves(result),
        _render_edges(result),
        _render_ledger(result),
        _render_configuration(result),
    ]
    state = "" if result["complete"] else "searching: "
    script = "" if result["complete"] else RELOAD_SCRIPT % (_RELOAD_SECONDS, 1000 * _RELOAD_SECONDS)
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">',
            f"<title>{state}{_text(result['record'])}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            *(section for section in sections if section),
            f"</main>\n{f'<script>{script}</script>' if script else ''}\n</body>\n</html>\n",
        ]
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _render_head(result: Entry) -> str:
    decided = sum(edge["knee"] is not None for edge in result["edges"])
    of_all = f"{decided} of {count(len(result['edges']), 'transition')} decided"
    if result["complete"]:
        status = f'<span class="status">Search finished: {of_all}</span>'
        progress = ""
    else:
        status = f'<span class="status running">Searching: {of_all}</span>'
        status += ' <span class="refresh" id="refresh">reload the page to see how far it is</span>'
        progress = _render_progress(result, decided)
    facts = "".join(f'<div class="fact"><dt>{term}</dt>{lines}</div>' for term, lines in _list_facts(result))
    return (
        f'<header><div class="top">{status}</div>\n<h1>{_text(result["record"])}</h1>\n'
        f'<p class="note">{_text(result["network"])}</p>{progress}\n<dl class="facts">{facts}</dl>\n'
        f"{_render_selection(result)}</header>"
    )


def _render_progress(result: Entry, decided: int) -> str:
    """Return the bar and the transition in training."""
    lines = []
    for place, edge in enumerate(result["edges"], start=1):
        if edge["verdict"] == "running":
            fit = f", {describe_estimate(edge, result)}" if edge["fit"] else ""
            trained = f"{edge['epochs_trained']} of at most {count(result['max_epochs'], 'epoch')}"
            lines.append(f"In training: transition {place}, {arrow_name(edge)}, {trained}{fit}.")
    label = f"{decided} of {len(result['edges'])} transitions decided"
    return (
        f'<progress max="{len(result["edges"])}" value="{decided}" aria-label="{label}">{label}</progress>'
        f'<p class="note">{_text(" ".join(lines))}</p>'
    )


def _list_facts(result: Entry) -> Iterable[tuple[str, str]]:
    """Yield the numbers of the headline: what they are of, and their lines."""
    metric = METRICS[result["metric"]]
    if result["complete"]:
        yield "Score of the path", _fact(_percent(result["score"]), f"{metric}, {PROTOCOL}, fitted at the knee")
        test = result["test"]
        if test:
            others = [k for k in (1, 3, 5) if f"top{k}" != result["metric"]]
            tops = ", ".join(f"top-{k} {number(test[f'top{k}'])}" for k in others)
            missing = f", {test['missing']} missing" if test["missing"] else ""
            about = f"{metric}; {tops}; {PROTOCOL}; {count(test['videos'], 'video')} of {test['list']}{missing}"
            was_used = result["selection"]["kind"] == "eval_list"
            term = "On the list it was selected on" if was_used else "Test, once at the end"
            yield term, _fact(_percent(test[result["metric"]]), about)
        steps = count(len(result["path"]), "state")
        yield "The path trains", _fact(count(sum(s["epochs"] for s in result["path"]), "epoch"), f"in {steps}")
    else:
        epochs, seconds = result["left"]["epochs"], result["left"]["seconds"]
        shortest, longest = map(describe_time, seconds)
        about = f"{shortest} to {longest} at the speed so far" if seconds[1] else "nothing is trained yet"
        yield "Left", _fact(_range(*epochs), about)
    searched = result["ledger"]["search"]
    about = f"{count(searched['clips'], 'clip')} trained, {describe_time(searched['seconds'])}"
    yield (
        "The search trained" if result["complete"] else "Trained so far",
        _fact(count(searched["epochs_trained"], "epoch"), about),
    )


def _percent(value: float | None) -> str:
    return f"{number(value)}%" if is_number(value) else NOTHING


def _range(low: int, high: int) -> str:
    return f"{low:,} to {count(high, 'epoch')}" if low < high else count(high, "epoch")


def _fact(big: str, small: str) -> str:
    return f'<dd class="big">{_text(big)}</dd><dd class="small">{_text(small)}</dd>'


def _render_selection(result: Entry) -> str:
    """Return which videos chose the path; a path chosen on the evaluation list says so loudly."""
    text = result["selection"]["text"]
    if result["selection"]["kind"] == "eval_list":
        return (
            f'<div class="warning" role="note"><strong>⚠ Selected on the evaluation list.</strong> {_text(text)}.</div>'
        )
    return f'<p class="note">{_text(text[0].upper() + text[1:])}.</p>'


def _render_graph(result: Entry) -> str:
    anchors = {edge_name(edge): f"edge-{place}" for place, edge in ordered_edges(result) if edge["scores"]}
    return (
        '<section aria-labelledby="graph">\n<h2 id="graph">Graph</h2>\n'
        '<p class="note">Inputs from short to long, learning rates from high to low. A state has the best score that '
        "led into it; a line has the epochs up to its knee, and leads to its curve.</p>\n"
        f"{legend(describe_roles(result))}\n{graph_svgs(result, anchors)}\n</section>"
    )


def _render_path(result: Entry) -> str:
    states = {state["state"]: state for state in result["states"]}
    rows, place = [], 0
    for edge in walk_path(result):
        state, epochs = states[edge["end"]], knee_epoch(edge) or 0
        place += epochs > 0
        cells = [
            ("", str(place) if epochs else NOTHING),
            ("th", edge["end"]),
            ("number", str(epochs)),
            ("number", number(knee_value(edge))),
            ("", describe_input(state) if epochs else "passed through without training"),
            ("number", f"{state['learning_rate']:g}"),
            ("number", f"{state['batch_size']} × {state['iter_size']}"),
            ("", "frozen" if state["frozen_bn"] else "trained"),
        ]
        rows.append(_row(cells, kind="" if epochs else "idle"))
    head = [("", "#"), ("", "state"), ("number", "epochs"), ("number", "score, %"), ("", "clip"), ("number", "rate")]
    head += [("number", "batch"), ("", "batch norm")]
    if not result["path"]:
        words = "No transition improved on the weights it started from: there is no path to train."
        text = f'<div class="warning" role="note"><strong>⚠ {words}</strong> Other learning rates may help.</div>'
    else:
        record = result["path_record"]
        folder = f"{result['config']['logging']['output_dir'].rstrip('/')}/{result['record']}"
        text = (
            f'<p class="note">The path as a record: <a href="{quote(record)}">{_text(record)}</a>; its weights: '
            f"<code>current.pth</code>. Train it anew with <code>python train_3d.py --config_file "
            f"{_text(folder)}/{_text(record)}</code>.</p>"
        )
    table = _table("path", head, rows)
    return f'<section aria-labelledby="path">\n<h2 id="path">Path</h2>\n{text}\n{table}\n</section>'


Cells = Sequence[tuple[str, str]]


def _row(cells: Cells, *, kind: str = "", name: str = "") -> str:
    """Return a row of a table; the cell of kind "th" is its heading. Cells are text."""
    parts = []
    for shape, text in cells:
        tag = '<th scope="row">' if shape == "th" else f'<td class="{shape}">'
        parts.append(f"{tag}{_text(text)}</{'th' if shape == 'th' else 'td'}>")
    attributes = (f' class="{kind}"' if kind else "") + (f' id="{name}"' if name else "")
    return f"<tr{attributes}>{''.join(parts)}</tr>"


def _table(about: str, head: Cells, rows: Sequence[str], *, kind: str = "") -> str:
    """Return a table in a box of its own, which scrolls where the page is narrower."""
    columns = "".join(f'<th scope="col" class="{shape}">{_text(text)}</th>' for shape, text in head)
    return "\n".join(
        [
            f'<div class="scroll {kind}" role="region" tabindex="0" aria-label="Table: {_text(about)}"><table>',
            f"<thead><tr>{columns}</tr></thead>\n<tbody>",
            *rows,
            "</tbody></table></div>",
        ]
    )


def _render_curves(result: Entry) -> str:
    ranges = chart_ranges(result)
    figures = [
        _render_figure(place, edge, result, ranges[edge_name(edge)])
        for place, edge in ordered_edges(result)
        if edge["scores"]
    ]
    waiting = [arrow_name(edge) for _, edge in ordered_edges(result) if not edge["scores"]]
    more = f'<p class="note">Not begun: {_text(", ".join(waiting))}.</p>' if waiting else ""
    if not figures:
        return f'<section aria-labelledby="curves">\n<h2 id="curves">Curves</h2>\n{more}</section>'
    return (
        '<section aria-labelledby="curves">\n<h2 id="curves">Curves</h2>\n'
        f'<p class="note">Score in percent ({METRICS[result["metric"]]}, {PROTOCOL}) after each epoch; epoch 0 is the '
        "start weights. The curve is the fit; filled points lead to the knee, hollow ones were trained beyond it. "
        "Transitions into the same state have the same axes, and so have those from the initial weights.</p>\n"
        f'<div class="charts">\n{chr(10).join(figures)}\n</div>\n{more}</section>'
    )


def _render_figure(place: int, edge: Entry, result: Entry, ranges: Ranges) -> str:
    name, role = f"edge-{place}", edge_role(edge, result)
    state = next(state for state in result["states"] if state["state"] == edge["end"])
    badge = {"path": '<span class="badge">on the path</span> · ', "best": "best way in · "}.get(role, "")
    knee = knee_epoch(edge)
    last = count(edge["epochs_trained"], "epoch")
    found = f"{last} trained" if knee is None else f"knee at epoch {knee} of {edge['epochs_trained']}"
    return (
        f'<figure id="{name}" class="{role}">\n<figcaption><span class="head">'
        f"<span>{place}. {_text(arrow_name(edge))}</span>{verdict_mark(edge)}</span>"
        f'<span class="sub">{badge}{found}</span>'
        f'<span class="sub">{_text(describe_input(state))}, rate {state["learning_rate"]:g}</span>'
        f"</figcaption>\n{curve_svg(edge, ranges, result=result, name=f'{name}-title')}\n"
        f"<details><summary>Scores per epoch</summary>{_render_scores(edge)}</details>\n</figure>"
    )


def _render_scores(edge: Entry) -> str:
    rows = []
    for epoch, score in enumerate(edge["scores"]):
        found = number(score) if is_number(score) else "broke down"
        fitted = number(fitted_score(edge["fit"], epoch)) if edge["fit"] and is_number(score) else NOTHING
        rows.append(_row([("th", str(epoch)), ("number", found), ("number", fitted)]))
    head = [("", "epoch"), ("number", "score, %"), ("number", "fit")]
    return _table(f"scores of {arrow_name(edge)}", head, rows)


def _render_edges(result: Entry) -> str:
    numbers = ("knee", "score", "start", "epochs", "clips", "scored clips", "time", *_FIT_KEYS)
    head = [("", "#"), ("", "transition"), ("", "verdict"), *(("number", text) for text in numbers)]
    rows = []
    for place, edge in ordered_edges(result):
        fit = edge["fit"] or {}
        start = edge["scores"][0] if edge["scores"] else None
        cells = [
            ("", str(place)),
            ("th", arrow_name(edge)),
            ("", _verdict_words(edge)),
            ("number", NOTHING if knee_epoch(edge) is None else str(knee_epoch(edge))),
            ("number", number(knee_value(edge))),
            ("number", number(start)),
            ("number", f"{edge['epochs_trained']:,}"),
            ("number", f"{edge['clips']:,}"),
            ("number", f"{edge['scored_clips']:,}"),
            ("number", describe_time(edge["seconds"])),
            *(("number", f"{fit[key]:.3g}" if key in fit else NOTHING) for key in _FIT_KEYS),
        ]
        rows.append(_row(cells, kind="path" if edge["on_path"] else "", name=f"row-{place}"))
    text = (
        "Knee and epochs: up to the knee and trained; score and start: in percent, fitted at the knee and measured on "
        f'the start weights; fit: <span class="formula">{_FIT_TEXT}</span>.'
    )
    return (
        '<section aria-labelledby="edges">\n<h2 id="edges">Transitions</h2>\n'
        f'<p class="note">{text}</p>\n{_table("transitions", head, rows, kind="dense")}\n</section>'
    )


def _verdict_words(edge: Entry) -> str:
    broken = broke_down(edge)
    return edge["verdict"] if broken is None else f"{edge['verdict']}, broke down in epoch {broken}"


def _render_ledger(result: Entry) -> str:
    searched, path = result["ledger"]["search"], result["ledger"]["path"] or {}
    rows = []
    for text, key, path_key in (
        ("epochs", "epochs_trained", "epochs"),
        ("clips trained", "clips", "clips"),
        ("frames trained", "frames", "frames"),
        ("clips scored", "scored_clips", "scored_clips"),
        ("time", "seconds", "seconds"),
    ):
        written = describe_time if key == "seconds" else "{:,}".format
        mine, total = path.get(path_key), searched[key]
        cells = [("th", text), ("number", written(total)), ("number", NOTHING if mine is None else written(mine))]
        cells.append(("number", f"{total / mine:.1f} ×" if mine else NOTHING))
        rows.append(_row(cells))
    head = [("", ""), ("number", "the search"), ("number", "the path alone"), ("number", "ratio")]
    return (
        '<section aria-labelledby="ledger">\n<h2 id="ledger">Compute</h2>\n'
        '<p class="note">What the search has cost, and what of it training the path alone would.</p>\n'
        f"{_table('compute', head, rows)}\n</section>"
    )


def _render_configuration(result: Entry) -> str:
    rules = (
        f"A transition is settled when {count(result['attempt_epochs'], 'epoch')} have passed beyond its knee, capped "
        f"at {count(result['max_epochs'], 'epoch')}, hopeless when its knee is at 0: the start weights stay."
    )
    text = yaml.safe_dump(result["config"], sort_keys=False, allow_unicode=True, width=100)
    return (
        '<section aria-labelledby="configuration">\n<h2 id="configuration">Configuration</h2>\n'
        f'<p class="note">{_text(rules)}</p>\n<details><summary>All values of the record</summary>'
        f"<pre>{_text(text)}</pre></details>\n</section>"
    )
