"""A report as tables of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training import protocol

Row = Sequence[str]


def tables(results: dict[str, Any]) -> str:
    """Results side by side, then each experiment's rounds and what its expert was asked."""
    parts = [_table(RESULTS, [_result(entry) for entry in results["experiments"]])]
    for entry in results["experiments"]:
        if entry["rounds"]:
            parts.append(f"{entry['name']}: round by round\n" + _table(ROUNDS, [_round(row) for row in entry["rounds"]]))
    parts.append("Expert samples\n" + "\n".join(_samples(entry) for entry in results["experiments"]))
    parts.append("samples: expert verdicts other than those of the eval looks; fewer: than the ceiling used in all, and up to equal reward.")
    parts.append("Values in brackets are 95% intervals (hierarchical bootstrap over prompts, then rollouts).")
    return "\n\n".join(parts)


RESULTS = ("experiment", "method", "steps", "expert reward", "proxy reward", "PGR", "samples", "fewer", "at equal reward", "unscored")
ROUNDS = ("round", "purpose", "step", "samples", "alignment before", "after", "change", "expert reward", "until the next", "unique")


def _result(entry: dict[str, Any]) -> Row:
    ratio = entry["efficiency"] or {}
    unscored = entry["unscored_rate"]["evaluation"]
    return (
        entry["name"],
        dict(protocol.CHOICES)[entry["protocol"]].partition(":")[0],
        str(entry["steps"]),
        _change(entry["expert_reward"]),
        _change(entry["proxy_reward"]),
        "-" if not entry["pgr"] else ("not defined" if entry["pgr"]["value"] is None else _interval(entry["pgr"], "{:.0%}")),
        f"{entry['training_samples']:,}",
        _times(ratio.get("ratio")),
        _matched(ratio),
        "-" if unscored is None or unscored["value"] is None else f"{unscored['value']:.1%}",
    )


def _round(row: dict[str, Any]) -> Row:
    unique = row["unique_rate"]
    return (
        str(row["round"]),
        row["purpose"],
        str(row["step"]),
        f"{row['samples']:,}",
        _interval(row["alignment_before"], "{:.2f}"),
        _interval(row["alignment_after"], "{:.2f}"),
        _interval(row["alignment_change"], "{:+.2f}"),
        _interval(row["expert_reward"], "{:.1f}"),
        _value(row["expert_reward_next"], "{:.1f}"),
        "-" if unique is None else f"{unique:.0%}",
    )


def _samples(entry: dict[str, Any]) -> str:
    by_purpose = ", ".join(f"{n:,} {purpose}" for purpose, n in sorted(entry["samples"].items()))
    return f"  {entry['name']}: {by_purpose or 'none'}"


def _change(pair: dict[str, Any]) -> str:
    if not pair["base"]:
        return "-"
    return f"{_value(pair['base'], '{:.1f}')} -> {_interval(pair['final'], '{:.1f}')}"


def _interval(estimate: dict[str, Any] | None, form: str) -> str:
    value = _value(estimate, form)
    if estimate is None or estimate["low"] is None or value == "-":
        return value
    return f"{value} [{form.format(estimate['low'])}, {form.format(estimate['high'])}]"


def _value(estimate: dict[str, Any] | None, form: str) -> str:
    return "-" if estimate is None or estimate["value"] is None else form.format(estimate["value"])


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1f}x"


def _matched(ratio: dict[str, Any]) -> str:
    """Where the ceiling never got as high, it would have needed more than all it used."""
    if ratio and ratio["matched_ratio"] is None:
        return f"> {_times(ratio['ratio'])}"
    return _times(ratio.get("matched_ratio"))


def _table(head: Row, rows: Sequence[Row]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
