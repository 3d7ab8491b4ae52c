"""Suites: which experiments they consist of, the order in which those are run, and who carries them on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.training import toy
from tests.training.conftest import LESSONS, SMALL
from training import actions, drive, tasks
from training.domains import load_pocket
from training.errors import InvalidExperiment
from training.models import Experiment, Suite
from training.suite import actions as suites
from training.suite import plan, pocket
from training.suite.plan import Arm, Base
from training.suite.run import MAX_ATTEMPTS, Runs

pytestmark = pytest.mark.django_db
CEILING = Arm("ceiling", "Ceiling", "", {"protocol": "ceiling", **SMALL})
WEAK = Arm("weak", "Weak proxy", "", {"protocol": "weak-proxy", "stop_after_falls": 0, **SMALL})
FULL = Arm("full", "Full-trace distillation", "", {"protocol": "full-trace", **SMALL, **LESSONS})
AGAIN = Arm("again", "From scratch", "", {"protocol": "retrain", **SMALL}, main=False, after="full")


@pytest.fixture
def compare(rosa, domain, critic, model, tmp_path) -> Callable[..., Suite]:
    """Makes a suite: compare([arms], seeds=..., bases=...)."""
    toy.save_model(tmp_path / "other", skill=1)
    both = [Base("1", model), Base("2", str(tmp_path / "other"))]

    def compare(arms: list[Arm], **changes: Any) -> Suite:
        wishes: dict[str, Any] = {"name": "toys", "owner": rosa, "domain": domain, "expert": critic, "seeds": [1, 2], "bases": both}
        return suites.create_suite(arms=arms, **wishes | changes)

    return compare


def names(suite: Suite, *args: Any) -> list[str]:
    return [one.name.removeprefix("toys-") for one in plan.planned(suite, *args)]


def states(suite: Suite) -> dict[str, str]:
    return {e.name.removeprefix("toys-"): e.state for e in suite.experiments.all()}


def test_the_ceiling_comes_first_and_each_seed_is_complete_before_the_next(compare) -> None:
    suite = compare([AGAIN, WEAK, CEILING, FULL])
    of_a_seed = ["ceiling-b1", "weak-b1", "full-b1", "ceiling-b2", "weak-b2", "full-b2"]
    assert names(suite) == [f"{name}-s1" for name in of_a_seed] + [f"{name}-s2" for name in of_a_seed] + ["again-b1-s1"]
    assert names(suite, ["weak", "again"], [2]) == ["weak-b1-s2", "weak-b2-s2"]


def test_an_experiment_of_a_suite_is_an_ordinary_one_from_its_base_and_seed(compare, tmp_path) -> None:
    suite = compare([CEILING, WEAK])
    one = plan.planned(suite)[-1]
    made = suites.experiment_of(suite, one)
    assert (made.name, made.suite, made.arm, made.base, made.seed) == ("toys-weak-b2-s2", suite, "weak", "2", 2)
    assert (made.policy, made.plan.steps, made.owner) == (str(tmp_path / "other"), 4, suite.owner)
    assert suites.experiment_of(suite, one) == made
    assert Experiment.objects.count() == 1


def test_an_arm_that_takes_over_a_proxy_waits_until_there_is_one(compare) -> None:
    second = Arm("second", "From scratch, proxy 2", "", AGAIN.changes, main=False, after="full", proxy=2)
    suite = compare([CEILING, FULL, AGAIN, second], seeds=[1])
    again = plan.planned(suite, ["again", "second"])
    assert [suites.experiment_of(suite, one) for one in again] == [None, None]
    full = suites.experiment_of(suite, plan.planned(suite, ["full"])[0])
    drive.drive(actions.start(full).pk)
    assert [suites.experiment_of(suite, one).proxy_version for one in again] == [full.proxies.get(number=3), full.proxies.get(number=2)]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": "two words"}, "name", "40 letters"),
        ({"name": "new"}, "name", "is not “new”"),
        ({"arms": []}, "arms", "at least 1 arm"),
        ({"arms": [CEILING, CEILING]}, "arms", "a name of its own"),
        ({"arms": [CEILING, AGAIN]}, "arms", "with the proxy of full"),
        ({"arms": [CEILING, Arm("x", "X", "nothing")]}, "arms", "X: There is no preset 'nothing'"),
        ({"arms": [CEILING, Arm("x", "X", "", WEAK.changes | {"steps": 0})]}, "arms", "X: This must be more than 0"),
        ({"arms": [WEAK]}, "ceiling", "no arm ceiling"),
        ({"ceiling": "weak"}, "ceiling", "Weak proxy is no ceiling"),
        ({"seeds": []}, "seeds", "at least 1 seed"),
        ({"seeds": [1, 1]}, "seeds", "each once"),
        ({"bases": []}, "bases", "at least 1 base"),
        ({"bases": [Base("1", "/nowhere")]}, "bases", "There is no folder /nowhere"),
        ({"expert": None}, "expert", "Choose who"),
        ({"domain": None}, "domain", "Choose a domain"),
    ],
)
def test_what_makes_no_suite_is_said_by_field(compare, changes, field, words) -> None:
    with pytest.raises(InvalidExperiment) as caught:
        compare(**{"arms": [CEILING, WEAK], **changes})
    assert words in caught.value.errors[field]
    assert not Suite.objects.exists()


def test_a_name_is_given_once(compare) -> None:
    compare([CEILING])
    with pytest.raises(InvalidExperiment, match="There is a suite called 'toys' already"):
        compare([CEILING])


def test_only_its_owner_its_members_and_admins_see_it_and_its_experiments(compare, otto, rosa, django_user_model) -> None:
    suite = compare([CEILING])
    made = suites.experiment_of(suite, plan.planned(suite)[0])
    ada = django_user_model.objects.create_superuser("ada", password="x")

    def seen(user: Any) -> tuple[bool, bool]:
        return suites.visible_to(user).exists(), actions.visible_to(user).filter(pk=made.pk).exists()

    assert [seen(user) for user in (rosa, otto, ada)] == [(True, True), (False, False), (True, True)]
    suite.members.add(otto)
    assert seen(otto) == (True, True)


class Child:
    """A process that carries its experiment on when it is looked at, to its end or not at all."""

    def __init__(self, name: str, works: bool = True) -> None:
        self.name, self.works = name, works

    def poll(self) -> int | None:
        experiment = Experiment.objects.get(name=self.name)
        if experiment.state == Experiment.State.DRAFT:
            actions.start(experiment)
        if self.works:
            drive.drive(experiment.pk)
        return 0


@pytest.mark.slow
def test_runs_go_in_order_some_at_a_time_until_nothing_is_left(compare, model) -> None:
    suite = compare([CEILING, FULL, AGAIN], seeds=[1], bases=[Base("1", model)])
    begun: list[str] = []

    def begin(name: str) -> Child:
        begun.append(name)
        return Child(name)

    runs = Runs(suite, plan.planned(suite), 2, begin)
    at_work = []
    while runs.look():
        at_work.append(len(runs.at_work))
    assert begun == [one.name for one in plan.planned(suite)]
    assert max(at_work) == 2
    assert set(states(suite).values()) == {"done"}
    again = Runs(suite, plan.planned(suite), 2, Child)
    assert not again.look()


def test_a_process_that_keeps_dying_fails_its_experiment_and_the_others_go_on(compare, model) -> None:
    suite = compare([CEILING, WEAK], seeds=[1], bases=[Base("1", model)])
    begun: list[str] = []

    def begin(name: str) -> Child:
        begun.append(name)
        return Child(name, works="ceiling-b1" not in name)

    runs = Runs(suite, plan.planned(suite), 1, begin)
    while runs.look():
        pass
    assert begun.count("toys-ceiling-b1-s1") == MAX_ATTEMPTS
    assert states(suite) == {"ceiling-b1-s1": "failed", "weak-b1-s1": "done"}
    assert "Its process ended 3 times" in Experiment.objects.get(name="toys-ceiling-b1-s1").note


def test_workers_start_the_next_experiments_as_others_end(compare, settings) -> None:
    settings.TRAINING_SLOTS = 2
    suite = compare([CEILING, WEAK], seeds=[1])
    suites.start(suite)
    assert states(suite) == {"ceiling-b1-s1": "running", "weak-b1-s1": "running"}
    Experiment.objects.filter(arm="ceiling").update(state="done")
    tasks.sweep()
    assert states(suite) == {"ceiling-b1-s1": "done", "weak-b1-s1": "running", "ceiling-b2-s1": "running"}
    suites.stop(suite)
    assert states(suite) == {"ceiling-b1-s1": "done", "weak-b1-s1": "paused", "ceiling-b2-s1": "paused"}
    tasks.sweep()
    assert "weak-b2-s1" not in states(suite)
    suites.start(suite)
    assert states(suite)["weak-b1-s1"] == "running"
    Experiment.objects.filter(suite=suite).update(state="done")
    tasks.sweep()
    assert states(suite)["weak-b2-s1"] == "running"
    Experiment.objects.filter(suite=suite).update(state="done")
    tasks.sweep()
    suite.refresh_from_db()
    assert not suite.running


def test_what_cannot_be_started_does_not_hold_up_the_others(compare, model, settings) -> None:
    settings.TRAINING_SLOTS = 1
    suite = compare([CEILING, WEAK], seeds=[1])
    suites.experiment_of(suite, plan.planned(suite)[0])
    Experiment.objects.update(policy="/gone")
    suites.start(suite)
    assert states(suite) == {"ceiling-b1-s1": "failed", "weak-b1-s1": "running"}
    assert "/gone cannot be read" in Experiment.objects.get(arm="ceiling").note


def test_the_pocket_suite_is_made_of_presets(rosa) -> None:
    domain, expert = load_pocket()
    suite = pocket.create_pocket_suite("pocket", owner=rosa, domain=domain, expert=expert)
    assert len(plan.planned(suite)) == 7 * 3 * 2 + 8
    main = [arm.plan for arm in plan.arms(suite) if arm.main]
    assert {arm["steps"] for arm in main} == {pocket.RL["steps"]}
    assert {arm["learning_rate"] for arm in main if arm["protocol"] != "ceiling"} == {pocket.RL["learning_rate"]}, "all are pressed equally hard"
    quick = pocket.create_pocket_suite("quick", owner=rosa, domain=domain, expert=expert, quick=True)
    assert [one.arm.name for one in plan.planned(quick)] == [arm.name for arm in pocket.MAIN]
