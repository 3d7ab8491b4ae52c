"""What is wrong with settings.EXPERTS is said at start-up."""

from __future__ import annotations

import subprocess
import sys

import pytest

from annotation.checks import check_experts, check_rows
from tests.annotation.makers import make_panel, make_program


@pytest.mark.parametrize(
    ("experts", "ids"),
    [
        ({"pocket": {"BACKEND": "training.pocket.expert.PocketExpert"}}, []),
        (None, ["E001"]),
        ({"x": "training.pocket.expert.PocketExpert"}, ["E002"]),
        ({"x": {"OPTIONS": {}}}, ["E002"]),
        ({"x": {"BACKEND": "nodots"}}, ["E002"]),
        ({"x": {"BACKEND": "no.such.module.Judge"}}, ["E003"]),
        ({"x": {"BACKEND": "training.pocket.expert.PocketExpert", "OPTIONS": []}}, ["E004"]),
    ],
)
def test_each_mistake_has_its_own_id(experts, ids, settings):
    settings.EXPERTS = experts
    found = check_experts()
    assert [error.id for error in found] == [f"annotation.{name}" for name in ids]
    assert all(error.hint for error in found)


def test_an_active_expert_whose_backend_is_gone_is_named(db):
    make_panel(alias="people")
    make_program("fine")
    make_program("retired", backend="gone", active=False)
    make_program("lost", backend="gone")
    assert ["lost" in warning.msg for warning in check_rows(databases=["default"])] == [True]
    assert check_rows(databases=None) == []


def test_the_queue_does_not_load_torch():
    code = "import django, sys; django.setup(); import annotation.tasks, annotation.admin; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
