"""Would a plan work with these prompts, this model and these machines? Everything is looked at, and nothing is trained, sampled or asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils import timezone

from annotation import costs
from annotation.models import Domain, Expert, Feedback, Prompt, Rollout
from grading.parsing import write_trace
from grading.prompts import GradingPrompt
from grading.types import Case
from training import memory, protocol, validation
from training.errors import InvalidExperiment
from training.presets import Plan

NOT_ASKED = {"name", "policy", "proxy", "proxy_version", "sample_budget"}  # of an experiment, and none is made
RUBRIC_TOKENS = 2000  # that a rubric is assumed to have
TEXT_TOKENS = 1500  # of a text, as a rule, where the domain has no rollout yet
WITHOUT_TRACES = ("ceiling", "prompt-optimisation", "scalar-head")  # protocols whose proxies, if any, write nothing
SERVED_FROM = 3  # GPUs; fewer leave none for servers beside training
CHECKPOINTS = 2  # kept on the disk by a job, each with Adam's moments


@dataclass(frozen=True, slots=True)
class Machines:
    """`gpus` with `memory` GiB each. `device_batch` sequences go through one at a time; 0: as many as fit."""

    gpus: int
    memory: float
    device_batch: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `part` is prompts, tokens, memory or cost; `advice` what to do where it does not fit."""

    part: str
    words: str
    fits: bool = True
    advice: str = ""


def dry_run(plan: Plan, domain: Domain, policy: Path, expert: Expert | None, machines: Machines) -> list[Finding]:
    """Raises ValueError where the policy's folder has no config.json or no tokenizer that can be used."""
    model = memory.architecture(policy)
    lengths = Lengths.of(plan, domain, Tokens(policy))
    return [
        *_prompts(plan, domain, expert),
        *_tokens(plan, lengths, model.positions),
        *_memory(plan, lengths, model, machines),
        *_cost(plan, domain, expert),
    ]


