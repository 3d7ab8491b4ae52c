"""A suite's figures, drawn from its report: the same report gives the same file, byte for byte.

Figures and appendices named here are those of the paper (Ye & Benton 2026).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import shorten
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = dict[str, Any]
KINDS = {"svg": "image/svg+xml", "png": "image/png"}
# After Okabe and Ito: told apart by those who are colour-blind too, and all by 3:1 from the ground. The first is the ceiling's.
LIGHT = ["#1e2227", "#0072B2", "#C24E00", "#007F5C", "#A8497F", "#8a6a00", "#3a7ca5"]
DARK = ["#e8e6e1", "#6bb6ff", "#ff9a5c", "#4fcfa5", "#e39bc4", "#E3B341", "#9ad0f5"]
MARKERS = "osD^vPX"
ROW_HEIGHT, COLUMNS = 2.1, 3
_lock = threading.Lock()  # matplotlib's settings are the process's own


@dataclass(frozen=True, slots=True)
class Look:
    """Colours of a figure on a light or a dark ground."""

    ground: str
    ink: str
    quiet: str
    line: str
    proxy: str
    arms: list[str]


LOOKS = {
    False: Look("#ffffff", "#1e2227", "#5c636b", "#e4e0d8", "#8a5f0e", LIGHT),
    True: Look("#1d2024", "#e8e6e1", "#a7adb6", "#2f343a", "#e0b25a", DARK),
}


def draw(name: str, results: Report, kind: str = "svg", *, dark: bool = False) -> bytes:
    """The figure `name` of `FIGURES` as "svg" or "png"."""
    import matplotlib
    from matplotlib.figure import Figure

    look, figure_of = LOOKS[dark], FIGURES[name]
    settings = {
        "svg.hashsalt": name,
        "font.size": 9,
        "text.color": look.ink,
        "axes.edgecolor": look.quiet,
        "axes.labelcolor": look.quiet,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": look.quiet,
        "ytick.color": look.quiet,
        "axes.facecolor": look.ground,
    }
    metadata = {"Date": None, "Title": figure_of.title} if kind == "svg" else {"Software": None}
    with _lock, matplotlib.rc_context(settings):
        figure = Figure(figsize=(7.2, figure_of.height(results)), dpi=160, facecolor=look.ground, layout="constrained")
        figure_of.paint(figure, results, look)
        out = BytesIO()
        figure.savefig(out, format=kind, metadata=metadata)
    return out.getvalue()


def measured(results: Report) -> list[Report]:
    """The arms that have a run to show."""
    return [arm for arm in results["arms"] if arm["measured"]]


def aligned(results: Report) -> list[Report]:
    """Those of them whose proxy was measured against the expert."""
    return [arm for arm in measured(results) if any(at["alignment"] for at in arm["curve"])]


def pgr_against_samples(figure: Figure, results: Report, look: Look) -> None:
    """Figures 1 and 2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes = figure.add_subplot(xscale="log", xlabel="expert samples of a run (taught, checked, rewarded)", ylabel="performance gap recovered")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    points = []
    for arm, colour, marker in _styled(results, look):
        singles = [(p["samples"], p["pgr"]) for p in arm["points"] if p["samples"] and p["pgr"] is not None]
        axes.plot(*_columns(singles), marker, color=colour, markersize=3, alpha=0.35, linestyle="")
        if arm["name"] == results["ceiling"] and arm["samples"]["total"]:
            estimate: Report | None = fixed(1.0)
        else:
            estimate = arm["pgr"]
        if arm["samples"]["total"] and estimate and estimate["value"] is not None:
            _bar(axes, arm["samples"]["total"], estimate, colour, marker)
            points.append(Named(arm["title"], colour, fixed(arm["samples"]["total"]), estimate))
    _percent(axes)
    axes.margins(x=0.15, y=0.12)
    _label(figure, axes, points, look)


def reward_over_steps(figure: Figure, results: Report, look: Look) -> None:
    """Expert and proxy reward at each look, with the realignments."""
    top = next((arm for arm in measured(results) if arm["name"] == results["ceiling"]), None)
    for first, axes, arm in _panels(figure, measured(results), "reward on the eval split"):
        curve = arm["curve"]
        _line(axes, [(at["step"], at["expert"]) for at in curve], look.ink, "o-")
        _line(axes, [(at["step"], at["proxy"]) for at in curve if at["proxy"]], look.proxy, "s--")
        if top is not None and top is not arm:
            axes.axhline(top["curve"][-1]["expert"]["value"], color=look.quiet, linewidth=0.8, linestyle=":")
        for at in curve:
            if at["realigned"]:
                axes.axvline(at["step"], color=look.proxy, linewidth=0.7, alpha=0.6)
        if first:
            _key(figure, [("expert, 95%", look.ink, "o-"), ("proxy", look.proxy, "s--"), ("realigned", look.proxy, "-")], look, "ceiling at its end")


