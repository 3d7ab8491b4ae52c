"""Imports run one way: config -> training -> annotation -> grading."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LAYERS = ["config", "training", "annotation", "grading"]
PURE = ["grading", "training/engine", "training/pocket"]
NOT_IN_PURE = {"django", "rest_framework", "channels", "celery", "psycopg", "redis", "config", "annotation"}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that the file imports, wherever in it. `from a import b` gives a and a.b."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join((*package[: len(package) - node.level + 1], node.module or "")) if node.level else node.module or ""
            yield node.lineno, base
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_knows_only_what_stands_to_its_right(layer: str) -> None:
    forbidden = LAYERS[: LAYERS.index(layer)]
    arrows = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(layer)
        for line, name in imports(path)
        if name.split(".")[0] in forbidden
    ]
    assert not arrows


@pytest.mark.parametrize("folder", PURE)
def test_the_pure_parts_import_no_django(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(folder)
        for line, name in imports(path)
        if name.split(".")[0] in NOT_IN_PURE
    ]
    assert not found


@pytest.mark.parametrize("folder", ["training/engine", "training/pocket"])
def test_the_engine_and_the_pocket_know_nothing_of_the_apps_around_them(folder: str) -> None:
    allowed = ("training.engine", "training.pocket", "training.protocol", "training.presets")
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(folder)
        for line, name in imports(path)
        if name.startswith("training.") and not name.startswith(allowed)
    ]
    assert not found


def test_the_walk_sees_imports_in_functions_and_relative_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "grading" / "models" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text("def f():\n    from ..errors import E\n    import annotation.models\n")
    assert {name for _, name in imports(path)} == {"grading.errors", "grading.errors.E", "annotation.models"}


def test_no_torch_is_loaded_by_what_the_web_process_imports(process_free_env: dict[str, str]) -> None:
    code = (
        "import sys, django; django.setup(); import config.urls, config.routing, config.celery\n"
        "from django.urls import get_resolver; get_resolver().url_patterns\n"
        "config.celery.app.loader.import_default_modules()\n"
        "print([name for name in ('torch', 'transformers', 'trl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=process_free_env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
