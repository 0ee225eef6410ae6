"""The HTML page of a budgeted search: results, the plan and the reasons for it. No torch."""

import math
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element

from utils.figures.chart import Points, curves_chart
from utils.figures.markup import element, facts, note, numbers, render_document, section, table, table_row
from utils.search.budgeted_events import PeakScore, PilotReadout
from utils.search.budgeted_report import BudgetedReport, CheckComparison
from utils.search.page.labels import PROTOCOL
from utils.search.page.status import reload_script, render_status
from utils.search.result import describe_input
from utils.text import count

_POINTS = "points of 100·exp(−loss/2)"  # unit of gains: `utils.planning.budget.worth`


def render_budgeted_page(report: BudgetedReport) -> str:
    """Return the HTML page of a running or finished budgeted search."""
    sections = [_render_head(report), _render_peaks(report), _render_readouts(report)]
    sections += [_render_checks(report)] if report.checks else []
    sections += [_render_splits(report)] if report.is_planned else []
    if report.marginal:
        sections += [_render_marginal(report), _render_pareto(report)]
    title, script = f"Plan of {report.record}", reload_script(is_complete=report.complete)
    return render_document(title, *sections, _render_spent(report), script=script)


def _names(report: BudgetedReport) -> list[str]:
    return [describe_input(setting) for setting in report.config.search.inputs]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}%"


def _outcome(run: PeakScore | PilotReadout | CheckComparison) -> tuple[str, str]:
    """Return the held-out loss and top-1 of a run as text."""
    return (f"{run.loss:.4f} ± {run.sd:.4f}", f"{run.top1:.1f}") if math.isfinite(run.loss) else ("diverged", "")


def describe_plan(report: BudgetedReport) -> str:
    """Return the plan in a sentence."""
    if not report.is_planned:
        return "There is no plan until the pilots have ended; the path known so far is all at the goal's input."
    if report.plan.split[-1] == 1:
        return "The plan spends all compute at the goal's input: no shorter input promises a gain."
    parts = zip(report.plan.split, _names(report), strict=True)
    (fraction, name), *later = [part for part in parts if part[0]]
    rest = "".join(f", then {_percent(fraction)} at {name}" for fraction, name in later)
    return f"The plan spends {_percent(fraction)} of the path's compute at {name}{rest}."


def _describe_status(report: BudgetedReport) -> str:
    if report.complete:
        return "Search finished: the path is trained"
    if report.is_planned:
        return "Searching: the plan is made, its path is in training"
    if report.checks:
        return "Searching: splits are compared"
    return f"Searching: {'peak rates and ' if report.config.search.peaks else ''}pilots"


def _render_head(report: BudgetedReport) -> Element:
    return element(
        "header",
        render_status(_describe_status(report), is_complete=report.complete),
        element("h1", f"Plan of {report.record}"),
        note(describe_plan(report)),
        facts(_list_facts(report)),
    )


def _list_facts(report: BudgetedReport) -> Iterator[tuple[str, str, str]]:
    """Yield the headline figures: name, value and a line of explanation."""
    spent, plan, factor = report.spent, report.plan, report.plan.factors[-1]
    rate = f"{report.config.search.inputs[-1].base_learning_rate * factor:.3g}"
    yield "Peak rate at the goal", rate, "the record's" if factor == 1 else f"{factor:g} times the record's"
    if report.is_planned:
        yield "Expected gain", f"{plan.gain:.1f} points", f"± {plan.spread:.1f}, over all at the goal; {_POINTS}"
    planning = (spent.peaks + spent.readouts + spent.lost + spent.branches + spent.checks) / report.budget
    whole = "on top of the budget" if report.config.search.policy == "studied" else "of the budget"
    yield "Planning", _percent(planning), f"{whole}, readouts included"
    if test := report.test:
        missing = f", {test.missing} missing" if test.missing else ""
        videos = f"{count(test.videos, 'video')} of {test.list}{missing}"
        yield "Test, top-1", f"{test.top1:.1f}%", f"once at the end, {PROTOCOL}; {videos}"


def _render_peaks(report: BudgetedReport) -> Element:
    rows, curves = [], {}
    for number, name in enumerate(_names(report)):
        tried = sorted((peak for peak in report.peaks if peak.input == number), key=lambda peak: peak.factor)
        curves[name] = [(math.log2(peak.factor), peak.loss) for peak in tried if math.isfinite(peak.loss)]
        base = report.config.search.inputs[number].base_learning_rate
        for peak in tried:
            rate, factor = f"{base * peak.factor:.3g}", f"{peak.factor:.3g}"
            rows.append(table_row([("th", name), *numbers(rate, factor, *_outcome(peak), f"{peak.steps:,}")]))
    if not rows:
        waits = report.config.search.peaks and not (report.readouts or report.is_planned)
        text = "No rate has been tried yet." if waits else "No rates were tried: the record's are used."
        return section("peaks", "Peak rate", note(text))
    text = "Short runs at rising rates, each annealed to zero, until the held-out loss rises."
    head = [("", "input"), *numbers("rate", "factor", "held-out loss", "top-1, %", "steps")]
    axes = {"x_name": "factor of the record's rate", "y_name": "held-out loss", "x_text": lambda x: f"{2**x:.4g}"}
    shown = _beside(curves, table("peaks", head, rows), whole=True, **axes)
    return section("peaks", "Peak rate", note(text), shown)


