"""People, texts and experiments in all states, for tests that look at pages. The numbers are made up; the rows are as the real parts write them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import Group, User
from django.utils import timezone

from annotation import actions as annotation
from annotation import roles
from annotation.models import Batch, Domain, Expert, Feedback, Prompt, Rollout
from training import presets, protocol
from training.domains import load_pocket
from training.models import Checkpoint, Experiment, Job, Measurement, ProxyVersion, Stage, StepMetric, Suite
from training.pocket.language import write_story
from training.start import freeze, generative, in_process, trace_format
from training.suite.plan import Arm, planned

PASSWORD = "a password for tests"
GUIDELINES = """\
Read the whole story before you write.

- **Name what is there.** “The last line answers the first” teaches; “good ending” does not.
- Judge the story against its task, not against your taste.
- A story that breaks off gets at most 20.

Use the whole scale: 50 is a story you would finish, 80 one you would pass on.
"""
HOSTILE = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'> & {{ 7|add:7 }}"
LEDGER = """\
Every keeper of Skarn light had written in the same ledger, and every keeper had lied in it. Odile found this out on her ninth night, when \
she held the lamp close and saw that the entry for the fourteenth of March, 1911, had been scraped from the page with a knife and written \
again in a hand that leaned the other way.

“Wind north-west. All well.” She turned back a year, then ten. The scraped entries fell on no pattern she could name, but each of them ended \
alike: all well, all well, in ink a shade younger than its neighbours.

She told the supply boat. The boatman shrugged and counted out her paraffin. “They were tired men,” he said. “Tired men write what the \
office wants.” But Odile knew, deep in her heart, that the sea itself was hiding a terrible secret.

On the eleventh night the lamp went out at ten past two, and she sat beside it with the matches in her lap for as long as it takes to boil \
an egg, listening. Then she lit it, and took up the pen, and looked for some time at the clean line waiting for her.

Wind north-west, she wrote. Lamp dark four minutes. Nobody called.
"""
METHODS = {"pocket-ceiling": "Ceiling", "pocket-weak-proxy": "Weak proxy", "pocket-full-trace": "Full-trace distillation"}
TASK = "Write an engaging, original short story of about 1,000 words. Suggested topic: the lighthouse ledger."


@dataclass
class Scenery:
    """Who and what there is."""

    people: dict[str, User] = field(default_factory=dict)
    domain: Domain = field(default_factory=Domain)
    panel: Expert = field(default_factory=Expert)
    program: Expert = field(default_factory=Expert)


@cache
def password_hash() -> str:
    """As the real site hashes it: the web server of the browser tests does not know the tests' quick hasher."""
    hasher = PBKDF2PasswordHasher()
    return hasher.encode(PASSWORD, hasher.salt())


def people() -> dict[str, User]:
    """One of each role, a second researcher and expert, and an outsider without any."""
    wanted = {
        "rosalind": roles.RESEARCHER,
        "rahel": roles.RESEARCHER,
        "edith": roles.EXPERT,
        "emil": roles.EXPERT,
        "olga": None,
    }
    made = {name: User.objects.create(username=name, password=password_hash()) for name in wanted}
    for name, role in wanted.items():
        if role:
            made[name].groups.add(Group.objects.get_or_create(name=role)[0])
    made["ada"] = User.objects.create(username="ada", password=password_hash(), is_superuser=True, is_staff=True)
    return made


def build() -> Scenery:
    """People, the pocket domain with its prompts, a panel of two experts and the program."""
    found = people()
    domain, program = load_pocket()
    Domain.objects.filter(pk=domain.pk).update(guidelines=GUIDELINES, score_anchors=["incoherent", "competent", "publishable"])
    domain.refresh_from_db()
    panel = Expert.objects.create(alias="panel", name="The panel", kind=Expert.Kind.HUMAN)
    panel.members.set([found["edith"], found["emil"]])
    return Scenery(found, domain, panel, program)


