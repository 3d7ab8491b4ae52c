"""`manage.py ask_expert`: imported texts are judged without the browser."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from annotation import actions
from annotation.models import Batch, Expert
from annotation.tasks import answer_batch
from tests.annotation.makers import make_domain, make_program

pytestmark = pytest.mark.django_db


@pytest.fixture
def critic() -> Expert:
    return make_program("critic", backend="pocket")


@pytest.fixture
def ask(critic):
    """`ask(...)`: what the command prints, to both."""
    domain = make_domain("stories")
    rows = [{"prompt": "Write a story.", "content": f"Text {i}."} for i in range(8)]
    report = actions.import_rollouts(domain, rows, name="some model", split="train")
    assert (report.created, report.errors) == (8, [])

    def ask(*args: str, expert: str = "critic", name: str = "some model") -> str:
        out = StringIO()
        call_command("ask_expert", expert, *args, domain="stories", name=name, stdout=out, stderr=out)
        return out.getvalue()

    return ask


def test_it_says_what_it_costs_and_asks_nobody(ask):
    assert ask("--texts", "5", "--times", "2").startswith("10 verdicts of Critic: free\n")
    assert "Nobody was asked." in ask()
    assert not Batch.objects.exists()


def test_it_says_where_a_budget_has_no_room(ask, critic):
    actions.set_budget(unit="samples", limit=3, expert=critic)
    assert "Budgets have room for 3 of 8 verdicts by Critic: it would end early." in ask()


def test_with_yes_the_expert_is_asked_and_the_verdicts_are_exported_by_the_key(ask):
    printed = ask("--yes", "--note", "Which are a person's?")
    batch = Batch.objects.get()
    assert (batch.title, batch.note, batch.purpose) == ("some model: 8 texts", "Which are a person's?", "imported")
    assert "Asked. Critic has 8 texts to judge." in printed
    assert answer_batch(batch.pk) == 8
    command, key = printed.splitlines()[-1].split(" --batch ")
    assert command == "manage.py export_feedback"
    out = StringIO()
    call_command("export_feedback", batch=key, stdout=out)
    assert len({json.loads(line)["content"] for line in out.getvalue().splitlines()}) == 8


def test_the_same_texts_are_asked_about_again_only_when_told_so(ask):
    ask("--yes", "--texts", "5")
    with pytest.raises(CommandError, match="There are 3 that were not asked about"):
        ask("--texts", "5")
    ask("--yes")
    with pytest.raises(CommandError, match="has been asked about all of these texts"):
        ask()
    assert "8 verdicts" in ask("--again")


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ([], {"expert": "nobody"}, "There is no expert nobody; there are: critic."),
        ([], {"name": "other"}, "There are no texts from other in stories; there are: some model."),
        (["--texts", "0"], {}, "--texts is 1 or more"),
        (["--times", "0"], {}, "--times is 1 to"),
    ],
)
def test_what_cannot_be_asked_is_said(ask, args, named, message):
    with pytest.raises(CommandError, match=message):
        ask("--yes", *args, **named)
    assert not Batch.objects.exists()


def test_an_expert_that_is_not_active_is_not_asked(ask, critic):
    Expert.objects.update(active=False)
    with pytest.raises(CommandError, match="Critic is not active"):
        ask("--yes")