def alignment_over_steps(figure: Figure, results: Report, look: Look) -> None:
    """Alignment of the proxy that came to each look, and of the realigned one that left it."""
    for first, axes, arm in _panels(figure, aligned(results), "alignment"):
        came = [(at["step"], at["alignment"]) for at in arm["curve"] if at["alignment"]]
        left = [(at["step"], at["alignment_after"]) for at in arm["curve"] if at["alignment_after"]]
        path = [
            (at["step"], part["value"])
            for at in arm["curve"]
            for part in (at["alignment"], at["alignment_after"])
            if part is not None and part["value"] is not None
        ]
        axes.plot(*_columns(path), "-", color=look.quiet, linewidth=0.9)
        axes.axhline(0, color=look.line, linewidth=0.8)
        _line(axes, came, look.ink, "o")
        _line(axes, left, look.proxy, "s")
        if first:
            _key(figure, [("as it came, 95%", look.ink, "o"), ("realigned", look.proxy, "s")], look)


def predicted_against_actual(figure: Figure, results: Report, look: Look) -> None:
    """Appendix B.3: what the proxy promised from one look to the next, and what came of it."""
    axes = figure.add_subplot(xlabel="predicted gain (expert points, to first order)", ylabel="actual change in expert reward until the next look")
    axes.axhline(0, color=look.quiet, linewidth=0.8)
    axes.axvline(0, color=look.quiet, linewidth=0.8)
    points = []
    for arm, colour, marker in _styled(results, look):
        gains = [(gain["predicted"], gain["actual"]) for gain in arm["gains"]]
        if gains:
            axes.plot(*_columns(gains), marker, color=colour, markersize=4.5, alpha=0.55, linestyle="")
            x, y = (sum(column) / len(gains) for column in _columns(gains))
            axes.plot([x], [y], marker, color=colour, markersize=9, markeredgecolor=look.ground)
            points.append(Named(arm["title"], colour, fixed(x), fixed(y)))
    axes.margins(x=0.15, y=0.1)
    _label(figure, axes, points, look)


def pgr_against_alignment(figure: Figure, results: Report, look: Look) -> None:
    """Figure 4: alignment before the first RL step against the PGR reached."""
    axes = figure.add_subplot(xlabel="alignment before the first RL step", ylabel="performance gap recovered")
    points = []
    for arm, colour, marker in _styled(results, look):
        before, pgr = arm["alignment"]["before_rl"], arm["pgr"]
        if before and pgr and before["value"] is not None and pgr["value"] is not None:
            _bar(axes, before["value"], pgr, colour, marker, across=before)
            points.append(Named(arm["title"], colour, before, pgr))
    _percent(axes)
    axes.margins(x=0.15, y=0.12)
    _label(figure, axes, points, look)


