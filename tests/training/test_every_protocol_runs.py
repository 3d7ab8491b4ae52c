"""Every protocol as a whole experiment with the toy engine: real rows, real processes, a real program as the expert."""

from __future__ import annotations

import json

import pytest

from annotation.models import Batch, Expert, Feedback, Rollout
from training import budget, protocol
from training.actions import start
from training.drive import drive
from training.models import Candidate, Checkpoint, Experiment, ProxyVersion, Stage
from training.report import report

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
DONE = Experiment.State.DONE


NEVER = {"fall": 1000.0}  # standard deviations


@pytest.fixture
def falling(settings) -> Expert:
    """An expert who likes each check less than the one before."""
    settings.EXPERTS = settings.EXPERTS | {"tiring": {"BACKEND": "tests.training.experts.Tiring", "OPTIONS": {}}}
    settings.WRITERS = settings.WRITERS | {"tiring": settings.WRITERS["pocket"]}
    return Expert.objects.create(alias="tiring", name="The tiring one", kind=Expert.Kind.PROGRAM, backend="tiring")


def at(experiment: Experiment, key: str) -> Stage:
    return experiment.stages.select_related("job", "batch").get(key=key)


def test_context_distillation_teaches_the_kept_traces_and_counts_the_leaks(run) -> None:
    experiment = run("context-feedback", steps=2)
    assert experiment.state == DONE, experiment.note
    rewrite, realign = at(experiment, "rewrite-0"), at(experiment, "realign-0")
    assert rewrite.outcome == {"examples": 8, "kept": 24, "tried": 32, "rejected": {"leak": 8}}
    job = json.loads((rewrite.job.path / "job.json").read_text())
    assert (job["show"], job["traces"], job["tries"]) == ("feedback", 3, 4)
    lessons = [json.loads(line) for line in (realign.job.path / "examples.jsonl").open()]
    assert len(lessons) == 24
    assert all("Grade this story" in row["prompt"] and row["completion"].startswith("<critique>") for row in lessons)
    version = experiment.proxies.get(number=2)
    assert version.method == "context-feedback"
    assert set(version.feedback.values_list("pk", flat=True)) == set(
        Feedback.objects.filter(item__batch__purpose="initial").values_list("pk", flat=True)
    )


def test_feedback_alone_teaches_where_the_expert_gave_no_score(run, make, monkeypatch) -> None:
    experiment = start(make("context-feedback", steps=2, eval_prompts=0))
    Batch.objects.all().delete()
    from training import learning

    bare = Feedback(critique="Lovely.", score=None)
    assert learning.is_usable(experiment, bare)
    assert not learning.is_usable(make("full-trace", name="other"), bare)
    assert not learning.is_usable(make("context-full", name="third"), bare)


def test_a_scalar_head_is_taught_scores_alone_and_goes_on_from_itself(run) -> None:
    experiment = run("scalar-head")
    assert experiment.state == DONE, experiment.note
    second, third = experiment.proxies.filter(number__gt=1)
    assert second.judge["backend"] == "grading.scalar.ScalarJudge"
    rows = [json.loads(line) for line in (at(experiment, "realign-0").job.path / "examples.jsonl").open()]
    assert all(set(row) == {"prompt", "score"} for row in rows)
    job = json.loads((at(experiment, "realign-2").job.path / "job.json").read_text())
    assert job["model"] == second.judge["options"]["model"]["path"]
    assert third.parent == second


@pytest.mark.parametrize("method", protocol.IN_CONTEXT)
def test_prompts_are_searched_for_on_validation_prompts_that_rl_never_meets(run, method) -> None:
    experiment = run(method, realignments=1, **NEVER)
    assert experiment.state == DONE, experiment.note
    assert budget.spent(experiment) == {"eval": 18, "initial": 8, "validation": 6, "check": 8}
    kept_out = set(experiment.config["validation_prompts"])
    assert len(kept_out) == 2
    trained_on = Rollout.objects.filter(run__contains="/train-").values_list("prompt_id", flat=True)
    assert not kept_out & set(trained_on)
    found = Candidate.objects.filter(stage__experiment=experiment)
    assert [c.number for c in found] == [0, 1, 2, 3]
    chosen = sorted((c for c in found if c.number), key=lambda c: -c.value)[:2]
    assert [c for c in found if c.chosen] == sorted(chosen, key=lambda c: c.number)
    assert all(c.feedback.count() == 3 and len(c.scores) == 6 for c in found if c.number)
    version = experiment.proxies.get(number=2)
    assert version.judge["options"]["prompts"] == [p for c in chosen for p in c.prompts]
    taught = set(version.feedback.values_list("pk", flat=True))
    assert taught == {pk for c in chosen for pk in c.feedback.values_list("pk", flat=True)}
    assert set(version.feedback.values_list("item__batch__purpose", flat=True)) == {"initial"}


