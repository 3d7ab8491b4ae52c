"""Reports from rows written by hand, the arithmetic beside the numbers."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from annotation import actions as queue
from annotation.models import Feedback, Rollout
from training import actions, dispatch
from training.models import Experiment, Stage, StepMetric
from training.report import loop_closed, recovered, report
from training.tables import as_csv, markdown, tables


@pytest.fixture
def by_hand(make, critic):
    """An experiment written by hand: {step: (expert scores, proxy scores before, after or None, samples learnt)}.

    Each look has 2 prompts x 2 rollouts, scores in that order.
    """

    def write(name: str, protocol: str, looks: dict[int, tuple], rewarded: int = 0) -> Experiment:
        with dispatch.inline():
            experiment = actions.start(make(protocol, name=name, eval_prompts=2))
        number = 0
        for step, (expert, before, after, learnt) in looks.items():
            digest = experiment.proxies.get(number=1).digest
            sample = _stage(experiment, number := number + 1, "sample", f"sample-{step}", sampled(experiment, step, digest))
            ids = _rollouts(experiment, sample, experiment.config["eval_prompts"], step, 2)
            _grades(sample, digest, ids, before)
            purpose = "check" if protocol == "weak-proxy" else "eval"
            ask = _stage(experiment, number := number + 1, "ask", f"ask-{purpose}-{step}", {"step": step, "purpose": purpose})
            _judge(experiment, ask, ids, expert)
            if learnt:
                pool = _rollouts(experiment, sample, experiment.config["train_prompts"][:learnt], step, 1)
                lesson = _stage(experiment, number := number + 1, "ask", f"ask-initial-{step}", {"step": step, "purpose": "initial"})
                _judge(experiment, lesson, pool, [50.0] * learnt)
                feedback = list(Feedback.objects.filter(item__batch=lesson.batch).values_list("pk", flat=True))
                _stage(experiment, number := number + 1, "realign", f"realign-{step}", {"step": step, "number": 2, "feedback": feedback})
                grade = _stage(experiment, number := number + 1, "grade", f"grade-{step}", {"step": step, "graded_by": "2" * 64})
                _grades(grade, "2" * 64, ids, after)
            if step != max(looks):
                following = min(s for s in looks if s > step)
                train = _stage(experiment, number := number + 1, "train", f"train-{step}", {"start": step, "stop": following}, {"step": following})
                StepMetric.objects.create(experiment=experiment, job=train.job, step=following, data={"reward": 7.0, "unscored_rate": 0.25})
                if rewarded:
                    paid = _rollouts(experiment, train, experiment.config["train_prompts"][:rewarded], following, 1)
                    _judge(experiment, train, paid, [50.0] * rewarded, purpose="reward")
        Experiment.objects.filter(pk=experiment.pk).update(state="done", ended=timezone.now())
        experiment.refresh_from_db()
        return experiment

    return write


def sampled(experiment: Experiment, step: int, digest: str) -> dict:
    requests = [{"purpose": "eval", "split": "eval"}]
    return {"step": step, "graded_by": digest, "requests": requests, "prompts": {"eval": experiment.config["eval_prompts"]}}


def _stage(experiment: Experiment, number: int, kind: str, key: str, arguments: dict, outcome: dict | None = None) -> Stage:
    job = experiment.jobs.create(key=key, kind="sample", folder="/nowhere", state="done")
    return experiment.stages.create(number=number, kind=kind, key=key, arguments=arguments, outcome=outcome or {}, job=job, ended=timezone.now())


def _rollouts(experiment: Experiment, stage: Stage, prompts: list[int], step: int, each: int) -> list[int]:
    rows: list[dict[str, Any]] = [
        {"prompt": p, "step": step, "index": i, "completion": "x", "content": f"{p} {i}"} for p in prompts for i in range(each)
    ]
    queue.record_rollouts(experiment.domain, str(stage.job), rows)
    found = {(r.prompt_id, r.index): r.pk for r in Rollout.objects.filter(run=str(stage.job))}
    return [found[row["prompt"], row["index"]] for row in rows]


def _grades(stage: Stage, digest: str, ids: list[int], scores: list | None) -> None:
    rows = [{"id": pk, "sample": 0, "score": score} for pk, score in zip(ids, scores or [], strict=False)]
    queue.record_proxy_grades(str(stage.job), digest, rows)


def _judge(experiment: Experiment, stage: Stage, ids: list[int], scores: list[float], purpose: str = "") -> None:
    stage.batch = queue.select_batch(
        key=f"{experiment.name}/{stage.key}/{purpose}",
        title=stage.key,
        domain=experiment.domain,
        expert=experiment.expert,
        purpose="reward",
        rollouts=[],
        experiment=experiment.name,
    )
    queue.record_reward_verdicts(stage.batch, [{"id": pk, "score": score, "critique": "Words."} for pk, score in zip(ids, scores, strict=True)])
    type(stage.batch).objects.filter(pk=stage.batch.pk).update(purpose=purpose or stage.arguments["purpose"])
    stage.save()


@pytest.fixture
def results(by_hand) -> dict[str, Any]:
    """Ceiling 40 -> 80 with 2 x 10 samples; distillation 40 -> 70 with 4; the weak proxy 40 -> 30 while it thinks 20 -> 45."""
    base = [40.0, 40.0, 39.0, 41.0]
    ceiling = by_hand(
        "ceiling", "ceiling", {0: (base, None, None, 0), 2: ([60.0] * 4, None, None, 0), 4: ([80.0, 80.0, 79.0, 81.0], None, None, 0)}, 10
    )
    # before: against the expert within prompt 2 (39, 41): the proxy says 50, 30, so -1; prompt 1 has no variance. After: 30, 50, so 1
    full = by_hand(
        "full", "full-trace", {0: (base, [50.0, 30.0, 50.0, 30.0], [30.0, 50.0, 30.0, 50.0], 4), 4: ([70.0] * 4, [60.0, None, 62.0, 64.0], None, 0)}
    )
    weak = by_hand("weak", "weak-proxy", {0: (base, [20.0] * 4, None, 0), 4: ([30.0] * 4, [45.0] * 4, None, 0)})
    return report([ceiling, full, weak])


@pytest.mark.django_db
def test_the_numbers_are_those_of_the_rows(results) -> None:
    ceiling, full, weak = results["experiments"]
    assert (ceiling["training_samples"], full["training_samples"], weak["training_samples"]) == (20, 4, 8)
    assert full["samples"] == {"eval": 8, "initial": 4}
    assert full["expert_reward"]["base"]["value"] == 40
    assert full["expert_reward"]["final"]["value"] == 70
    # (70 - 40) / (80 - 40)
    assert full["pgr"]["value"] == pytest.approx(0.75)
    assert full["pgr"]["ceiling"] == "ceiling"
    assert weak["pgr"]["value"] == pytest.approx(-0.25)
    assert ceiling["pgr"] is None
    assert full["efficiency"]["ratio"] == 20 / 4
    # the ceiling was at 60 after 10 and at 80 after 20: at 70 after 15
    assert full["efficiency"]["matched_samples"] == 15
    assert full["efficiency"]["matched_ratio"] == full["efficiency"]["matched"]["value"] == 15 / 4
    (realignment,) = full["realignments"]
    assert realignment["before"]["value"] == pytest.approx(-1)
    assert realignment["after"]["value"] == pytest.approx(1)
    assert realignment["change"]["value"] == pytest.approx(2)
    assert realignment["learnt_from"] == 4
    # 30, 50, 30, 50 by the version that then rewarded; 60, 62, 64 at the end, one unscored
    assert full["proxy_reward"]["base"]["value"] == 40
    assert full["proxy_reward"]["final"]["value"] == 62
    # 12 traces, one without a score
    assert full["unscored_rate"] == {"evaluation": pytest.approx(full["unscored_rate"]["evaluation"]), "training": 0.25}
    assert full["unscored_rate"]["evaluation"]["value"] == pytest.approx(1 / 12)
    assert weak["expert_reward"]["best"]["step"] == 0


@pytest.mark.django_db
def test_rounds_and_curve_follow_the_looks(results) -> None:
    _, full, _ = results["experiments"]
    assert [(r["purpose"], r["step"], r["samples"]) for r in full["rounds"]] == [("initial", 0, 4), ("eval", 4, 4)]
    assert full["rounds"][0]["expert_reward_next"]["value"] == 70
    assert full["rounds"][0]["unique_rate"] == 1.0
    assert [look["step"] for look in full["curve"]["looks"]] == [0, 4]
    assert full["curve"]["realignments"] == [0]
    assert full["curve"]["rl"] == [{"step": 4, "reward": 7.0}]


@pytest.mark.django_db
def test_it_is_json_and_a_table(results) -> None:
    import json

    assert json.loads(json.dumps(results, allow_nan=False)) == results
    text = tables(results)
    assert "75%" in text
    assert "5.0x" in text
    assert "3.8x" in text


@pytest.mark.django_db
def test_csv_and_markdown_say_the_same(results) -> None:
    import csv
    from io import StringIO

    lines = list(csv.DictReader(StringIO(as_csv(results))))
    assert [line["name"] for line in lines] == ["ceiling", "full", "weak"]
    assert float(lines[1]["pgr.value"]) == results["experiments"][1]["pgr"]["value"]
    assert (lines[0]["pgr.value"], lines[1]["samples.initial"]) == ("", "4")
    written = markdown(results)
    assert "| full | full-trace distillation |" in written
    assert "75% [" in written


@pytest.mark.django_db
def test_the_loop_is_closed_here(results) -> None:
    assert loop_closed(results) == []


@pytest.mark.django_db
def test_what_is_unmet_is_said(results) -> None:
    ceiling, full, weak = results["experiments"]
    full["pgr"]["value"], full["efficiency"]["ratio"] = 0.5, 4.9
    full["realignments"][0]["after"]["value"] = -1.0
    weak["proxy_reward"]["final"]["value"], weak["expert_reward"]["final"]["value"] = 20.0, 41.0
    ceiling["state"], ceiling["note"] = "failed", "The disk is full."
    assert loop_closed(results) == [
        "ceiling is failed: The disk is full.",
        "weak: the weak proxy's reward did not rise (+0.0).",
        "weak: expert reward did not fall under the weak proxy (+1.0).",
        "full: PGR is 50%, and at least 60% was expected.",
        "full: it did not get by with 5 times fewer expert samples than the ceiling.",
        "full: realigning did not raise the proxy's alignment.",
    ]
    assert loop_closed({"experiments": [full]})[:2] == ["There is no ceiling experiment.", "There is no weak-proxy experiment."]


@pytest.mark.django_db
def test_alone_it_is_measured_against_the_latest_ceiling_that_is_done(results) -> None:
    full = Experiment.objects.get(name="full")
    assert report([full])["experiments"][0]["pgr"] == results["experiments"][1]["pgr"]
    assert recovered(full).value == pytest.approx(0.75)
    assert recovered(Experiment.objects.get(name="ceiling")).note == "this is the ceiling itself"
    Experiment.objects.filter(name="ceiling").update(state="failed")
    assert recovered(full).note == "no ceiling experiment of this domain is done yet"
    assert report([full])["experiments"][0]["pgr"] is None


@pytest.mark.django_db
def test_one_that_has_not_started_or_not_got_far_is_reported_as_far_as_it_is(make) -> None:
    draft = make(name="draft")
    started = make(name="started")
    with dispatch.inline():
        actions.start(started)
        started.refresh_from_db()
    entries = report([draft, started])["experiments"]
    assert [e["expert_reward"] for e in entries] == [{"base": None, "final": None, "best": None}] * 2
    assert "draft" in tables({"experiments": entries})
