"""A report as tables: plain text, Markdown, CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from training import protocol

Row = Sequence[str]


LEGEND = [
    "samples: expert verdicts other than those of the eval looks; fewer: than the ceiling used in all, and up to equal reward.",
    "Values in brackets are 95% intervals (hierarchical bootstrap over prompts, then rollouts).",
]


def tables(results: dict[str, Any]) -> str:
    """Results side by side, then each experiment's rounds and what its expert was asked."""
    return _parts(results, aligned)


def markdown(results: dict[str, Any]) -> str:
    """The same in Markdown."""
    return _parts(results, piped)


def _parts(results: dict[str, Any], table: Callable[[Row, Sequence[Row]], str]) -> str:
    parts = [table(RESULTS, [_result(entry) for entry in results["experiments"]])]
    for entry in results["experiments"]:
        if entry["rounds"]:
            between = "\n" if table is aligned else "\n\n"  # Markdown wants a table parted from the line above it
            parts.append(f"{entry['name']}: round by round{between}" + table(ROUNDS, [_round(row) for row in entry["rounds"]]))
    parts.append("Expert samples\n" + "\n".join(_samples(entry) for entry in results["experiments"]))
    return "\n\n".join([*parts, *LEGEND])


def as_csv(results: dict[str, Any]) -> str:
    """One line for each experiment, with all its single values under their names in the JSON, parted by dots."""
    flat = [flattened({key: value for key, value in entry.items() if key != "plan"}) for entry in results["experiments"]]
    return lines(flat)


def flattened(entry: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one; lists, which have no place in a line, are left out."""
    found: dict[str, Any] = {}
    for key, value in entry.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            found[prefix + key] = value
    return found


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """CSV with a column for every key that any of the rows has; what is not there is empty."""
    rows = list(rows)
    out = StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


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
        "-" if not entry["pgr"] else ("not defined" if entry["pgr"]["value"] is None else interval(entry["pgr"], "{:.0%}")),
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
        interval(row["alignment_before"], "{:.2f}"),
        interval(row["alignment_after"], "{:.2f}"),
        interval(row["alignment_change"], "{:+.2f}"),
        interval(row["expert_reward"], "{:.1f}"),
        value(row["expert_reward_next"], "{:.1f}"),
        "-" if unique is None else f"{unique:.0%}",
    )


def _samples(entry: dict[str, Any]) -> str:
    by_purpose = ", ".join(f"{n:,} {purpose}" for purpose, n in sorted(entry["samples"].items()))
    return f"  {entry['name']}: {by_purpose or 'none'}"


def _change(pair: dict[str, Any]) -> str:
    if not pair["base"]:
        return "-"
    return f"{value(pair['base'], '{:.1f}')} -> {interval(pair['final'], '{:.1f}')}"


def interval(estimate: dict[str, Any] | None, form: str) -> str:
    """`75% [68%, 81%]`; a dash where there is no value, and an open end where the interval has one."""
    found = value(estimate, form)
    if estimate is None or estimate["low"] is None or found == "-":
        return found
    high = "∞)" if estimate["high"] is None else f"{form.format(estimate['high'])}]"
    return f"{found} [{form.format(estimate['low'])}, {high}"


def value(estimate: dict[str, Any] | None, form: str) -> str:
    return "-" if estimate is None or estimate["value"] is None else form.format(estimate["value"])


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1f}x"


def _matched(ratio: dict[str, Any]) -> str:
    """Where the ceiling never got as high, it would have needed more than all it used."""
    if ratio and ratio["matched_ratio"] is None:
        return f"> {_times(ratio['ratio'])}"
    return _times(ratio.get("matched_ratio"))


def aligned(head: Row, rows: Sequence[Row]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def piped(head: Row, rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    table = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table)
