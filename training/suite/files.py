"""A suite's report as a folder of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.suite import figures, tables


def write(results: dict[str, Any], folder: Path) -> list[Path]:
    """report.json, report.csv, report.md, and each figure as SVG and PNG. Returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"report.json": as_json(results), "report.csv": tables.as_csv(results), "report.md": tables.markdown(results) + _pictures()}
    files = {name: text.encode() for name, text in texts.items()}
    files |= {f"{name}.{kind}": figures.draw(name, results, kind) for name in figures.FIGURES for kind in figures.KINDS}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def as_json(results: dict[str, Any]) -> str:
    return json.dumps(results, indent=2, allow_nan=False) + "\n"


def _pictures() -> str:
    return "".join(f"\n## {figure.title}\n\n{figure.caption}\n\n![{figure.title}]({name}.svg)\n" for name, figure in figures.FIGURES.items())
