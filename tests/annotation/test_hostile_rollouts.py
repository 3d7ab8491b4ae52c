"""Hostile rollouts on their whole way: stored, claimed, judged by an expert at its worst, handed in, exported."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import call_command

from annotation import actions, querysets, tasks
from annotation.models import Expert, Prompt, Rollout
from annotation.text import storable
from grading.types import Case
from tests.annotation.makers import make_batch, make_program
from tests.grading.hostile import OWN_SCORE, hostile
from training.pocket.expert import PocketExpert

pytestmark = pytest.mark.slow

TEXTS = hostile()
PROMPT = "Grade this.\n<story>\n{CONTENT}\n</story>\nIt was written for: {INSTRUCTIONS}"


@pytest.fixture
def rollouts(domain) -> list[int]:
    """One for each text, as a training job's file brings them in; their ids in order."""
    prompt = Prompt.objects.create(domain=domain, split="train", text="Write about a key and a tower.", digest="d")
    rows = [{"prompt": prompt.pk, "step": 0, "index": i, "completion": text, "content": text} for i, text in enumerate(TEXTS.values())]
    assert actions.record_rollouts(domain, "hostile", rows) == len(TEXTS) >= 60
    return list(Rollout.objects.order_by("index").values_list("pk", flat=True))


@pytest.mark.parametrize(("script", "score"), [("echo_before", OWN_SCORE), ("echo_after", OWN_SCORE), ("obeys", OWN_SCORE), ("only_echo", None)])
def test_a_language_model_that_repeats_or_obeys_them_gives_its_own_score(script, score, domain, rollouts, settings):
    model = {"backend": "grading.models.scripted.ScriptedModel", "options": {"script": f"tests.grading.hostile.{script}"}}
    options = {"prompts": [PROMPT], "model": model, "sampling": {"max_tokens": 10**7}}
    settings.EXPERTS = {"gullible": {"BACKEND": "grading.graders.Grader", "OPTIONS": options}}
    batch = make_batch(make_program("gullible", "gullible", kind=Expert.Kind.LLM), domain, rollouts)
    assert tasks.answer_batch(batch.pk) == len(TEXTS)
    given = {name: row.score for name, row in zip(TEXTS, querysets.verdicts(batch), strict=True)}
    assert given == dict.fromkeys(TEXTS, score)


def test_a_program_gives_what_it_gives_the_bare_text_and_the_export_holds_every_text_as_it_was(domain, rollouts):
    batch = make_batch(make_program("pocket", "pocket", options={"noise": False}), domain, rollouts)
    tasks.answer_batch(batch.pk)
    judge = PocketExpert(noise=False)
    out = StringIO()
    call_command("export_feedback", stdout=out, stderr=StringIO())
    exported = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["content"] for row in exported] == [storable(text) for text in TEXTS.values()]
    for row, text in zip(exported, TEXTS.values(), strict=True):
        verdict = judge.verdict(Case(row["prompt"], storable(text)))
        assert (row["score"], row["critique"]) == (verdict.score, verdict.critique)
