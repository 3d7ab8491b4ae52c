// The chart of an experiment: expert and proxy reward over RL steps, with the expert's interval, checks, realignments and roll-backs.
import uPlot from "../vendor/uplot.js";

const box = document.getElementById("chart");
const HEIGHT = 300;
let plot = null;
let data = null;
let shown = "";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const round = (value) => (value == null ? "–" : value.toFixed(1));

function columns() {
  return [data.steps, data.expert, data.expert_low, data.expert_high, data.proxy, data.training, data.check];
}

function bounds() {
  const all = columns().slice(1).flat().filter((value) => value != null);
  const low = Math.min(...all);
  const high = Math.max(...all);
  const room = Math.max((high - low) * 0.14, 3);
  return [Math.max(data.range[0], Math.floor((low - room) / 5) * 5), Math.ceil((high + room) / 5) * 5];
}

// Dashed lines: where the proxy was realigned, with the new version's number, and where RL went back to an earlier step.
function marks(u) {
  const { ctx, bbox } = u;
  const scale = window.devicePixelRatio;
  ctx.save();
  ctx.lineWidth = scale;
  ctx.setLineDash([3 * scale, 4 * scale]);
  ctx.font = `${12 * scale}px ${getComputedStyle(document.body).fontFamily}`;
  const line = (x, label, row, aside) => {
    ctx.beginPath();
    ctx.moveTo(x + aside, bbox.top);
    ctx.lineTo(x + aside, bbox.top + bbox.height);
    ctx.stroke();
    const right = x + 5 * scale + ctx.measureText(label).width > bbox.left + bbox.width;
    ctx.textAlign = right ? "right" : "left";
    ctx.fillText(label, x + (right ? -5 : 5) * scale, bbox.top + (11 + 15 * row) * scale);
  };
  const at = (step) => Math.round(u.valToPos(step, "x", true)) + 0.5;
  ctx.strokeStyle = ctx.fillStyle = colour("--gold");
  for (const { step, label } of data.realigned) line(at(step), label, 0, 0);
  ctx.strokeStyle = ctx.fillStyle = colour("--bad");
  for (const { step, label } of data.backs) line(at(step), label, 1, 2 * scale);
  ctx.restore();
}

function options() {
  const line = colour("--line");
  const axis = { stroke: colour("--ink-3"), font: `12px ${getComputedStyle(document.body).fontFamily}`, ticks: { show: false }, grid: { stroke: line, width: 1 } };
  const bound = { stroke: "transparent", width: 0, points: { show: false }, spanGaps: true };
  const whole = (values) => values.map((value) => (Number.isInteger(value) ? value : ""));
  return {
    width: box.clientWidth,
    height: HEIGHT,
    padding: [12, 12, 0, 0],
    cursor: { points: { size: 7 }, drag: { x: false, y: false } },
    legend: { show: false },
    scales: { x: { time: false, range: () => [0, Math.max(data.last, data.steps.at(-1) ?? 0)] }, y: { range: bounds } },
    axes: [{ ...axis, grid: { show: false }, size: 34, values: (u, values) => whole(values) }, { ...axis, size: 40 }],
    series: [
      {},
      { stroke: colour("--ink"), width: 2.2, spanGaps: true, points: { show: true, size: 7, fill: colour("--ink") } },
      bound,
      bound,
      { stroke: colour("--gold"), width: 2, spanGaps: true, points: { show: true, size: 6, fill: colour("--gold") } },
      { stroke: colour("--ink-3"), width: 1, spanGaps: true, points: { show: false } },
      { stroke: colour("--ink"), paths: () => null, points: { show: true, size: 9, width: 1.5, fill: colour("--surface") } },
    ],
    bands: [{ series: [3, 2], fill: colour("--band") }],
    hooks: { drawAxes: [marks], setCursor: [tell] },
  };
}

// The figures under the pointer, in words.
function tell(u) {
  const tip = box.querySelector(".tip");
  const at = u.cursor.idx;
  if (!tip) return;
  if (at == null) {
    tip.textContent = "";
    return;
  }
  const parts = [`step ${data.steps[at]}`];
  if (data.expert[at] != null) parts.push(`expert ${round(data.expert[at])} (${round(data.expert_low[at])} to ${round(data.expert_high[at])})`);
  if (data.check[at] != null) parts.push(`at the check ${round(data.check[at])}`);
  if (data.proxy[at] != null) parts.push(`proxy ${round(data.proxy[at])}`);
  if (data.training[at] != null) parts.push(`in training ${round(data.training[at])}`);
  tip.textContent = parts.join(" · ");
}

function draw() {
  plot?.destroy();
  box.replaceChildren();
  box.classList.remove("bare");
  plot = new uPlot(options(), columns(), box);
  const tip = document.createElement("p");
  tip.className = "tip";
  box.append(tip);
}

async function load() {
  try {
    const response = await fetch(box.dataset.url, { headers: { Accept: "application/json" } });
    if (!response.ok) return;
    const text = await response.text();
    if (text === shown) return;
    shown = text;
    data = JSON.parse(text);
    if (data.steps.length) draw();
  } catch {
    // No network: the chart stays as it is; the next refresh tries again.
  }
}

if (box) {
  load();
  document.body.addEventListener("htmx:afterRequest", load);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data?.steps.length && draw());
  new ResizeObserver(() => plot && plot.width !== box.clientWidth && plot.setSize({ width: box.clientWidth, height: HEIGHT })).observe(box);
}