def ledger_batch(scenery: Scenery, content: str = LEDGER, key: str = "ledger", title: str = "Ledger") -> Batch:
    """Three long stories for the panel in a domain of their own."""
    domain, _ = Domain.objects.get_or_create(
        slug="short-stories",
        defaults={
            "name": "Short stories",
            "generation_prompt": "Write a story about {TOPIC}.",
            "grading_prompt": "Judge {CONTENT} against {INSTRUCTIONS}.",
            "guidelines": GUIDELINES,
            "score_anchors": ["incoherent", "competent", "publishable"],
        },
    )
    prompt, _ = Prompt.objects.get_or_create(
        domain=domain, digest="ledger", defaults={"split": "train", "text": TASK, "variables": {"TOPIC": "the lighthouse ledger"}}
    )
    rows = [{"prompt": prompt.pk, "step": 0, "index": i, "completion": content, "content": content} for i in range(3)]
    annotation.record_rollouts(domain, key, rows)
    return annotation.select_batch(
        key=key,
        title=title,
        domain=domain,
        expert=scenery.panel,
        purpose="initial",
        rollouts=list(Rollout.objects.filter(run=key).values_list("pk", flat=True)),
        strategy="max-variance",
        seed=1,
        note="Chosen where the proxy is least sure.",
    )


def stories(scenery: Scenery, run: str, step: int, split: str, prompts: int, each: int, rng: Random, quality: float) -> list[Rollout]:
    """Rollouts of `run`: as many prompts, `each` of each."""
    rows = []
    for prompt in Prompt.objects.filter(domain=scenery.domain, split=split)[:prompts]:
        for index in range(each):
            text = write_story(rng, prompt.variables["OBJECT"], prompt.variables["PLACE"], quality)
            rows.append({"prompt": prompt.pk, "step": step, "index": index, "completion": text, "content": text, "tokens": len(text.split())})
    annotation.record_rollouts(scenery.domain, run, rows)
    return list(Rollout.objects.filter(run=run, step=step, prompt__split=split).select_related("prompt"))


def judged(scenery: Scenery, experiment: Experiment, key: str, purpose: str, rollouts: list[Rollout], rng: Random, mean: float) -> Batch:
    """A finished batch of the program's verdicts."""
    batch = Batch.objects.create(
        domain=scenery.domain, expert=experiment.expert, key=f"{experiment.name}/{key}", title=key, purpose=purpose, experiment=experiment.name
    )
    rows = []
    for rollout in rollouts:
        score = float(min(100, max(0, round(rng.gauss(mean, 14) / 2) * 2)))
        verdict = {
            "score": score,
            "critique": "lantern kept 4, 4. Mia stays 4, 8. order slips 3, 11. flood half solved 5, 16.",
            "deliberation": "33 of 50.",
            "raw": "",
        }
        rows.append({"id": rollout.pk, **verdict})
    annotation.record_reward_verdicts(batch, rows)
    return annotation.close_batch(batch, reason="all verdicts are in")


def experiment(scenery: Scenery, owner: str, name: str, title: str, preset: str, expert: Expert, **changes: object) -> Experiment:
    """A draft whose plan is that of the preset."""
    plan = replace(presets.PRESETS[preset], **changes)
    return Experiment.objects.create(
        name=name,
        title=title,
        domain=scenery.domain,
        expert=expert,
        policy="/models/pocket",
        seed=11,
        sample_budget=2816,
        config={"plan": plan.to_dict(), "grading_prompt": scenery.domain.grading_prompt, "format": trace_format(scenery.domain)},
        owner=scenery.people[owner],
    )