def _height(arms: list[Report]) -> float:
    return 0.7 + ROW_HEIGHT * max(1, -(-len(arms) // COLUMNS))


@dataclass(frozen=True, slots=True)
class Drawing:
    title: str
    caption: str
    paint: Callable[[Figure, Report, Look], None]
    height: Callable[[Report], float] = lambda results: 4.6


FIGURES = {
    "pgr-samples": Drawing(
        "PGR against expert samples",
        "Each method's mean over its runs with the 95% interval; small marks are single runs. Up and to the left is better.",
        pgr_against_samples,
    ),
    "rewards": Drawing(
        "Reward over RL steps",
        "Expert and proxy reward on the eval split at each look, means over runs with 95% intervals, and where the proxy was realigned.",
        reward_over_steps,
        lambda results: _height(measured(results)),
    ),
    "alignment": Drawing(
        "Alignment over RL steps",
        "Correlation of proxy and expert within prompts: of the proxy as it came to each look, and after the realignment there.",
        alignment_over_steps,
        lambda results: _height(aligned(results)),
    ),
    "gains": Drawing(
        "Predicted against actual gain",
        "From look to look of each run, and each method's mean. The promise is to first order, so its sign and order count: "
        "what lies to the right of zero and below it was promised and lost.",
        predicted_against_actual,
    ),
    "alignment-pgr": Drawing(
        "Alignment before RL against PGR reached",
        "Each method's means with 95% intervals on both sides.",
        pgr_against_alignment,
    ),
}


def _styled(results: Report, look: Look) -> Iterator[tuple[Report, str, str]]:
    """Each measured arm with its colour and mark, which it keeps in all figures. The ceiling, which stands first, has the first colour to itself."""
    others = look.arms[1:]
    for i, arm in enumerate(results["arms"]):
        if arm["measured"]:
            colour = others[(i - 1) % len(others)] if i else look.arms[0]
            yield arm, colour, MARKERS[(i + i // len(MARKERS)) % len(MARKERS)]


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _spread(estimate: Report) -> list[list[float]] | None:
    """The interval as distances from the value."""
    if estimate["low"] is None:
        return None
    return [[max(0.0, estimate["value"] - estimate["low"])], [max(0.0, estimate["high"] - estimate["value"])]]


def _bar(axes: Axes, x: float, estimate: Report, colour: str, marker: str, across: Report | None = None) -> None:
    """A mark with its 95% interval, and one of what lies on the other axis."""
    sideways = _spread(across) if across else None
    axes.errorbar([x], [estimate["value"]], _spread(estimate), sideways, fmt=marker, color=colour, markersize=7, elinewidth=1.2, capsize=2.5)


def _line(axes: Axes, points: Iterable[tuple[float, Report]], colour: str, style: str) -> None:
    known = [(x, estimate) for x, estimate in points if estimate["value"] is not None]
    if known:
        axes.plot([x for x, _ in known], [e["value"] for _, e in known], style, color=colour, markersize=4, linewidth=1.4)
    for x, estimate in known:
        if estimate["low"] is not None:
            axes.plot([x, x], [estimate["low"], estimate["high"]], "-", color=colour, linewidth=1)


def _panels(figure: Figure, arms: list[Report], label: str) -> Iterator[tuple[bool, Axes, Report]]:
    """One panel for each arm, all on the same axes."""
    if not arms:
        return
    grid = figure.subplots(-(-len(arms) // COLUMNS), COLUMNS, sharex=True, sharey=True, squeeze=False).flatten()
    for i, (axes, arm) in enumerate(zip(grid, arms, strict=False)):
        axes.set_title(shorten(arm["title"], 32, placeholder=" …"))
        axes.tick_params(labelbottom=i + COLUMNS >= len(arms))  # the last of its column
        yield i == 0, axes, arm
    for axes in grid[len(arms) :]:
        axes.set_visible(False)
    figure.supylabel(label, fontsize=9)
    figure.supxlabel("RL step", fontsize=9)


def _key(figure: Figure, entries: list[tuple[str, str, str]], look: Look, dotted: str = "") -> None:
    from matplotlib.lines import Line2D

    handles = []
    for label, colour, style in entries:
        marker = style[0] if style[0] in MARKERS else ""
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=4, linestyle=style.removeprefix(marker) or "", label=label))
    if dotted:
        handles.append(Line2D([], [], color=look.quiet, linestyle=":", label=dotted))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, fontsize=9)


def _percent(axes: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


@dataclass(frozen=True, slots=True)
class Named:
    """A point with a name, and its intervals on both axes where it has them."""

    name: str
    colour: str
    x: Report
    y: Report


def fixed(value: float) -> Report:
    """A value without an interval."""
    return {"value": value, "low": None, "high": None}


# Where a name may stand from its point, in points: beside it, else above or below, further off where there is no room.
PLACES = [(dx * side, dy, "left" if side > 0 else "right") for dy in (0, 10, -10, 20, -20, 32, -32, 44, -44) for dx in (9,) for side in (1, -1)]


def _label(figure: Figure, axes: Axes, points: list[Named], look: Look) -> None:
    """Each point's name beside it, where it covers neither a mark, nor a bar, nor another name; with a thin line where that is some way off."""
    paper = {"facecolor": look.ground, "edgecolor": "none", "alpha": 0.75, "pad": 0.5}  # so that it is read where it must cover something
    figure.draw_without_rendering()  # the layout decides where points lie
    figure.set_layout_engine("none")
    taken = [box for point in points for box in _marks(axes, point)]
    for point in points:
        at = (point.x["value"], point.y["value"])
        label = axes.annotate(point.name, at, (0, 0), textcoords="offset points", va="center", fontsize=8.5, color=point.colour, bbox=paper)
        tried: list[tuple[bool, int, int]] = []
        for place in PLACES:
            _put(label, place)
            box = label.get_window_extent()
            outside = box.x0 < axes.bbox.x0 or box.x1 > figure.bbox.x1 or box.y0 < axes.bbox.y0 or box.y1 > figure.bbox.y1
            tried.append((outside, sum(box.overlaps(other) for other in taken), len(tried)))
            if tried[-1][:2] == (False, 0):
                break
        place = PLACES[min(tried)[2]]
        _put(label, place)
        taken.append(label.get_window_extent())
        if abs(place[1]) > 10:
            arrow = {"arrowstyle": "-", "color": look.quiet, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
            axes.annotate("", at, place[:2], textcoords="offset points", arrowprops=arrow)


def _put(label: Any, place: tuple[int, int, str]) -> None:
    label.set_position(place[:2])
    label.set_ha(place[2])


def _marks(axes: Axes, point: Named) -> Iterator[Any]:
    """What a point covers on the page: its mark and its bars."""
    from matplotlib.transforms import Bbox

    room = 4 * axes.figure.dpi / 72
    x, y = point.x, point.y
    ends = [((x["value"], y["value"]),) * 2]
    if x["low"] is not None:
        ends.append(((x["low"], y["value"]), (x["high"], y["value"])))
    if y["low"] is not None:
        ends.append(((x["value"], y["low"]), (x["value"], y["high"])))
    for i, (low, high) in enumerate(ends):
        (x0, y0), (x1, y1) = axes.transData.transform((low, high))
        around = room / (2 if i else 1)
        yield Bbox.from_extents(x0 - around, y0 - around, x1 + around, y1 + around)
