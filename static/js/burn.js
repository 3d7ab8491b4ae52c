// What was spent of a budget over time, beside its limit. A chart in a closed <details> is fetched when that is opened.
import uPlot from "../vendor/uplot.js";

const HEIGHT = 210;
const UNITS = { samples: "verdicts", money: "dollars", tokens: "tokens", minutes: "minutes" };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const said = (unit, value) =>
  unit === "money" ? `$${value.toFixed(2)}` : `${value.toLocaleString("en", { maximumFractionDigits: 1 })} ${value === 1 ? UNITS[unit].slice(0, -1) : UNITS[unit]}`;

// A day, or the time of day where it is a matter of hours.
function when(at, data) {
  const short = data.times.at(-1) - data.times[0] < 2 * 86400;
  return new Date(at * 1000).toLocaleString("en-GB", short ? { timeStyle: "short" } : { day: "numeric", month: "short" });
}

function options(box, data, tell) {
  const axis = { stroke: colour("--ink-3"), font: `12px ${getComputedStyle(document.body).fontFamily}`, ticks: { show: false }, grid: { stroke: colour("--line"), width: 1 } };
  const top = Math.max(...data.spent, ...data.limit) * 1.06 || 1;
  return {
    width: box.clientWidth,
    height: HEIGHT,
    padding: [10, 14, 0, 0],
    cursor: { points: { size: 7 }, drag: { x: false, y: false } },
    legend: { show: false },
    scales: { y: { range: [0, top] } },
    axes: [
      { ...axis, grid: { show: false }, size: 34, space: 70, values: (u, splits) => splits.map((at) => when(at, data)) },
      { ...axis, size: 62, values: (u, values) => values.map((value) => (data.unit === "money" ? `$${value}` : uPlot.fmtNum(value))) },
    ],
    series: [
      {},
      { stroke: colour("--gold"), width: 2.2, points: { show: false }, fill: colour("--band") },
      { stroke: colour("--ink-3"), width: 1.5, dash: [5, 5], points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) },
    ],
    hooks: { setCursor: [tell] },
  };
}

async function show(box) {
  if (box.dataset.asked) return;
  box.dataset.asked = "yes";
  let data = null;
  try {
    const response = await fetch(box.dataset.url, { headers: { Accept: "application/json" } });
    data = response.ok ? await response.json() : null;
  } catch {
    // No network: the figures beside it say the same.
  }
  if (!data?.times.length) {
    box.classList.add("bare");
    return;
  }
  const tip = document.createElement("p");
  tip.className = "tip";
  const tell = (u) => {
    const at = u.cursor.idx;
    const then = at == null ? "" : new Date(data.times[at] * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
    tip.textContent = then && `${then}: ${said(data.unit, data.spent[at])} of ${said(data.unit, data.limit[at])}`;
  };
  let plot = null;
  const draw = () => {
    plot?.destroy();
    plot = new uPlot(options(box, data, tell), [data.times, data.spent, data.limit], box);
    box.append(tip);
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(() => box.clientWidth && plot.width !== box.clientWidth && plot.setSize({ width: box.clientWidth, height: HEIGHT })).observe(box);
}

for (const box of document.querySelectorAll(".burn")) {
  const fold = box.closest("details");
  if (!fold || fold.open) show(box);
  else fold.addEventListener("toggle", () => fold.open && show(box));
}