class Tokens:
    """The policy's tokenizer, by which also the proxy reads and writes."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as exc:
            raise ValueError(f"{folder} has no tokenizer that can be read: {exc}") from exc
        if not self.tokenizer.chat_template:
            raise ValueError(f"{folder} has no tokenizer with a chat template: add tokenizer.json, tokenizer_config.json and chat_template.jinja")

    def asked(self, text: str) -> int:
        """Of a conversation in which the user says `text`, up to where the model begins."""
        turns = [{"role": "user", "content": text}]
        return len(self.tokenizer.apply_chat_template(turns, tokenize=True, add_generation_prompt=True)["input_ids"])

    def count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def back(self, prompt: str, answer: str) -> str:
        """What is left of an answer that was turned into tokens."""
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        return str(self.tokenizer.decode(self.tokenizer.apply_chat_template(turns, tokenize=True)["input_ids"]))


@dataclass(frozen=True, slots=True)
class Lengths:
    """In tokens: the longest prompt, what a grader reads besides the text at most, a text as a rule, the longest trace, and what that rests on."""

    prompt: int
    grading: int
    text: int
    trace: int
    basis: str
    keeps_score: bool

    @classmethod
    def of(cls, plan: Plan, domain: Domain, tokens: Tokens) -> Lengths:
        texts = list(domain.prompts.values_list("text", flat=True)) or [domain.generation_prompt]
        longest, fmt = max(texts, key=tokens.count), domain.trace_format
        grading = GradingPrompt(domain.grading_prompt).render(Case(longest, ""), fmt)
        learnt = Feedback.objects.filter(item__batch__domain=domain, current=True, score__isnull=False).exclude(critique="").order_by("-pk")
        traces = [write_trace(f.critique, f.deliberation, f.score, fmt) for f in learnt[:1000]]
        written = list(Rollout.objects.filter(prompt__domain=domain, tokens__gt=0).order_by("-pk").values_list("tokens", flat=True)[:1000])
        example = traces[0] if traces else write_trace("It holds together.", "", fmt.score_max, fmt)
        return cls(
            prompt=tokens.asked(longest),
            grading=tokens.asked(grading),
            text=min(plan.policy_max_tokens, sum(written) // len(written) if written else TEXT_TOKENS),
            trace=max(map(tokens.count, traces)) if traces else costs.TRACE_TOKENS,
            basis=f"the longest of {len(traces):,} verdicts" if traces else "assumed, as there is no verdict yet",
            keeps_score=f"</{fmt.score_tag}>" in tokens.back(grading, example),
        )

    def read(self, plan: Plan) -> int:
        """What the proxy reads at most: its prompt, a text of the allowed length, and what the method puts beside it."""
        example = self.text + self.trace
        beside = {
            "rubric": RUBRIC_TOKENS,
            "few-shot": plan.shown * example,
            "few-shot-prefilled": plan.shown * (self.grading + example),
            "per-prompt-rubric": RUBRIC_TOKENS,
            "per-prompt-few-shot": plan.per_task * example,
            **dict.fromkeys(protocol.SHOWN, self.trace),  # the expert's, while it writes its own
        }
        return self.grading + plan.policy_max_tokens + beside.get(plan.protocol, 0)

    def taught(self, plan: Plan) -> dict[str, int]:
        """An example that the proxy learns from."""
        return {"what is read": self.grading + plan.policy_max_tokens, "trace": 0 if plan.protocol in WITHOUT_TRACES else self.trace}


def _prompts(plan: Plan, domain: Domain, expert: Expert | None) -> Iterator[Finding]:
    """What stands between the plan and an experiment, by the very rules that one is made by."""
    wishes = validation.Wishes("dry-run", "", domain, expert, "", plan.to_dict(), "", "", 1, None)
    passed = NOT_ASKED if expert else NOT_ASKED | {"expert"}
    try:
        validation.check(wishes)
        wrong: dict[str, str] = {}
    except InvalidExperiment as exc:
        wrong = {field: message for field, message in exc.errors.items() if field not in passed}
    train, held = (domain.prompts.filter(split=split).count() for split in Prompt.Split)
    yield Finding("prompts", f"{train:,} to train on and {held:,} to measure with", not wrong, " ".join(wrong.values()))


def _tokens(plan: Plan, lengths: Lengths, positions: int) -> Iterator[Finding]:
    def within(what: str, parts: dict[str, int], limit: int, advice: str) -> Finding:
        total, words = sum(parts.values()), " + ".join(f"{name} {count:,}" for name, count in parts.items())
        return Finding("tokens", f"{what}: {words} = {total:,} of {limit:,}", total <= limit, advice)

    writes = plan.protocol not in WITHOUT_TRACES
    yield within(
        "a rollout",
        {"prompt": lengths.prompt, "what is written": plan.policy_max_tokens},
        positions,
        "Lower policy_max_tokens, or take a model with a longer context.",
    )
    if writes:
        yield within(
            f"a trace ({lengths.basis})",
            {"trace": lengths.trace},
            plan.proxy_max_tokens,
            "Raise proxy_max_tokens, or traces end before their score.",
        )
        yield within(
            "a verdict",
            {"what is read": lengths.read(plan), "what is written": plan.proxy_max_tokens},
            positions,
            "Lower policy_max_tokens, proxy_max_tokens or what is shown, or traces are cut off before their score.",
        )
    if plan.protocol in protocol.FINE_TUNED:
        yield within(
            "an example to learn from",
            lengths.taught(plan),
            positions,
            "Lower policy_max_tokens, or take a model with a longer context.",
        )
    if writes:
        fits = lengths.keeps_score
        words = "the score of a trace is among its tokens" if fits else "the score of a trace is lost among its tokens"
        yield Finding("tokens", words, fits, "Check the tokenizer and its chat template.")


def _memory(plan: Plan, lengths: Lengths, model: memory.Architecture, machines: Machines) -> Iterator[Finding]:
    room = memory.room(machines.memory)
    processes = _processes(plan, machines.gpus)
    jobs = {}
    if plan.protocol != "prompt-optimisation":
        jobs["RL"] = (lengths.prompt + plan.policy_max_tokens, plan.batch, 0)
    if plan.protocol in protocol.FINE_TUNED:
        jobs["fine-tuning"] = (sum(lengths.taught(plan).values()), plan.distil_batch, plan.lora)
    # Without servers, or with a proxy that none can serve, RL holds the proxy's weights too, in fp32.
    beside = {"RL": 4.0 * model.parameters} if machines.gpus < SERVED_FROM or plan.protocol == "scalar-head" else {}

    def parts_of(name: str, size: int) -> dict[str, float]:
        tokens, _, rank = jobs[name]
        parts = memory.training(model, tokens=tokens, sequences=size, processes=processes, rank=rank)
        return parts | ({"proxy": beside[name]} if name in beside else {})

    fitting = [
        size
        for size in range(1, plan.batch // processes + 1)
        if all(whole % (size * processes) == 0 and sum(parts_of(name, size).values()) <= room for name, (_, whole, _) in jobs.items())
    ]
    size = machines.device_batch or max(fitting, default=1)
    for name, (tokens, whole, _) in jobs.items():
        divides = whole % (size * processes) == 0
        advice = _less(fitting, processes, machines) if divides else f"{whole} sequences do not divide into {processes} processes of {size}."
        yield _sizes(
            f"{name}, {_each(processes)}, {size} x {tokens:,} tokens a pass (TOUCHSTONE_DEVICE_BATCH={size})",
            parts_of(name, size),
            room,
            divides,
            advice,
        )
    served = {}
    if machines.gpus >= SERVED_FROM and "RL" in jobs:
        served["the policy's server"] = jobs["RL"][:2]
    if served and plan.protocol not in WITHOUT_TRACES:
        served["the proxy's server"] = (lengths.read(plan) + plan.proxy_max_tokens, plan.batch * plan.proxy_n)
    for name, (tokens, whole) in served.items():
        free = room - memory.serving(model, tokens=0, sequences=0)["weights"]
        at_once = max(1, min(whole, math.floor(free / (memory.cache(model) * tokens))))
        parts = memory.serving(model, tokens=tokens, sequences=at_once)
        yield _sizes(f"{name}, one GPU, {at_once:,} of {whole:,} x {tokens:,} tokens at a time", parts, room, True, "Serve it over several GPUs.")
    host, disk = 4 * model.parameters * processes / memory.GIB, CHECKPOINTS * 12 * model.parameters / memory.GIB
    words = f"{host:,.0f} GiB of the host's memory while it is read, and {disk:,.0f} GiB of the disk for checkpoints while a job runs"
    yield Finding("memory", f"{model.parameters:,} parameters: {words}")


def _processes(plan: Plan, gpus: int) -> int:
    """Processes that train together: as many as each get whole groups and equal parts of a batch, with a GPU left for each of two servers."""
    most = gpus - 2 if gpus >= SERVED_FROM else 1
    return max(n for n in range(1, most + 1) if plan.prompts_per_step % n == 0 and plan.distil_batch % n == 0)


def _each(processes: int) -> str:
    return "one GPU" if processes == 1 else f"each of {processes} GPUs"


def _less(fitting: list[int], processes: int, machines: Machines) -> str:
    if fitting:
        return f"Set TOUCHSTONE_DEVICE_BATCH={max(fitting)}."
    return f"Not even one sequence a pass fits {processes} of {machines.gpus} GPUs with {machines.memory:g} GiB: take more or larger ones."


def _sizes(what: str, parts: dict[str, float], room: float, fits: bool, advice: str) -> Finding:
    total, words = sum(parts.values()), ", ".join(f"{name} {size / memory.GIB:,.1f}" for name, size in parts.items())
    return Finding("memory", f"{what}: {words} = {total / memory.GIB:,.1f} of {room / memory.GIB:,.1f} GiB", fits and total <= room, advice)


def _cost(plan: Plan, domain: Domain, expert: Expert | None) -> Iterator[Finding]:
    tasks = domain.prompts.filter(split=Prompt.Split.TRAIN).count() - plan.validation_prompts
    samples = protocol.estimate(plan, max(0, tasks))
    counts = ", ".join(f"{count:,} {purpose}" for purpose, count in samples.items())
    yield Finding("cost", f"{sum(samples.values()):,} verdicts at most: {counts}")
    if expert is not None:
        estimate = costs.estimate(expert, domain, sum(samples.values()), timezone.now())
        yield Finding("cost", f"{estimate['words'] or 'nothing'}. {' '.join(estimate['assumptions'])}")
