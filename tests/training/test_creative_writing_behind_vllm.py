"""Every protocol from end to end on the ready domain of creative writing: tiny real models, a real vLLM that has the proxies, an expert behind a
server. What is looked at is who wrote what; the words mean nothing."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from annotation import ready
from annotation.models import Domain, Expert, ProxyGrade
from grading.parsing import write_trace
from grading.prompts import GradingPrompt, fill
from grading.realign import context
from grading.serving import Server
from grading.types import Case, Message, TraceFormat
from tests.engine.conftest import run_job, write_rows
from tests.engine.judges import polite
from tests.grading.servers import vllm
from tests.grading.servers.openai import ScriptedOpenAI
from tests.grading.tiny import save_tiny_model
from training import actions, budget, drive, protocol
from training.engine.artifacts import digest
from training.models import Experiment
from training.serving import SERVED

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.vllm, pytest.mark.training, pytest.mark.slow]

FIELDS = ready.read("creative-writing").fields
RUBRIC = f"{FIELDS['grading_prompt']}\n\nA longer story is worth more."
FORMAT = TraceFormat()
# A look is 2 prompts x 2 rollouts, an RL step too. Nothing ends it early: neither traces that cannot be read, nor falling rewards.
TINY: dict[str, Any] = {"steps": 1, "segment": 1, "eval_prompts": 2, "eval_rollouts": 2, "per_prompt": 2, "prompts_per_step": 2, "group": 2}
TINY |= {"policy_max_tokens": 24, "proxy_max_tokens": 48, "proxy_temperature": 0.7, "unscored_limit": 1.0, "stop_after_falls": 0}
LESSONS = {"initial": 4, "update": 4, "replay": 4, "epochs": 1, "update_epochs": 1, "distil_batch": 4, "lora": 4}
PROMPTED = {"initial": 4, "update": 4, "shown": 1, "search": 2, "keep": 1, "validation_prompts": 1, "validation_rollouts": 4, "check": 2}
CALLS = {"calls": 12, "validation_prompts": 2}


def story(rng: random.Random) -> str:
    return " ".join(rng.choice(("Mia had a key.", "Tom went home.", "It rained.", "It was a good day.")) for _ in range(rng.randint(1, 4)))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has learnt the form of the domain's stories and traces: it is the policy, and the proxy's model."""
    rng, rows = random.Random(0), []
    for number in range(64):
        asked = fill(FIELDS["generation_prompt"], {"TOPIC": f"Moths, {number}"})
        case = Case(asked, story(rng))
        trace = write_trace(rng.choice(("It holds together.", "It is slack.")), "Fair.", rng.randint(10, 90), FORMAT)
        plain, rubric = (GradingPrompt(words).render(case, FORMAT) for words in (FIELDS["grading_prompt"], RUBRIC))
        grading = (plain, rubric, context.request("", plain, verdict(case.content)))[number % 3]
        rows += [{"prompt": asked, "completion": f"<story>{case.content}</story>"}, {"prompt": grading, "completion": trace}]
    folder = tmp_path_factory.mktemp("base")
    corpus = [row["prompt"] + row["completion"] for row in rows]
    model = save_tiny_model(folder / "random", width=128, positions=4096, spread=0.02, corpus=corpus)
    write_rows(folder / "examples.jsonl", rows)
    sft = {"epochs": 4, "learning_rate": 4e-3, "batch": 4}
    job = {"kind": "distil", "name": "test/base", "seed": 1, "model": str(model), "sft": sft, "examples": "examples.jsonl"}
    (folder / "job.json").write_text(json.dumps(job))
    done = run_job(folder)
    assert done.returncode == 0, done.stderr
    return folder / "proxy"


