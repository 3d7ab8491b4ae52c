"""A suite's report as tables: plain text, Markdown, CSV. The same columns everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.tables import Row, aligned, flattened, interval, lines, piped, value

HEAD = (
    "method",
    "runs",
    "RL steps",
    "expert reward",
    "PGR",
    "taught",
    "checked",
    "rewarded",
    "fewer",
    "at equal reward",
    "alignment before RL",
    "at the end",
    "unscored",
    "minutes",
)
LEGEND = [
    "Each row is the mean over runs. taught, checked, rewarded: expert samples of a run, by what they were for; eval looks, which only measure, are "
    "not counted, but what a proxy that was taken over had learnt from is. fewer: than the ceiling used in all, and than it had used when it first "
    "had the same reward. Values in brackets are 95% intervals (bootstrap over runs, prompts and rollouts).",
]


def rows(results: dict[str, Any]) -> list[Row]:
    """A row of `HEAD` for each arm."""
    return [_row(arm) for arm in results["arms"]]


def text(results: dict[str, Any]) -> str:
    return "\n\n".join([f"{results['title']} ({results['suite']})", aligned(HEAD, rows(results)), *LEGEND, *_not_done(results, "  ")])


def markdown(results: dict[str, Any]) -> str:
    seeds, bases = ", ".join(map(str, results["seeds"])), ", ".join(f"{base['name']} ({base['path']})" for base in results["bases"])
    about = f"Domain {results['domain']}, expert {results['expert']}, seeds {seeds}; base policies {bases}."
    commands = [command for arm in results["arms"] for command in arm["commands"]]
    parts = [f"# {results['title']}", about, piped(HEAD, rows(results)), *LEGEND, *_not_done(results, "- ")]
    return "\n\n".join([*parts, "All of it, or each run alone:", "\n".join(["```", results["command"], *commands, "```"])]) + "\n"


def as_csv(results: dict[str, Any]) -> str:
    """A line for each arm, with all its single values under their names in the JSON, parted by dots."""
    return lines(flattened({key: part for key, part in arm.items() if key != "plan"}) for arm in results["arms"])


def _row(arm: dict[str, Any]) -> Sequence[str]:
    start = (arm["title"], f"{arm['runs']} of {arm['planned']}")
    if not arm["measured"]:
        return (*start, *["-"] * (len(HEAD) - len(start)))
    reward, samples, alignment = arm["expert_reward"], arm["samples"], arm["alignment"]
    return (
        *start,
        f"{arm['steps']:.0f}",
        f"{value(reward['base'], '{:.1f}')} -> {interval(reward['final'], '{:.1f}')}",
        "not defined" if arm["pgr"] and arm["pgr"]["value"] is None else interval(arm["pgr"], "{:.0%}"),
        *(f"{samples[name]:,.0f}" for name in ("taught", "checked", "rewarded")),
        *efficiency(arm["efficiency"]),
        interval(alignment["before_rl"], "{:.2f}"),
        interval(alignment["end"], "{:.2f}"),
        "-" if arm["unscored"] is None else f"{arm['unscored']:.1%}",
        "-" if arm["minutes"] is None else f"{arm['minutes']:.1f}",
    )


def efficiency(found: dict[str, Any] | None) -> tuple[str, str]:
    """How many times fewer samples: in all, and at equal reward. Where the ceiling never got as high, it would have needed more than all."""
    if found is None:
        return "-", "-"
    ratio, matched = interval(found["ratio"], "{:.1f}x"), interval(found["matched"], "{:.1f}x")
    return ratio, f"> {value(found['ratio'], '{:.1f}x')}" if matched == "-" else matched


def _not_done(results: dict[str, Any], mark: str) -> list[str]:
    if not results["not_done"]:
        return []
    states = [
        f"{mark}{left['name']}: {left['state'] or 'not begun'}{f'. {words}' if (words := left['note']) else ''}" for left in results["not_done"]
    ]
    return ["Not done yet:\n" + ("\n" if mark == "- " else "") + "\n".join(states)]