def judge(found: Experiment, *prompts: str, by_task: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """A proxy that writes traces, as its version's row has it."""
    return generative(found, in_process("/models/pocket"), list(prompts) or [found.config["grading_prompt"]], by_task)


def running(scenery: Scenery, name: str = "stories", owner: str = "rosalind", looks: int = 3) -> Experiment:
    """A full-trace distillation some way on: measured at `looks` steps, with proxies, jobs, RL metrics and rollouts with traces."""
    rng = Random(5)
    found = experiment(scenery, owner, name, "Stories, full-trace distillation", "pocket-full-trace", scenery.program, steps=90, segment=30)
    begun = timezone.now() - timedelta(minutes=9)
    Experiment.objects.filter(pk=found.pk).update(
        state="running", note=f"RL on the policy with proxy v{looks + 1}: steps {30 * looks - 30} to {30 * looks}.", started=begun, created=begun
    )
    parent = ProxyVersion.objects.create(experiment=found, number=1, method="baseline", judge=judge(found), digest="a1" * 32)
    Checkpoint.objects.create(experiment=found, step=0, path="/models/pocket", digest="c0" * 32)
    for round_ in range(looks):
        parent = _round(scenery, found, round_, parent, rng, last=round_ == looks - 1)
    for i, verb in enumerate(["created", "started"]):
        from annotation.models import AuditEntry

        AuditEntry.objects.create(actor=found.owner, verb=verb, target=f"experiment:{name}", at=begun + timedelta(seconds=4 * i))
    found.refresh_from_db()
    return found


def _round(scenery: Scenery, found: Experiment, round_: int, parent: ProxyVersion, rng: Random, last: bool) -> ProxyVersion:
    step, reward = 30 * round_, [47.0, 66.0, 78.0, 84.0][round_]
    at = (found.started or found.created) + timedelta(minutes=2 * round_)
    sample = _job(found, f"sample-{step}", "sample", at, 600)
    rollouts = stories(scenery, str(sample), step, "eval", 12, 4, rng, 0.3 + 0.2 * round_)
    pool = stories(scenery, str(sample), step, "train", 8, 4, rng, 0.3 + 0.2 * round_)
    for rollout in rollouts[:24]:
        rows = [
            {
                "id": rollout.pk,
                "sample": i,
                "score": rng.choice([60.0, 64.0, 66.0, 70.0, 72.0, 74.0, 78.0] * 8 + [None]),
                "critique": "lantern kept 4, 4. order holds 9, 13.",
                "deliberation": "35 of 50.",
            }
            for i in range(2)
        ]
        for row in rows:
            if row["score"] is None:
                row |= {"critique": "", "deliberation": "", "raw": "lantern kept 4, 4. order holds 9", "unscored_reason": "cut off before the score"}
        annotation.record_proxy_grades(str(sample), parent.digest, rows)
    look = judged(scenery, found, f"ask-eval-{step}", "eval", rollouts, rng, reward)
    teach = judged(scenery, found, f"ask-teach-{step}", "initial" if step == 0 else "update", pool, rng, reward)
    stage = Stage.objects.create(
        experiment=found, number=10 * round_, kind="ask", key=f"ask-eval-{step}", arguments={"step": step}, outcome={}, batch=look
    )
    _measure(found, stage, step, parent, "expert_reward", reward, 2.8, proxy=False)
    _measure(found, stage, step, parent, "proxy_reward", reward + rng.uniform(2, 8), 1.9, when="before")
    _measure(found, stage, step, parent, "alignment", 0.44 + rng.uniform(-0.05, 0.05), 0.08, when="before")
    _measure(found, stage, step, parent, "unscored_rate", 0.012, 0.006, when="before")
    _measure(found, stage, step, parent, "unique_rate", 0.98, 0.0, proxy=False)
    distil = _job(found, f"realign-{step}", "distil", at + timedelta(seconds=30), 120)
    version = ProxyVersion.objects.create(
        experiment=found,
        number=parent.number + 1,
        method="full-trace",
        step=step,
        judge=judge(found),
        digest=f"{parent.number + 1:x}b" * 32,
        parent=parent,
        job=distil,
    )
    version.feedback.set(Feedback.objects.filter(item__batch=teach))
    grade = Stage.objects.create(experiment=found, number=10 * round_ + 1, kind="grade", key=f"grade-{step}", arguments={"step": step}, outcome={})
    _measure(found, grade, step, version, "alignment", 0.63 + rng.uniform(-0.03, 0.03), 0.06, when="after")
    _measure(found, grade, step, version, "alignment_change", 0.19 + rng.uniform(-0.03, 0.03), 0.03)
    train = _job(found, f"train-{step}", "rl", at + timedelta(seconds=60), 30, done=12 if last else 30)
    for n in range(1, (12 if last else 30) + 1):
        StepMetric.objects.create(
            experiment=found, job=train, step=step + n, data={"reward": reward + 0.55 * n + rng.gauss(0, 2), "unscored_rate": 0.01}
        )
    return version


def _job(found: Experiment, key: str, kind: str, at: object, total: int, done: int | None = None) -> Job:
    ended = None if done is not None and done < total else at + timedelta(seconds=25)
    state = Job.State.DONE if ended else Job.State.RUNNING
    progress = {"done": total if done is None else done, "total": total}
    return Job.objects.create(experiment=found, key=key, kind=kind, folder=f"/nowhere/{key}", state=state, progress=progress, started=at, ended=ended)


def _measure(
    found: Experiment, stage: Stage, step: int, of: ProxyVersion, name: str, value: float, half: float, when: str = "", proxy: bool = True
) -> None:
    Measurement.objects.create(
        experiment=found,
        stage=stage,
        name=name,
        step=step,
        proxy=of if proxy else None,
        when=when,
        value=value,
        low=value - half,
        high=value + half,
        samples=480,
    )


def waiting(scenery: Scenery, name: str = "by-hand") -> tuple[Experiment, Batch]:
    """An experiment that waits for the panel, and its batch of six."""
    found = experiment(
        scenery, "rosalind", name, "Stories, judged by the panel", "pocket-full-trace", scenery.panel, strategy="max-variance", initial=6
    )
    Experiment.objects.filter(pk=found.pk).update(
        state="waiting", note="Waiting for the panel: 6 of 6 verdicts are still to come before the proxy is made for step 0.", started=timezone.now()
    )
    ProxyVersion.objects.create(experiment=found, number=1, method="baseline", judge=judge(found), digest="a1" * 32)
    sample = _job(found, "sample-0", "sample", timezone.now(), 48)
    rollouts = stories(scenery, str(sample), 0, "train", 3, 4, Random(3), 0.5)
    batch = annotation.select_batch(
        key=f"{name}/ask-initial-0",
        title=f"{found.title}: initial at step 0",
        domain=scenery.domain,
        expert=scenery.panel,
        purpose="initial",
        rollouts=[rollout.pk for rollout in rollouts[:6]],
        strategy="max-variance",
        experiment=name,
        note="Chosen where the proxy is least sure.",
    )
    found.refresh_from_db()
    return found, batch


def failed(scenery: Scenery, folder: Path, name: str = "broken") -> Experiment:
    """An experiment whose RL job failed, with a log."""
    found = experiment(scenery, "rosalind", name, "Weak proxy, first try", "pocket-weak-proxy", scenery.program)
    advice = "Give the proxy more tokens (Tokens of a trace), or start from a proxy that writes scores; then resume."
    error = "62% of the rollouts of step 7 were unscored, and the plan allows 50%."
    Experiment.objects.filter(pk=found.pk).update(state="failed", note=f"{error} {advice}", started=timezone.now() - timedelta(hours=3))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_text(
        "step 6: reward 61.2, unscored 41%\nstep 7: reward 60.8, unscored 62%\nUnscoredLimit: 62% of the rollouts were unscored\n" + HOSTILE
    )
    Job.objects.create(
        experiment=found,
        key="train-0",
        kind="rl",
        folder=str(folder),
        state="failed",
        progress={"done": 7, "total": 20},
        error=error,
        result={"status": "failed", "error": error, "advice": advice},
        started=timezone.now() - timedelta(hours=3),
        ended=timezone.now() - timedelta(hours=2, minutes=54),
    )
    found.refresh_from_db()
    return found


def compared(scenery: Scenery, name: str = "methods") -> Suite:
    """A suite of Rosalind's in the middle: three methods with two seeds, four of the six runs done."""
    rng = Random(8)
    arms = [Arm(preset.removeprefix("pocket-"), title, preset, plan=presets.PRESETS[preset].to_dict()) for preset, title in METHODS.items()]
    suite = Suite.objects.create(
        name=name,
        title="Three methods",
        domain=scenery.domain,
        expert=scenery.program,
        owner=scenery.people["rosalind"],
        config={
            "arms": [asdict(arm) for arm in arms],
            "seeds": [1, 2],
            "bases": [{"name": "1", "path": "/models/pocket"}],
            "ceiling": "ceiling",
        },
    )
    states = ["done", "done", "done", "done", "failed", "running"]
    for one, state in zip(planned(suite), states, strict=True):
        found = experiment(scenery, "rosalind", one.name, one.name, one.arm.preset, scenery.program)
        found.suite, found.arm, found.base, found.seed, found.state = suite, one.arm.name, "1", one.seed, state
        found.note = "The disk is full. Make room, then resume." if state == "failed" else ""
        found.started = timezone.now() - timedelta(minutes=9)
        if state == "done":
            found.config |= {"format": {}}
            found.best_step = 60
            found.ended = timezone.now()
            _finished(scenery, found, {"ceiling": 20.0, "weak-proxy": -6.0, "full-trace": 17.0}[one.arm.name] + one.seed, rng)
        found.save()
    return suite


def _finished(scenery: Scenery, found: Experiment, gain: float, rng: Random) -> None:
    """Stages of three looks, at each of which expert reward has changed by `gain`."""
    eval_ids = list(Prompt.objects.filter(domain=scenery.domain, split="eval").values_list("pk", flat=True)[:12])
    for step in (0, 30, 60):
        sample = _job(found, f"sample-{step}", "sample", timezone.now(), 48)
        rollouts = stories(scenery, str(sample), step, "eval", 12, 4, rng, 0.5)
        requests, at = [{"purpose": "eval", "split": "eval"}], {"step": step, "graded_by": "a1" * 32}
        _stage(found, "sample", f"sample-{step}", at | {"prompts": {"eval": eval_ids}, "requests": requests}, job=sample)
        look = judged(scenery, found, f"ask-eval-{step}", "eval", rollouts, rng, 45 + gain * step / 30)
        _stage(found, "ask", f"ask-eval-{step}", at | {"purpose": "eval"}, batch=look)
        if found.arm == "ceiling":
            paid = stories(scenery, f"{found.name}/train-{step}", step + 1, "train", 40, 4, rng, 0.5)
            _stage(
                found,
                "train",
                f"train-{step}",
                {"start": step},
                {"step": step + 30},
                batch=judged(scenery, found, f"train-{step}", "reward", paid, rng, 50),
            )
            continue
        scores = {verdict.item.rollout_id: verdict.score for verdict in Feedback.objects.filter(item__batch=look).select_related("item")}
        grades: list[dict[str, Any]] = [
            {"id": pk, "sample": i, "score": (score or 0) / 2 + rng.gauss(25 + step / 3, 8)} for pk, score in scores.items() for i in range(2)
        ]
        annotation.record_proxy_grades(str(sample), "a1" * 32, grades)
        if found.arm == "full-trace" and step < 60:
            pool = stories(scenery, str(sample), step, "train", 4, 4, rng, 0.5)
            lesson = judged(scenery, found, f"ask-teach-{step}", "update" if step else "initial", pool, rng, 50)
            feedback = list(Feedback.objects.filter(item__batch=lesson).values_list("pk", flat=True))
            _stage(found, "realign", f"realign-{step}", {"number": 2 + step // 30, "feedback": feedback, "step": step})
            grade = _job(found, f"grade-{step}", "grade", timezone.now(), 48)
            _stage(found, "grade", f"grade-{step}", {"step": step, "graded_by": "b2" * 32}, job=grade)
            annotation.record_proxy_grades(str(grade), "b2" * 32, [row | {"score": row["score"] / 2 + scores[row["id"]] / 2} for row in grades])


def _stage(found: Experiment, kind: str, key: str, arguments: dict, outcome: dict | None = None, **rest: object) -> None:
    number = found.stages.count() + 1
    found.stages.create(number=number, kind=kind, key=key, arguments=arguments, outcome=outcome or {}, ended=timezone.now(), **rest)


def played(found: Experiment, means: dict[str, float], until: str) -> None:
    """Stages as the protocol asks for them, each with an outcome, up to the one with the key `until`, which is open. `means`: scores by Ask's key."""
    found.config |= freeze(found)
    found.save()
    ended: list[tuple[str, dict[str, Any]]] = []
    while not isinstance(stage := protocol.next_stage(found.plan, ended), protocol.Finish):
        row = found.stages.create(number=len(ended) + 1, kind=type(stage).__name__.lower(), key=stage.key, arguments=asdict(stage))
        if stage.key == until:
            return
        match stage:
            case protocol.Ask():
                row.outcome = {"samples": stage.count, "mean": means[stage.key], "error": 1.5, "deviation": 12.0}
            case protocol.Train():
                row.outcome = {"step": stage.stop}
            case _:
                row.outcome = {}
        row.ended = timezone.now()
        row.save()
        ended.append((stage.key, row.outcome))


def prompted(scenery: Scenery, name: str = "rubric") -> Experiment:
    """Rubric prompts: searched for at step 0, over-optimised by step 80, searched for again, and on again from step 40."""
    rng = Random(6)
    found = experiment(scenery, "rosalind", name, "Stories, rubric prompts", "pocket-rubric", scenery.program)
    means = {"ask-eval-0": 47.0, "ask-initial-0": 46.5, "ask-validation-0": 47.2, "ask-eval-40": 62.0, "ask-check-40": 61.4}
    means |= {"ask-eval-80": 55.0, "ask-check-80": 54.1, "ask-update-80": 60.8, "ask-validation-80": 61.0}
    played(found, means, until="train-80")
    note = "RL from step 80 to 120 from the checkpoint at step 40, rewarded by proxy version 3."
    Experiment.objects.filter(pk=found.pk).update(state="running", note=note, started=timezone.now() - timedelta(minutes=9))
    parent = ProxyVersion.objects.create(experiment=found, number=1, method="baseline", judge=judge(found), digest="a1" * 32)
    for key, mean in means.items():
        _, purpose, at = key.split("-")
        if purpose in ("eval", "check"):
            stage = found.stages.get(key=key)
            _measure(found, stage, int(at), parent, "expert_reward" if purpose == "eval" else "check_reward", mean, 2.9, proxy=False)
    for step, reward, before in ((0, 52.0, 0.41), (40, 68.0, 0.5), (80, 83.0, 0.29)):
        stage = found.stages.get(key=f"ask-eval-{step}")
        _measure(found, stage, step, parent, "proxy_reward", reward, 1.9, when="before")
        _measure(found, stage, step, parent, "alignment", before, 0.08, when="before")
    for step, kl, unique in ((0, None, 0.99), (40, 0.041, 0.98), (80, 0.62, 0.86)):
        stage = found.stages.get(key=f"sample-{step}")
        _measure(found, stage, step, parent, "unique_rate", unique, 0.0, proxy=False)
        if kl is not None:
            _measure(found, stage, step, parent, "kl", kl, 0.0, proxy=False)
    for step in (0, 80):
        parent = _searched(scenery, found, step, parent, rng)
    train = _job(found, "train-80", "rl", timezone.now(), 40, done=8)
    metrics = []
    for n in range(1, 89):
        row = {"reward": 44 + n / 2 + rng.gauss(0, 2), "reward_std": max(3.0, 15 - n / 6), "length": 52 + n / 3, "unscored_rate": 0.0}
        metrics.append(StepMetric(experiment=found, job=train, step=n, data=row | {"unique_rate": 1 - n / 400}))
    StepMetric.objects.bulk_create(metrics)
    found.refresh_from_db()
    return found


def _searched(scenery: Scenery, found: Experiment, step: int, parent: ProxyVersion, rng: Random) -> ProxyVersion:
    """A version made of the best two of four rubrics, one of which could not be used."""
    job = _job(found, f"search-{step}", "search", timezone.now(), 480)
    stage, purpose = found.stages.get(key=f"search-{step}"), "update" if step else "initial"
    stage.job, stage.outcome = job, {"proxy": parent.number + 1, "chosen": [1, 3], "examples": 8}
    stage.save()
    texts = stories(scenery, f"{found.name}/fresh-{step}", step, "train", 2, 4, rng, 0.5)
    feedback = list(Feedback.objects.filter(item__batch=judged(scenery, found, f"ask-{purpose}-{step}", purpose, texts, rng, 50)))
    rubrics = [
        f"Count what the story keeps of its task first, then order, then the end. Rubric {n}.\n{found.config['grading_prompt']}" for n in (1, 2, 3)
    ]
    for number, value in ((0, 0.41), (1, 0.58), (2, None), (3, 0.55)):
        scores = {str(text.pk): 50.0 for text in texts} if value else {}
        note = "" if value else "The written prompt lacks {CONTENT}."
        bounds = {"value": value, "low": value and value - 0.1, "high": value and value + 0.1, "samples": 80 if value else 0, "note": note}
        prompts = [rubrics[number - 1] if number else found.config["grading_prompt"]] if value else []
        candidate = stage.candidates.create(number=number, prompts=prompts, scores=scores, chosen=number in (1, 3), words="I weighed them.", **bounds)
        candidate.feedback.set(feedback if number else [])
    version = ProxyVersion.objects.create(
        experiment=found,
        number=parent.number + 1,
        method="rubric",
        step=step,
        judge=judge(found, rubrics[0], rubrics[2]),
        digest=f"{parent.number + 1:x}d" * 32,
        parent=parent,
        job=job,
    )
    version.feedback.set(feedback)
    return version


def to_be_written(scenery: Scenery, name: str = "by-prompt", content: str = "") -> Experiment:
    """Rubric prompts by the panel: its verdicts are in, and a person has to write the grading prompt. `content`: of the first text."""
    rng = Random(4)
    found = experiment(
        scenery, "rosalind", name, "Stories, rubric of our own", "pocket-rubric", scenery.panel, initial=8, validation_prompts=2, check=4
    )
    means = {"ask-eval-0": 47.0, "ask-initial-0": 46.5, "ask-validation-0": 47.2}
    played(found, means, until="search-0")
    note = "Waiting for a person to write a grading prompt for step 0, from the expert's feedback."
    Experiment.objects.filter(pk=found.pk).update(state="waiting", note=note, started=timezone.now())
    proxy = ProxyVersion.objects.create(experiment=found, number=1, method="baseline", judge=judge(found), digest="a1" * 32)
    sample = _job(found, "fresh-0", "sample", timezone.now(), 8)
    texts = stories(scenery, str(sample), 0, "train", 2, 4, rng, 0.5)
    if content:
        Rollout.objects.filter(pk=texts[0].pk).update(content=content)
    words = {"critique": "lantern kept 4, 4. order holds 9, 13.", "deliberation": "35 of 50."}
    grades = [{"id": text.pk, "sample": i, "score": rng.choice([62.0, 70.0, 74.0]), **words} for text in texts for i in range(2)]
    annotation.record_proxy_grades(str(sample), proxy.digest, grades)
    for purpose, rollouts in (("initial", texts), ("validation", stories(scenery, str(sample), 0, "eval", 2, 4, rng, 0.5))):
        asked = found.stages.get(key=f"ask-{purpose}-0")
        asked.batch = judged(scenery, found, asked.key, purpose, rollouts, rng, 48)
        asked.save()
    found.refresh_from_db()
    return found


def rewritten(scenery: Scenery, folder: Path, name: str = "context") -> Experiment:
    """Context distillation: one version, taught the traces in `folder` of which some gave their source away, with alignment by samples seen."""
    rng = Random(2)
    found = experiment(scenery, "rosalind", name, "Stories, feedback only", "pocket-context-feedback", scenery.program)
    played(found, {"ask-eval-0": 47.0, "ask-initial-0": 46.5}, until="grade-0")
    note = "Proxy version 2 grades the evaluation rollouts of step 0 again."
    Experiment.objects.filter(pk=found.pk).update(state="running", note=note, started=timezone.now())
    first = ProxyVersion.objects.create(experiment=found, number=1, method="baseline", judge=judge(found), digest="a1" * 32)
    texts = stories(scenery, f"{found.name}/sample-0", 0, "train", 2, 4, rng, 0.5)
    lesson = list(Feedback.objects.filter(item__batch=judged(scenery, found, "ask-initial-0", "initial", texts, rng, 50)))
    rewrite, realign = (_job(found, f"{kind}-0", job, timezone.now(), 8) for kind, job in (("rewrite", "rewrite"), ("realign", "distil")))
    for job in (rewrite, realign):
        job.folder = str(folder / job.key)
        job.path.mkdir(parents=True, exist_ok=True)
        job.save()
    leak = "<critique>As the expert says, order slips.</critique><score>40</score>"
    kept = "<critique>lantern kept 4, 4. order slips 3, 7.</critique><deliberation>33 of 50.</deliberation><score>66</score>"
    rows = [
        {"id": feedback.pk, "sample": i, "raw": leak if i == 0 else kept, "score": 66, "kept": i > 0, "reason": "" if i else "leak"}
        for feedback in lesson
        for i in range(4)
    ]
    (rewrite.path / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    probes = [{"samples": n, "alignment": {"value": v, "low": v - 0.1, "high": v + 0.1, "note": ""}} for n, v in ((0, 0.4), (12, 0.33), (24, 0.6))]
    (realign.path / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in probes))
    stage = found.stages.get(key="rewrite-0")
    stage.job, stage.outcome = rewrite, {"examples": 8, "kept": 24, "tried": 32, "rejected": {"leak": 8}}
    stage.save()
    made = ProxyVersion.objects.create(
        experiment=found, number=2, method="context-feedback", step=0, judge=judge(found), digest="2c" * 32, parent=first, job=realign
    )
    made.feedback.set(lesson)
    found.refresh_from_db()
    return found


def everything(folder: Path) -> Scenery:
    """All of it: what the screenshots show."""
    scenery = build()
    running(scenery)
    waiting(scenery)
    failed(scenery, folder / "train-0")
    prompted(scenery)
    to_be_written(scenery)
    rewritten(scenery, folder)
    experiment(scenery, "rosalind", "later", "Ceiling, for comparison", "pocket-ceiling", scenery.program)
    experiment(scenery, "rahel", "hers", "Somebody else's", "pocket-full-trace", scenery.program, steps=90, segment=30)
    ledger_batch(scenery)
    return scenery