@pytest.fixture(scope="module")
def server(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[vllm.VLLM]:
    with vllm.running(base, tmp_path_factory.mktemp("vllm"), *vllm.LORA, "--max-model-len", "4096") as server:
        yield server


@pytest.fixture
def editor() -> Iterator[ScriptedOpenAI]:
    """The expert: who judges stories by their length, writes grading prompts, and improves prompts."""
    with ScriptedOpenAI().running() as server:
        server.script = lambda body, index: {"message": {"role": "assistant", "content": answer(body["messages"])}, "finish_reason": "stop"}
        yield server


def answer(messages: list[dict[str, str]]) -> str:
    asked = messages[-1]["content"]
    if "<grading_prompt>" in asked:
        return f"<grading_prompt>{RUBRIC}</grading_prompt>"
    if "Write a better prompt" in asked:
        return polite([Message("user", asked)], 1)
    return verdict(re.findall(r"<text>\n(.*?)\n</text>", asked, re.DOTALL)[-1])


def verdict(text: str) -> str:
    words = len(text.split())
    return write_trace(f"It has {words} words.", "Longer is better.", min(100, 4 * words), FORMAT)


Run = Callable[..., Experiment]


@pytest.fixture
def run(rosa, settings, server: vllm.VLLM, base: Path, editor: ScriptedOpenAI) -> Run:
    """run("rubric", search=3): to its end, with the real engine."""
    settings.TRAINING_ENGINE = "training.engine"
    settings.VLLM_PROXY_URL = server.url
    model = {"backend": "grading.models.openai.OpenAIModel", "options": {"base_url": f"{editor.url}/v1", "model": "tiny"}}
    entry = {"BACKEND": "grading.graders.Grader", "OPTIONS": {"prompts": [FIELDS["grading_prompt"]], "model": model}}
    settings.EXPERTS = settings.EXPERTS | {"editor": entry}
    expert = Expert.objects.create(alias="editor", name="The editor", kind=Expert.Kind.LLM, backend="editor")
    call_command("load_domain", "creative-writing")
    domain = Domain.objects.get(slug="creative-writing")
    for split, kept in (("train", 4), ("eval", 2)):  # some protocols ask about every prompt
        rows = domain.prompts.filter(split=split)
        rows.exclude(pk__in=rows.values_list("pk", flat=True)[:kept]).delete()

    def run(method: str, *, proxy_version: Any = None, **plan: Any) -> Experiment:
        changes = {"protocol": method, **TINY, **plan}
        experiment = actions.create_experiment(
            name=method, owner=rosa, domain=domain, expert=expert, changes=changes, policy=str(base), proxy_version=proxy_version
        )
        experiment = drive.drive(actions.start(experiment).pk)
        assert experiment.state == Experiment.State.DONE, experiment.note
        assert all(metric.data["unscored_rate"] < 1 for metric in experiment.step_metrics.all())
        return experiment

    return run


def models(experiment: Experiment) -> list[dict[str, Any]]:
    """What the model of each proxy version is, as jobs are told."""
    return [version.judge["options"]["model"] for version in experiment.proxies.order_by("number")]


def graded(experiment: Experiment, number: int) -> dict[str, int]:
    """How many traces version `number` wrote, by the stage that asked for them."""
    version = experiment.proxies.get(number=number)
    rows = ProxyGrade.objects.filter(proxy=version.digest, run__startswith=f"{experiment.name}/").values_list("run", flat=True)
    return {run.partition("/")[2]: list(rows).count(run) for run in rows}


def served(server: vllm.VLLM) -> dict[str, str]:
    return asyncio.run(Server(f"{server.url}/v1").models())


def on_base(server: vllm.VLLM, base: Path) -> dict[str, Any]:
    return {"backend": SERVED, "options": {"base_url": f"{server.url}/v1", "path": str(base)}}


def test_full_trace_and_retraining_on_its_last_proxy(run: Run, server: vllm.VLLM, base: Path) -> None:
    first = run("full-trace", **LESSONS, steps=2, probes=2)
    assert budget.spent(first) == {"eval": 3 * 4, "initial": 4, "update": 4}
    second, third = first.proxies.filter(number__gt=1)
    assert (second.parent.number, second.parent.method, third.parent) == (1, "baseline", second)
    assert [version.feedback.count() for version in (second, third)] == [4, 8]
    realigned = [first.jobs.get(key=key) for key in ("realign-0", "realign-1")]
    names = [f"full-trace-v{number}-{job.result['model']['digest'][:12]}" for number, job in enumerate(realigned, 2)]
    folders = [str(realigned[0].path / "adapter"), str(realigned[1].path / "served")]  # the second is on top of the first
    own = [{"adapter": folder, "name": name} for folder, name in zip(folders, names, strict=True)]
    assert models(first) == [on_base(server, base) | {"options": on_base(server, base)["options"] | more} for more in ({}, *own)]
    assert served(server).items() >= dict(zip(names, folders, strict=True)).items()
    assert graded(first, 1) == {"sample-0": 8}
    assert graded(first, 2) == {"grade-0": 8, "train-0": 8, "sample-1": 8}
    assert graded(first, 3) == {"grade-1": 8, "train-1": 8, "sample-2": 8}
    again = run("retrain", proxy_version=third)
    assert budget.spent(again) == {"eval": 2 * 4}
    assert models(again) == [models(first)[2]]
    assert graded(again, 1) == {"sample-0": 8, "train-0": 8, "sample-1": 8}


@pytest.mark.parametrize("method", ["context-full", "context-feedback"])
def test_context_distillation(run: Run, server: vllm.VLLM, method: str) -> None:
    experiment = run(method, **LESSONS, traces_per_text=1, tries_per_text=4)
    assert budget.spent(experiment) == {"eval": 2 * 4, "initial": 4}
    rewritten = experiment.stages.select_related("job").get(key="rewrite-0")
    assert rewritten.arguments["written_by"] == experiment.proxies.get(number=1).digest
    assert 1 <= rewritten.job.result["kept"] <= 4
    made = models(experiment)[1]["options"]
    assert served(server)[made["name"]] == made["adapter"]
    assert graded(experiment, 2) == {"grade-0": 8, "train-0": 8, "sample-1": 8}


def test_a_scalar_head_is_in_the_process_that_asks(run: Run) -> None:
    experiment = run("scalar-head", **LESSONS)
    assert budget.spent(experiment) == {"eval": 2 * 4, "initial": 4}
    assert models(experiment)[1] == {"path": str(experiment.jobs.get(key="realign-0").path / "proxy")}
    assert graded(experiment, 2) == {"grade-0": 4, "train-0": 4, "sample-1": 4}


@pytest.mark.parametrize("method", protocol.IN_CONTEXT)
def test_prompts_that_are_searched_for(run: Run, server: vllm.VLLM, base: Path, method: str) -> None:
    experiment = run(method, **PROMPTED)
    assert budget.spent(experiment) == {"eval": 2 * 4, "initial": 4, "validation": 4, "check": 2}
    assert models(experiment) == 2 * [on_base(server, base)]
    (entry,) = experiment.proxies.get(number=2).judge["options"]["prompts"]
    assert (entry == RUBRIC) == (method == "rubric")
    assert ("Longer is better." in json.dumps(entry)) == (method != "rubric")
    assert graded(experiment, 2) == {"grade-0": 8, "train-0": 8, "sample-1": 8 + 4}


@pytest.mark.parametrize("method", protocol.PER_PROMPT)
def test_prompts_of_each_task(run: Run, server: vllm.VLLM, base: Path, method: str) -> None:
    experiment = run(method, per_task=2, shown=1, realignments=1)
    assert budget.spent(experiment) == {"eval": 2 * 4, "initial": 2 * 4}
    assert models(experiment) == 2 * [on_base(server, base)]
    assert len(experiment.proxies.get(number=2).judge["options"]["by_task"]) == 4
    assert graded(experiment, 2) == {"grade-0": 8, "train-0": 8, "sample-1": 8}


def test_the_ceiling(run: Run, editor: ScriptedOpenAI) -> None:
    experiment = run("ceiling")
    assert budget.spent(experiment) == {"eval": 2 * 4, "reward": 4}
    assert len(editor.bodies("/v1/chat/completions")) == 2 * 4 + 4


def test_the_weak_proxy(run: Run, server: vllm.VLLM, base: Path) -> None:
    experiment = run("weak-proxy", steps=2)
    assert budget.spent(experiment) == {"check": 3 * 4}
    assert models(experiment) == [on_base(server, base)]
    assert graded(experiment, 1) == dict.fromkeys(("sample-0", "train-0", "sample-1", "train-1", "sample-2"), 8)


def test_prompt_optimisation(run: Run, base: Path) -> None:
    experiment = run("prompt-optimisation", **CALLS)
    calls = experiment.jobs.get(key="optimise-0").result["calls"]
    assert 10 <= calls <= 12
    assert budget.spent(experiment) == {"eval": 2 * 4, "reward": calls}
    (start,) = experiment.checkpoints.all()
    assert start.digest == digest(base)


def test_no_protocol_is_left_out() -> None:
    ours = ["full-trace", "retrain", "context-full", "context-feedback", "scalar-head", *protocol.IN_CONTEXT, *protocol.PER_PROMPT]
    assert {*ours, "ceiling", "weak-proxy", "prompt-optimisation"} == {method for method, _ in protocol.CHOICES}
