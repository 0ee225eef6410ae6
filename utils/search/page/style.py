"""The style sheet of a search's page: light and dark, desk and phone."""

STYLE = """
:root {
  color-scheme: light dark;
  --back: #ffffff; --ink: #1f2933; --muted: #55606b; --line: #d5dbe1; --panel: #f5f7f9;
  --shade: #00000030; --path: #1d5fa8; --tint: #e5eff9; --best: #39444f; --lost: #87929d;
  --good: #146c43; --warn: #8f4a08; --warn-back: #fdf3e4; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14181d; --ink: #e7ebef; --muted: #a9b4bf; --line: #3a444e; --panel: #1c2229;
    --shade: #000000a0; --path: #74b6f7; --tint: #1b2e42; --best: #cbd3da; --lost: #7f8b96;
    --good: #66d3a0; --warn: #f4b06f; --warn-back: #33261a; --bad: #ff8d84;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 1.65rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 44px 0 6px; }
p { margin: 0 0 10px; max-width: 92ch; }
.note, figcaption .sub { color: var(--muted); font-size: .9rem; }
a { color: var(--path); }
:focus-visible { outline: 2px solid var(--path); outline-offset: 2px; }
code { font: .88em ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.formula { white-space: nowrap; }
.number, td.number, th.number { font-variant-numeric: tabular-nums; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 12px; margin: 18px 0 14px; }
.fact { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px; min-width: 0; }
.fact dt { color: var(--muted); font-size: .85rem; }
.fact dd { margin: 0; }
.fact dd.big { font-size: 1.7rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }
.fact dd.small { color: var(--muted); font-size: .85rem; line-height: 1.4; overflow-wrap: anywhere; }
.status { display: inline-block; font-size: .85rem; border: 1px solid var(--line); border-radius: 99px;
  padding: 1px 12px; background: var(--panel); }
.top { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: center; margin-bottom: 8px; }
.status.running { border-color: var(--path); color: var(--path); }
.warning { background: var(--warn-back); border-left: 4px solid var(--warn); border-radius: 4px; padding: 10px 14px;
  margin: 14px 0; overflow-wrap: anywhere; }
.warning strong { color: var(--warn); }
progress { width: 100%; height: 12px; accent-color: var(--path); }
.refresh { font-size: .85rem; color: var(--muted); }
.refresh input { margin: 0 4px 0 0; vertical-align: -2px; }

/* A shadow at a side says that there is more to scroll to. */
.scroll { border: 1px solid var(--line); border-radius: 8px; margin: 12px 0; }
.scroll, .graph { overflow-x: auto;
  background: linear-gradient(to right, var(--back) 30%, transparent) left / 36px 100% no-repeat local,
    linear-gradient(to left, var(--back) 30%, transparent) right / 36px 100% no-repeat local,
    linear-gradient(to right, var(--shade), transparent) left / 14px 100% no-repeat scroll,
    linear-gradient(to left, var(--shade), transparent) right / 14px 100% no-repeat scroll; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: 7px 12px; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--muted); font-weight: 500; font-size: .82rem; vertical-align: bottom; }
.dense table { font-size: .86rem; }
.dense th, .dense td { padding: 6px 8px; }
td.number, th.number { text-align: right; }
tbody th { font-weight: 600; }
tr.idle > * { color: var(--muted); font-weight: 400; }
tr.path > :first-child { box-shadow: inset 4px 0 0 var(--path); }

.graph { margin: 14px 0 4px; }
.graph svg { display: block; height: auto; }
.graph.compact { display: none; }
svg text { fill: var(--ink); }
.node rect { fill: var(--back); stroke: var(--lost); stroke-width: 1.2; }
.node.path rect { fill: var(--tint); stroke: var(--path); stroke-width: 3; }
.node .name, .node .score { font-weight: 650; }
.node .line { fill: var(--muted); }
.node.path .line { fill: var(--ink); }
.node .tag { font-weight: 650; fill: var(--path); }
.edge .line { fill: none; stroke: var(--lost); stroke-width: 1.3; }
.edge .reach { fill: none; stroke: transparent; stroke-width: 14; pointer-events: stroke; }
.edge polygon { fill: var(--lost); }
.edge.best .line { stroke: var(--best); stroke-width: 2; }
.edge.best polygon { fill: var(--best); }
.edge.waiting .line { stroke-dasharray: 2 4; }
.edge.path .line, .edge.running .line { stroke: var(--path); stroke-width: 4; }
.edge.running .line { stroke-dasharray: 9 5; stroke-width: 2.6; }
.edge.path polygon, .edge.running polygon { fill: var(--path); }
a:hover .edge .line, a:focus-visible .edge .line { stroke: var(--warn); stroke-dasharray: none; }
.label { pointer-events: none; }
.label rect { fill: var(--back); }
.label text { fill: var(--muted); font-size: 12px; }
.label.path text, .label.best text, .label.running text { fill: var(--ink); }
.label.path text { font-weight: 650; fill: var(--path); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 22px; list-style: none; margin: 8px 0 0; padding: 0;
  font-size: .85rem; color: var(--muted); }
.legend svg { vertical-align: middle; }

.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 16px;
  margin: 14px 0; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; padding: 12px 12px 8px; min-width: 0;
  scroll-margin-top: 12px; }
figure.path { border: 2px solid var(--path); padding: 11px 11px 7px; }
figure:target { outline: 3px solid var(--warn); outline-offset: 2px; }
figcaption { line-height: 1.35; margin-bottom: 6px; }
figcaption .sub { display: block; }
figcaption .head { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 12px; font-weight: 650; }
.badge { color: var(--path); font-weight: 650; }
.verdict { white-space: nowrap; font-weight: 500; }
.verdict.settled { color: var(--good); }
.verdict.capped { color: var(--warn); }
.verdict.hopeless, .verdict.waiting { color: var(--muted); }
.verdict.running { color: var(--path); }
.verdict.broken, .broken { color: var(--bad); }
.chart { display: block; width: 100%; height: auto; }
.grid { stroke: var(--line); fill: none; }
.axis, .mark { stroke: var(--muted); fill: none; }
.chart .tick { fill: var(--muted); font-size: 11px; }
.fit { fill: none; stroke: var(--path); stroke-width: 2; }
circle.kept { fill: var(--ink); }
circle.beyond { fill: var(--back); stroke: var(--ink); stroke-width: 1.2; }
path.knee { stroke: var(--warn); stroke-width: 1.3; stroke-dasharray: 4 3; }
text.knee { fill: var(--warn); font-weight: 650; }
path.diamond { fill: var(--warn); stroke: var(--back); stroke-width: 1; }
path.broken { stroke: var(--bad); stroke-width: 2.4; fill: none; }
path.lastline { stroke: var(--bad); stroke-width: 1.2; stroke-dasharray: 1 3; fill: none; }
details { margin: 4px 0; }
summary { cursor: pointer; color: var(--path); font-size: .88rem; padding: 4px 0; }
details table { font-size: .85rem; }
details th, details td { padding: 3px 12px; }
pre { overflow-x: auto; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px;
  font: .82rem/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }

@media (max-width: 760px) {
  main { padding: 18px 16px 48px; }
  .graph.wide { display: none; }
  .graph.compact { display: block; }
  h1 { font-size: 1.3rem; }
  th, td { padding: 7px 9px; }
  .facts { grid-template-columns: 1fr 1fr; gap: 8px; }
  .fact { padding: 10px 12px; }
  .fact dd.big { font-size: 1.4rem; }
}
@media print {
  .graph.compact { display: none; }
  figure { break-inside: avoid; }
}
"""

# While a search runs the page looks for news by itself, as long as the reader wants it to and has nothing folded out.
RELOAD_SCRIPT = """
const place = document.getElementById("refresh");
const box = document.createElement("input");
box.type = "checkbox";
box.checked = true;
const label = document.createElement("label");
label.append(box, " reload every %d seconds");
place.replaceChildren(label);
setInterval(() => {
  if (box.checked && !document.hidden && !document.querySelector("details[open]")) location.reload();
}, %d);
"""
