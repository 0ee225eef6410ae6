"""The HTML page of a budgeted search: results, the plan and the reasons for it. No torch."""

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from utils.figures.markup import element, facts, numbers, render_document, section, table, table_row
from utils.figures.svg import line_data
from utils.search.budgeted_events import PeakScore, PilotReadout
from utils.search.budgeted_report import BudgetedReport, CheckComparison
from utils.search.result import describe_input

_WIDTH, _HEIGHT, _MARGIN = 640, 220, 40
_COLORS = ("blue", "orange", "green", "purple")

Points = Sequence[tuple[float, float]]


def render_budgeted_page(report: BudgetedReport) -> str:
    """Return the whole page."""
    sections = [_render_head(report), _render_peaks(report), _render_readouts(report)]
    sections += [_render_checks(report)] if report.checks else []
    sections += [_render_splits(report)]
    if report.marginal:
        sections += [_render_marginal(report), _render_pareto(report)]
    return render_document(f"Plan of {report.record}", *sections, _render_spent(report))


def _names(report: BudgetedReport) -> list[str]:
    return [describe_input(setting) for setting in report.config.search.inputs]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}%"


def _outcome(run: PeakScore | PilotReadout | CheckComparison) -> tuple[str, str]:
    """Return the held-out loss and top-1 of a run as text."""
    return (f"{run.loss:.4f} ± {run.sd:.4f}", f"{run.top1:.1f}") if math.isfinite(run.loss) else ("diverged", "")


def describe_plan(report: BudgetedReport) -> str:
    """Return the plan in a sentence."""
    if report.plan.split[-1] == 1:
        if not report.is_planned:
            return "Until the pilots have ended, the best known path is all at the goal."
        return "The plan is all at the goal: no shorter input has a positive expected gain."
    parts = zip(report.plan.split, _names(report), strict=True)
    said = ", then ".join(f"{_percent(fraction)} of the compute at {name}" for fraction, name in parts if fraction)
    return f"The plan is {said}: its expected gain is {report.plan.gain:.1f} ± {report.plan.spread:.1f} points."


def _render_head(report: BudgetedReport) -> Element:
    spent = report.spent
    planning = (spent.peaks + spent.readouts + spent.lost + spent.branches + spent.checks) / report.budget
    goal = report.config.search.inputs[-1]
    rate = f"{goal.base_learning_rate * report.plan.factors[-1]:.3g}"
    entries = [
        ("rate at the goal", rate, f"{report.plan.factors[-1]:g} times the record's"),
        ("expected gain", f"{report.plan.gain:.1f}", f"± {report.plan.spread:.1f} points over all at the goal"),
        ("planning", _percent(planning), "of the budget, readouts included"),
    ]
    if report.test:
        entries.append(("top-1", f"{report.test.top1:.1f}%", f"{report.test.videos} test videos, 1 clip"))
    return element(
        "header", element("h1", f"Plan of {report.record}"), element("p", describe_plan(report)), facts(entries)
    )


def _render_peaks(report: BudgetedReport) -> Element:
    names, rows, curves = _names(report), [], []
    for number, name in enumerate(names):
        tried = sorted((peak for peak in report.peaks if peak.input == number), key=lambda peak: peak.factor)
        points = [(math.log2(peak.factor), peak.loss) for peak in tried if math.isfinite(peak.loss)]
        curves.append(points)
        base = report.config.search.inputs[number].base_learning_rate
        for peak in tried:
            rate, factor = f"{base * peak.factor:.3g}", f"{peak.factor:.3g}"
            rows.append(table_row([("th", name), *numbers(rate, factor, *_outcome(peak), str(peak.steps))]))
    text = (
        "Short runs, each annealed to zero, from low to high until the held-out loss rises."
        if rows
        else "No rate was tried: those of the record are used."
    )
    head = [("", "input"), *numbers("rate", "factor", "held-out loss", "top-1, %", "steps")]
    chart = _chart(curves, names, "held-out loss over log2(factor)")
    return section("peaks", "Peak rate", element("p", text), *chart, table("peaks", head, rows))


def _render_readouts(report: BudgetedReport) -> Element:
    inputs = (-1, *range(len(_names(report)) - 1))  # index of the input, by pilot
    names = [f"pilot at {_names(report)[number]}" for number in inputs]
    rows = [
        table_row([("th", names[r.pilot]), *numbers(f"{100 * r.at:.2f}", str(r.branch), *_outcome(r))])
        for r in report.readouts
    ]
    curves = [[(100 * r.at, r.loss) for r in report.readouts if r.pilot == pilot] for pilot in range(len(names))]
    text = (
        "Pilots are beginnings of the path. A branch reads a pilot: a copy was trained further at the goal while its "
        "rate fell to zero, and scored there."
    )
    head = [("", "pilot"), *numbers("% of the path", "steps of the branch", "held-out loss", "top-1, %")]
    chart = _chart(curves, names, "held-out loss of a branch over % of the path where it begins")
    return section("pilots", "Pilots", element("p", text), *chart, table("readouts", head, rows))