def _render_readouts(report: BudgetedReport) -> Element:
    inputs = (-1, *range(len(_names(report)) - 1))  # input of each pilot; the first pilot is at the goal
    names = [_names(report)[number] for number in inputs]
    rows = [
        table_row([("th", names[r.pilot]), *numbers(f"{100 * r.at:.2f}", f"{r.branch:,}", *_outcome(r))])
        for r in report.readouts
    ]
    text = (
        "A pilot is the beginning of a path. At each readout a copy of it, a branch, is trained on at the goal's input "
        "while its rate falls to zero, and scored there; nothing goes on from a branch."
    )
    if not rows:
        return section("pilots", "Pilots", note(text, f" {'None was run.' if report.is_planned else 'None yet.'}"))
    curves = {
        name: [(100 * r.at, r.loss) for r in report.readouts if r.pilot == pilot and math.isfinite(r.loss)]
        for pilot, name in enumerate(names)
    }
    head = [("", "pilot at"), *numbers("% of the path", "steps of the branch", "held-out loss", "top-1, %")]
    axes = {"x_name": "start of the branch, % of the path", "y_name": "held-out loss of the branch"}
    return section("pilots", "Pilots", note(text), _beside(curves, table("readouts", head, rows), **axes))


def _beside(curves: Mapping[str, Points], values: Element, **axes: Any) -> Element:
    """Return a table beside a chart of it, or the table alone for fewer than two points."""
    drawn = {name: points for name, points in curves.items() if points}
    if sum(map(len, drawn.values())) < 2:
        return values
    return element("div", curves_chart(drawn, **axes), values, kind="beside")


def _render_checks(report: BudgetedReport) -> Element:
    rows = []
    for each in report.checks:
        less = f"{each.less:+.4f} ± {each.less_sd:.4f}" if math.isfinite(each.less) else ""
        rows.append(table_row(numbers(f"{each.share:g}", *map(_percent, each.split), *_outcome(each), less)))
    text = (
        "Splits trained to their end on a fraction of the budget, compared video by video with all compute at the "
        "goal. From a quarter of the budget on, a split is dropped where its loss is higher by more than twice the "
        "standard deviation of the difference; otherwise the fitted law decides, which these runs are part of."
    )
    head = numbers("fraction of the budget", *_names(report), "held-out loss", "top-1, %", "loss less all at the goal")
    return section("check", "Check", note(text), table("check", head, rows))


def _render_splits(report: BudgetedReport) -> Element:
    rows = [
        table_row(
            numbers(*map(_percent, each.split), f"{each.gain:.2f} ± {each.spread:.2f}"),
            kind="path" if each.split == report.plan.split else "",
        )
        for each in report.splits
    ]
    head = numbers(*_names(report), "expected gain, points")
    text = (
        "The best splits of the path's compute over the inputs, with what they are expected to gain over all compute "
        f"at the goal, in {_POINTS}; the plan is marked."
    )
    return section("plan", "Splits", note(text), table("splits", head, rows))


def _render_marginal(report: BudgetedReport) -> Element:
    points = len(report.marginal)
    curves = {
        name: [(100 * (k + 0.5) / points, row[number]) for k, row in enumerate(report.marginal)]
        for number, name in enumerate(_names(report))
    }
    text = (
        "What more compute on an input would gain, at each place of the path. Where the goal's curve rises above that "
        "of a shorter input, the path leaves that input: the knee of a budgeted path."
    )
    chart = curves_chart(curves, x_name="% of the path", y_name="points per budget")
    return section("marginal", "Marginal worth", note(text), element("div", chart, kind="beside"))


def _render_pareto(report: BudgetedReport) -> Element:
    rows = [
        table_row([("th", f"{factor:g} ×"), *numbers(*map(_percent, split), f"{loss:.3f}")])
        for factor, split, loss in report.pareto
    ]
    head = [("", "budget"), *numbers(*_names(report), "expected held-out loss")]
    text = "The best split of other budgets by the same law, as multiples of the path's."
    return section("pareto", "Other budgets", note(text), table("other budgets", head, rows))


def _render_spent(report: BudgetedReport) -> Element:
    parts: tuple[tuple[str, float], ...] = (
        ("peaks", report.spent.peaks),
        ("readouts", report.spent.readouts),
        ("pilots that are lost", report.spent.lost),
        ("branches", report.spent.branches),
        ("check", report.spent.checks),
        ("path" if report.is_planned else "path, as far as it is known", report.spent.path),
    )
    if report.spent.earlier:
        parts += (("paths of smaller budgets, on top of it", report.spent.earlier),)
    rows = [table_row([("th", name), *numbers(_percent(value / report.budget))]) for name, value in parts]
    unit = "seconds of training steps" if report.config.search.budget.hours else "frames × pixels of training clips"
    text = f"Compute is counted in {unit}; a clip that is only scored counts a third."
    head = [("", "what"), *numbers("% of the budget")]
    return section("spent", "Budget", note(text), table("budget", head, rows))
