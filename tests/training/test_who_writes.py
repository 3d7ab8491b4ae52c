"""The strong model beside an expert that writes grading prompts and prompts: the expert's own, asked at once."""

from __future__ import annotations

import json

import pytest

from annotation.models import Expert
from grading.backends import load
from tests.annotation.claude import KEY, entry
from training import actions, writers

pytestmark = pytest.mark.django_db(transaction=True)


def test_who_judges_in_batches_writes_at_once(make, settings, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    settings.EXPERTS = settings.EXPERTS | {"claude": entry("http://127.0.0.1:9", batch=True, max_wait=0)}
    claude = Expert.objects.create(alias="claude", name="Claude", kind=Expert.Kind.LLM, backend="claude")
    experiment = actions.start(make("rubric", expert=claude))
    model = load(experiment.config["writers"][writers.GRADING])
    assert (model.batch, model.max_wait, model.model) == (False, None, "claude-opus-5-5")
    assert '"batch": true' in json.dumps(experiment.config["expert"])
