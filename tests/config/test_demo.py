"""The demo's own parts; the whole of it is what `make demo SERVE=0` shows."""

from __future__ import annotations

import socket

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError

from annotation.models import Batch, Expert, Prompt
from annotation.roles import is_admin, is_expert, is_researcher
from config.demo import experiments, people, processes
from training.domains import load_pocket
from training.models import Experiment

pytestmark = pytest.mark.django_db


def test_people_are_made_once_and_their_passwords_shown_once() -> None:
    passwords = people.make_people()
    assert sorted(passwords) == ["admin", "expert1", "expert2", "expert3", "researcher1", "researcher2"]
    assert len(set(passwords.values())) == 6
    assert people.make_people() == {}
    for name, password in passwords.items():
        user = User.objects.get(username=name)
        assert user.check_password(password)
        assert password not in user.password
    assert is_admin(User.objects.get(username="admin"))
    assert is_researcher(User.objects.get(username="researcher2"))
    assert not is_researcher(User.objects.get(username="expert1"))
    assert is_expert(User.objects.get(username="expert3"))


def test_the_panel_is_the_three_experts() -> None:
    people.make_people()
    assert sorted(user.username for user in people.make_panel().members.all()) == ["expert1", "expert2", "expert3"]
    assert people.make_panel().members.count() == 3
    assert Expert.objects.count() == 1


def test_the_pocket_domain_is_loaded_once_and_edits_stay() -> None:
    domain, expert = load_pocket()
    assert (domain.prompts.filter(split=Prompt.Split.TRAIN).count(), domain.prompts.filter(split=Prompt.Split.EVAL).count()) == (500, 150)
    assert expert.backend == "pocket"
    domain.guidelines = "Ours."
    domain.save()
    again, _ = load_pocket()
    assert (again.pk, again.guidelines, again.prompts.count()) == (domain.pk, "Ours.", 650)


def states() -> dict[str, str]:
    return dict(Experiment.objects.values_list("name", "state"))


def test_experiments_begin_once_and_go_on_after_a_pause() -> None:
    people.make_people()
    begun = experiments.begin(*load_pocket())
    assert [(e.name, e.plan.protocol) for e in begun] == [
        ("demo-full-trace", "full-trace"),
        ("demo-ceiling", "ceiling"),
        ("demo-weak-proxy", "weak-proxy"),
    ]
    experiments.start_next(2)
    Experiment.objects.filter(name="demo-ceiling").update(state=Experiment.State.PAUSED)
    assert [e.pk for e in experiments.begin(*load_pocket())] == [e.pk for e in begun]
    assert states() == {"demo-full-trace": "running", "demo-ceiling": "running", "demo-weak-proxy": "draft"}


def test_the_next_experiment_starts_when_one_has_ended() -> None:
    people.make_people()
    experiments.begin(*load_pocket())
    for _ in range(2):  # asked again, nothing more starts
        experiments.start_next(2)
        assert states() == {"demo-full-trace": "running", "demo-ceiling": "running", "demo-weak-proxy": "draft"}
    Experiment.objects.filter(name="demo-ceiling").update(state=Experiment.State.DONE)
    experiments.start_next(2)
    assert states() == {"demo-full-trace": "running", "demo-ceiling": "done", "demo-weak-proxy": "running"}


def test_nothing_is_offered_by_hand_before_there_are_rollouts() -> None:
    people.make_people()
    assert experiments.offer_by_hand(people.make_panel()) is None
    assert not Batch.objects.exists()


def test_a_taken_port_gives_way_to_the_next_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < processes.free_port(port) < port + 50


def test_a_second_demo_is_refused() -> None:
    with processes.only_one(), pytest.raises(CommandError, match="A demo runs already"):
        processes.only_one()
