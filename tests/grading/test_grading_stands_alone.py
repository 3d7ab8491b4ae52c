"""Whoever grades needs neither Django nor torch until a model is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from grading.backends import load
from grading.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
CODE = """
import sys
sys.modules["django"] = None
import grading.agreement, grading.alignment, grading.backends, grading.graders, grading.models.scripted
import grading.realign.fewshot, grading.realign.rubric, grading.realign.search
from grading.models.transformers import TransformersModel
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""


def test_importing_it_loads_neither_django_nor_torch():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "must be a dotted path to a class, not None"),
        ({"backend": "nodots"}, "must be a dotted path"),
        ({"backend": "grading.nothing.Grader"}, r"cannot import grading\.nothing\.Grader"),
        ({"backend": "grading.graders.Nothing"}, "has no Nothing"),
        ({"backend": "grading.graders.Grader", "options": {"colour": "red"}}, "does not take these options.*colour"),
    ],
)
def test_a_backend_that_cannot_be_had_is_named(config, message):
    with pytest.raises(ConfigurationError, match=message):
        load(config)