def test_checks_are_of_the_same_prompts_each_time_and_join_what_prompts_are_written_from(run, falling) -> None:
    experiment = run("rubric", expert=falling, fall=0.0, steps=6)
    assert experiment.state == DONE, experiment.note
    checks = [at(experiment, f"sample-{step}").arguments["prompts"]["check"] for step in (2, 4, 6)]
    assert checks[0] == checks[1] == checks[2]
    examples = [json.loads(line) for line in (at(experiment, "search-2").job.path / "examples.jsonl").open()]
    purposes = Feedback.objects.filter(pk__in=[e["id"] for e in examples]).values_list("item__batch__purpose", flat=True)
    assert sorted(purposes) == ["check"] * 4 + ["update"] * 4
    assert all(e["proxy"] for e in examples)


def test_after_a_fall_rl_goes_on_from_the_last_good_checkpoint_and_lost_steps_count(run, falling) -> None:
    experiment = run("rubric", expert=falling, fall=0.0)
    assert experiment.state == DONE, experiment.note
    assert experiment.note == "Done: all steps done. Its policy is that of step 0."
    assert experiment.best_step == 0
    rows = Checkpoint.objects.order_by("step").values_list("step", "parent__step")
    assert list(rows) == [(0, None), (2, 0), (4, 0)]
    again = json.loads((at(experiment, "train-2").job.path / "job.json").read_text())
    assert (again["origin"], again["start"], again["stop"]) == (0, 2, 4)
    assert list(experiment.step_metrics.values_list("step", flat=True)) == [1, 2, 3, 4]
    assert {r.checkpoint for r in Rollout.objects.filter(run="stories/fresh-2")} == {experiment.checkpoints.get(step=0).digest}


@pytest.mark.parametrize("method", protocol.PER_PROMPT)
def test_every_train_prompt_is_asked_about_for_a_grading_prompt_of_its_own(run, method) -> None:
    experiment = run(method)
    assert experiment.state == DONE, experiment.note
    assert budget.spent(experiment) == {"eval": 18, "initial": 12}
    assert [p.method for p in experiment.proxies.all()] == ["baseline", method]


def test_retraining_starts_on_a_proxy_version_of_another_experiment(run, make) -> None:
    first = run("full-trace")
    taken = first.proxies.get(number=2)
    experiment = drive(start(make("retrain", name="again", proxy_version=taken)).pk)
    assert experiment.state == DONE, experiment.note
    assert budget.spent(experiment) == {"eval": 18}
    version = experiment.proxies.get()
    assert (version.digest, version.parent, version.judge) == (taken.digest, taken, taken.judge)


def test_prompt_optimisation_charges_what_it_asks_and_is_looked_at_under_its_prompt(run) -> None:
    experiment = run("prompt-optimisation")
    assert experiment.state == DONE, experiment.note
    assert budget.spent(experiment) == {"eval": 12, "reward": 12}
    asked = json.loads((at(experiment, "sample-1").job.path / "job.json").read_text())["requests"][0]["prompts"]
    assert all(row["text"].startswith("Please: Write a short story about") for row in asked)
    assert not ProxyVersion.objects.filter(experiment=experiment, number__gt=1).exists()


def test_how_far_the_policy_moved_is_measured_at_every_look_but_the_first(run) -> None:
    experiment = run("weak-proxy", stop_after_falls=0)
    assert list(experiment.measurements.filter(name="kl").values_list("step", flat=True)) == [2, 4]


def test_the_proxys_grades_of_more_rollouts_stand_in_for_verdicts_at_a_check(run) -> None:
    experiment = run("rubric", check=8, check_graded=10, steps=2, **NEVER)
    assert budget.spent(experiment)["check"] == 8
    assert Rollout.objects.filter(run="stories/sample-2", prompt__split="train").count() == 10
    check = at(experiment, "ask-check-2")
    assert check.outcome is not None
    assert check.outcome["saved"] is not None
    scores = [f.score for f in Feedback.objects.filter(item__batch=check.batch)]
    assert check.outcome["mean"] != sum(scores) / 8
    measured = experiment.measurements.get(name="check_reward")
    assert measured.value == check.outcome["mean"]
    assert "verdicts alone would take" in measured.note


def test_the_report_says_where_every_version_comes_from(run, falling) -> None:
    experiment = run("rubric", expert=falling, fall=0.0, steps=6)
    entry = report([experiment])["experiments"][0]
    first, second, third, *_ = entry["proxies"]
    assert (first["parent"], first["feedback"]) == (None, {})
    assert second["parent"] == {"experiment": "stories", "number": 1}
    assert [c["number"] for c in second["candidates"]] == [0, 1, 2, 3]
    assert second["ensemble"] == [c["number"] for c in second["candidates"] if c["chosen"]]
    assert sum(third["feedback"].values()) == experiment.proxies.get(number=3).feedback.count()
    assert set(third["feedback"]) <= {"check", "update"}
    assert entry["roll_backs"] == [{"after": 2, "back_to": 0}, {"after": 4, "back_to": 0}]
    assert entry["best_step"] == 0


def test_the_report_counts_what_was_replayed_and_what_was_dropped_as_a_leak(run) -> None:
    entry = report([run("context-full")])["experiments"][0]
    second, third = entry["proxies"][1:]
    assert (second["feedback"], second["replayed"]) == ({"initial": 8}, 0)
    assert (third["feedback"], third["replayed"]) == ({"initial": 4, "update": 4}, 4)
    assert third["rewritten"]["rejected"] == {"leak": 8}
    assert third["strategies"] == ["random"]