def _render_checks(report: BudgetedReport) -> Element:
    rows = []
    for each in report.checks:
        less = f"{each.less:+.4f} ± {each.less_sd:.4f}" if math.isfinite(each.less) else ""
        rows.append(table_row(numbers(f"{each.share:g}", *map(_percent, each.split), *_outcome(each), less)))
    text = (
        "Splits trained to their end on a fraction of the budget. Differences are paired by video. From a quarter of "
        "the budget on, one of more than twice its standard deviation drops a split; else the law decides, with these "
        "runs as readouts."
    )
    head = numbers("of the budget", *_names(report), "held-out loss", "top-1, %", "less all at the goal")
    return section("check", "Check", element("p", text), table("check", head, rows))


def _render_splits(report: BudgetedReport) -> Element:
    rows = [
        table_row(
            numbers(*map(_percent, each.split), f"{each.gain:.2f} ± {each.spread:.2f}"),
            kind="path" if each.split == report.plan.split else "",
        )
        for each in report.splits
    ]
    head = numbers(*_names(report), "expected gain, points")
    return section("plan", "Splits", element("p", describe_plan(report)), table("splits", head, rows))


def _render_marginal(report: BudgetedReport) -> Element:
    count = len(report.marginal)
    curves = [
        [((k + 0.5) / count, row[number]) for k, row in enumerate(report.marginal)]
        for number in range(len(report.config.search.inputs))
    ]
    text = (
        "The gain from more compute on an input, in points per budget, at each fraction of the path. The path leaves a "
        "shorter input where the goal's curve crosses it: the knee of a budgeted path."
    )
    chart = _chart(curves, _names(report), "points per budget over the fraction of the path")
    return section("marginal", "Marginal worth", element("p", text), *chart)


def _render_pareto(report: BudgetedReport) -> Element:
    rows = [
        table_row([("th", f"{factor:g} x"), *numbers(*map(_percent, split), f"{loss:.3f}")])
        for factor, split, loss in report.pareto
    ]
    head = [("", "budget"), *numbers(*_names(report), "expected loss")]
    text = "The best split of other budgets by the same law; the fraction at the goal grows with the budget."
    return section("pareto", "Other budgets", element("p", text), table("other budgets", head, rows))


def _render_spent(report: BudgetedReport) -> Element:
    parts: tuple[tuple[str, float], ...] = (
        ("peaks", report.spent.peaks),
        ("readouts", report.spent.readouts),
        ("pilots that are lost", report.spent.lost),
        ("branches", report.spent.branches),
        ("the check", report.spent.checks),
        ("the path", report.spent.path),
    )
    if report.spent.earlier:
        parts += (("paths of smaller budgets, on top of it", report.spent.earlier),)
    rows = [table_row([("th", name), *numbers(_percent(value / report.budget))]) for name, value in parts]
    unit = "seconds of training steps" if report.config.search.budget.hours else "frames x pixels of training clips"
    text = f"Compute is {unit}; a clip that is only scored counts a third."
    head = [("", ""), *numbers("of the budget")]
    return section("spent", "Budget", element("p", text), table("budget", head, rows))


def _chart(curves: Sequence[Points], names: Sequence[str], about: str) -> list[Element]:
    """Return a chart of curves, each labeled at its end; nothing for fewer than two points."""
    points = [point for curve in curves for point in curve]
    if len(points) < 2:
        return []
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = (point[0] - left) / (right - left or 1)
        y = (point[1] - low) / (high - low or 1)
        return _MARGIN + x * (_WIDTH - 5 * _MARGIN), _HEIGHT - _MARGIN - y * (_HEIGHT - 2 * _MARGIN)

    drawn: list[Element] = [element("text", about, x=_MARGIN, y=16, fill="var(--muted)")]
    for number, (curve, name) in enumerate(zip(curves, names, strict=True)):
        if not curve:
            continue
        color, placed = f"var(--{_COLORS[number % len(_COLORS)]})", [place(point) for point in curve]
        drawn.append(element("path", d=line_data(placed), fill="none", stroke=color, stroke_width=2))
        x, y = placed[-1]
        drawn.append(element("text", name, x=x + 8, y=y + 12.0 * number, fill=color))
    for value, y in ((high, float(_MARGIN)), (low, float(_HEIGHT - _MARGIN))):
        drawn.append(element("text", f"{value:.3g}", x=2, y=y, fill="var(--muted)"))
    for value, x in ((left, float(_MARGIN)), (right, float(_WIDTH - 4 * _MARGIN))):
        drawn.append(element("text", f"{value:.3g}", x=x, y=_HEIGHT - 10, fill="var(--muted)"))
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    return [element("svg", *drawn, viewBox=box, width=_WIDTH, font_size=12, role="img", aria_label=about)]
