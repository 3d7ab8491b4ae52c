"""Trial verdicts: asked for in a task, shown to who asked, and kept nowhere."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from django.core.cache import caches

from annotation import tasks, trials
from annotation.models import Feedback
from tests.annotation.makers import make_domain, make_program


@pytest.fixture
def sent():
    """Tokens of tasks that were sent; nobody carries them out by themselves."""
    tokens = []
    with patch.object(tasks.try_verdict, "apply_async", lambda args, **options: tokens.append(args[0])):
        yield tokens


def found(token, user, domain):
    trial = trials.find(token, user=user, domain=domain)
    assert trial is not None
    return trial


def ask(alice, domain, backend="fair", content="Four"):
    expert = make_program(backend=backend)
    return trials.start(user=alice, domain=domain, expert=expert, instructions="Write.", content=content)


def test_a_trial_waits_until_its_task_has_the_verdict(sent, alice, domain):
    token = ask(alice, domain)
    assert sent == [token]
    assert found(token, alice, domain)["state"] == "waiting"
    tasks.try_verdict(token)
    trial = found(token, alice, domain)
    assert (trial["state"], trial["verdict"]["score"], trial["verdict"]["critique"]) == ("done", 4.0, "It has 4 characters.")
    assert not Feedback.objects.exists()


def test_only_who_asked_sees_it_and_only_at_its_domain(sent, alice, bob, domain):
    token = ask(alice, domain)
    assert trials.find(token, user=bob, domain=domain) is None
    assert trials.find(token, user=alice, domain=make_domain("other")) is None
    assert trials.find("nonsense", user=alice, domain=domain) is None


FAILURES = {
    "overloaded": "No verdict could be had: the model is overloaded. The same may work later.",
    "locked-out": "No verdict could be had: the key is not valid.",
    "squeamish": "It declined to judge this text: not this one",
    "short": "The program failed with ValueError. The worker's log has the details.",
    "gone": "which is not in settings.EXPERTS",
}


@pytest.mark.parametrize("backend", FAILURES)
def test_a_failure_is_told_in_words(backend, sent, alice, domain):
    token = ask(alice, domain, backend, content="Story 3.")
    tasks.try_verdict(token)
    trial = found(token, alice, domain)
    assert trial["state"] == "failed"
    assert FAILURES[backend] in trial["error"]


def test_a_verdict_without_a_valid_score_says_why(sent, alice, domain):
    token = ask(alice, domain, "mumbling")
    tasks.try_verdict(token)
    verdict = found(token, alice, domain)["verdict"]
    assert (verdict["score"], verdict["reason"], verdict["critique"], verdict["raw"]) == (None, "no score found", "Hm.", "hm")


def test_a_task_that_runs_twice_asks_once(sent, alice, domain):
    token = ask(alice, domain)
    tasks.try_verdict(token)
    with patch("annotation.experts.load_judge", side_effect=AssertionError("asked twice")):
        tasks.try_verdict(token)
    assert found(token, alice, domain)["state"] == "done"


def test_without_a_broker_it_fails_at_once(alice, domain):
    with patch.object(tasks.try_verdict, "apply_async", side_effect=ConnectionError("away")):
        token = ask(alice, domain)
    assert "cannot be reached" in found(token, alice, domain)["error"]


@pytest.mark.parametrize(("state", "age", "words"), [("waiting", 70, "No worker took it"), ("running", 1000, "no answer after 15 minutes")])
def test_what_is_never_answered_says_so_in_the_end(state, age, words, sent, alice, domain):
    token = ask(alice, domain)
    shared, key = caches["shared"], f"trial:{token}"
    kept = shared.get(key)
    shared.set(key, kept | {"state": state, "asked": kept["asked"] - age})
    trial = found(token, alice, domain)
    assert trial["state"] == "failed"
    assert words in trial["error"]
