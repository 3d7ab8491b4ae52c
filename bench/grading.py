"""Verdicts a second through our grader, beside the bare engine on the same prompts; and the memory that 10,000 verdicts take.

    python bench/grading.py [--only NAME ...] [--cases 256] [--repeats 5] [--verdicts 10000]

`transformers`: the pocket base in this process, against `generate` of transformers in batches of the same size, and against our decoding loop alone.
`vllm`: the same model behind vLLM on the processor (`make .venv-vllm/.installed`), against plain HTTP requests, as many at a time and with the same
bodies. Both are given finished prompts and give texts; the grader starts from cases and gives verdicts. They take turns, in another order each time.
`memory`: texts of 1,000 words, by Messages and by Message Batches, through a server in this process that speaks Anthropic's protocol; the grader is a
process of its own, whose memory is looked at from here. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from grading.graders import Grader  # noqa: E402
from grading.models.base import derive_seed  # noqa: E402
from grading.types import Case, Message, Sampling, TraceFormat, Verdict  # noqa: E402
from training.engine.models import prepare  # noqa: E402

BASE = ROOT / "training/pocket/base"
N = 2  # samples of a verdict
TOKENS = 96
SAMPLING = Sampling(1.0, TOKENS, N)
BATCH = 256  # sequences at a time in this process
Run = Callable[[int], Any]  # of a seed


# Turn by turn --------------------------------------------------------------------------------------------------------------------


def pocket_cases(count: int) -> list[Case]:
    from training.pocket.language import prompts, write_story

    rng, tasks = random.Random(0), prompts()
    return [Case(p.instructions, write_story(rng, p.object, p.place, rng.random())) for p in (tasks[i % len(tasks)] for i in range(count))]


def grader(model: Any) -> Grader:
    from training.pocket.prompts import DOMAIN

    return Grader([DOMAIN.grading_prompt], model, n=N, sampling={"temperature": SAMPLING.temperature, "max_tokens": TOKENS})


def conversations(cases: Sequence[Case]) -> list[list[Message]]:
    from grading.prompts import GradingPrompt
    from training.pocket.prompts import DOMAIN

    prompt = GradingPrompt(DOMAIN.grading_prompt)
    return [[Message("user", prompt.render(case, TraceFormat()))] for case in cases]


def take_turns(runs: dict[str, Run], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of each run, `repeats` times after one that does not count."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for seed in range(repeats + 1):
        names = list(runs) if seed % 2 else list(runs)[::-1]
        for name in names:
            wall, processor = time.perf_counter(), time.process_time()
            runs[name](seed)
            if seed:
                times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return times


def report(title: str, count: int, times: dict[str, list[tuple[float, float]]], ours: str) -> None:
    print(f"\n| {title} | verdicts/s | processor ms a verdict, this process | ours, of it |\n|---|---|---|---|")
    for name, seconds in times.items():
        rates, cost = [count / wall for wall, _ in seconds], [1000 * processor / count for _, processor in seconds]
        ratio = "" if name == ours else spread([a / b for (a, _), (b, _) in zip(seconds, times[ours], strict=True)], 3)
        print(f"| {name} | {spread(rates, 1)} | {spread(cost, 2)} | {ratio} |")


def spread(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def load_now() -> str:
    return f"Load average of this machine ({os.cpu_count()} cores) now: {', '.join(f'{load:.1f}' for load in os.getloadavg())}."


# transformers --------------------------------------------------------------------------------------------------------------------


def transformers_part(count: int, repeats: int) -> None:
    import numpy as np
    import torch

    from grading.models.decoding import decode
    from grading.models.transformers import TransformersModel, encode, load

    cases = pocket_cases(count)
    requests = conversations(cases)
    loaded = load(str(BASE), "cpu", "float32")
    judge = grader(TransformersModel(BASE, BATCH, "cpu", "float32"))
    draws: dict[int, Any] = {}  # our model's own, so that both write the same

    def ours(seed: int) -> list[Verdict]:
        return asyncio.run(judge.grade(cases, seed=seed))

    def loop(seed: int) -> list[str]:
        prompts = encode(loaded, requests)
        rows = sorted(((i, k) for i in range(count) for k in range(N)), key=lambda row: -len(prompts[row[0]]))
        texts: list[str] = []
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            chances = np.stack([draws[seed][row] for row in batch])
            written = decode(loaded.model, [prompts[i] for i, _ in batch], [TOKENS] * len(batch), loaded.stops, 1.0, chances)
            texts += loaded.tokenizer.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return texts

    def library(seed: int) -> list[str]:
        torch.manual_seed(seed)
        said = [[{"role": message.role, "content": message.content} for message in messages] for messages in requests]
        prompts = sorted(loaded.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True), key=len, reverse=True)
        texts: list[str] = []
        for start in range(0, count, BATCH // N):
            batch = loaded.tokenizer(
                prompts[start : start + BATCH // N], add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
            )
            with torch.inference_mode():
                output = loaded.model.generate(
                    **batch,
                    do_sample=True,
                    temperature=1.0,
                    top_k=0,
                    top_p=1.0,
                    num_return_sequences=N,
                    max_new_tokens=TOKENS,
                    eos_token_id=loaded.stops,
                    pad_token_id=loaded.tokenizer.pad_token_id,
                )
            texts += loaded.tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts

    for seed in range(repeats + 1):
        seeds = ([derive_seed(seed, 0) % 2**64, i, k] for i in range(count) for k in range(N))
        draws[seed] = {(i, k): np.random.default_rng([s, i, k]).random(TOKENS) for s, i, k in seeds}
    times = take_turns({"transformers' generate": library, "our decoding loop": loop, "our grader": ours}, repeats)
    report(f"transformers, {count} verdicts of {N} traces", count, times, "our grader")


# vLLM ----------------------------------------------------------------------------------------------------------------------------


def vllm_part(count: int, repeats: int) -> None:
    import httpx2

    from grading.models.openai import OpenAIModel
    from tests.grading.servers import vllm

    cases = pocket_cases(count)
    requests = conversations(cases)
    with tempfile.TemporaryDirectory() as temporary, vllm.running(BASE, Path(temporary)) as server:
        model = OpenAIModel(f"{server.url}/v1", vllm.NAME)
        judge = grader(model)
        bodies = {seed: [body(model, messages, seed, i) for i, messages in enumerate(requests)] for seed in range(repeats + 1)}

        def ours(seed: int) -> list[Verdict]:
            return asyncio.run(judge.grade(cases, seed=seed))

        async def ask_all(seed: int) -> list[list[str]]:
            found: list[list[str]] = [[] for _ in requests]
            waiting = iter(enumerate(bodies[seed]))
            limits = httpx2.Limits(max_connections=model.max_concurrency, max_keepalive_connections=model.max_concurrency)
            async with httpx2.AsyncClient(timeout=model.timeout, limits=limits) as client:

                async def work() -> None:
                    for i, data in waiting:
                        answer = await client.post(f"{server.url}/v1/chat/completions", content=data, headers={"content-type": "application/json"})
                        found[i] = [choice["message"]["content"] for choice in answer.raise_for_status().json()["choices"]]

                await asyncio.gather(*(work() for _ in range(model.max_concurrency)))
            return found

        times = take_turns({"plain HTTP": lambda seed: asyncio.run(ask_all(seed)), "our grader": ours}, repeats)
    report(f"vLLM on the processor, {count} verdicts of {N} traces, {model.max_concurrency} requests at a time", count, times, "our grader")


def body(model: Any, messages: Sequence[Message], seed: int, place: int) -> bytes:
    """What our client sends for this place, ready to send."""
    return json.dumps(model.request(messages, SAMPLING, N, derive_seed(derive_seed(seed, 0), place))).encode()


# Memory --------------------------------------------------------------------------------------------------------------------------

WORD = "The keeper wrote in the ledger what the office wanted to read, and the sea was \u201cquiet\u201d that night. "  # 19 words
RUBRIC = (
    "Grade the story by what it does, not by what it promises. A storm calls for shelter, a thief for a trick; an ending is worth a point.\n" * 40
)
CRITIQUE = "The last line answers the first, and the ledger is more than a prop; the boatman is a type, and the middle explains what it shows. " * 8
KEY = "not-a-secret"


def long_case(number: int) -> Case:
    return Case(f"Write a story of 1,000 words, number {number}.", f"{number}. {WORD * 53}")


def memory_part(count: int) -> None:
    print(f"\n{count:,} verdicts on texts of 1,000 words; the largest resident memory, in MB, during each tenth.\n")
    print(f"| asked by | verdicts/s | at first | {' | '.join(f'{count * tenth // 10:,}' for tenth in range(1, 11))} | texts held at the end |")
    print(f"|---|---|---|{'---|' * 11}")
    for batch in (False, True):
        for chunk in (count // 10, count):
            name = f"{'batches' if batch else 'messages'}, {'all at once' if chunk == count else f'{chunk:,} at a time'}"
            print(f"| {name} | {watch(batch, count, chunk)} |", flush=True)


def watch(batch: bool, count: int, chunk: int) -> str:
    """Have a process of its own ask for `count` verdicts, and look at its memory from here."""
    import psutil

    server = traces_server()
    with server.running():
        options = ["--client", server.url, "--verdicts", str(count), "--chunk", str(chunk), *(["--batch"] if batch else [])]
        process = subprocess.Popen(
            [sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True, env=os.environ | {"ANTHROPIC_API_KEY": KEY}
        )
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())["resident"]
        server.answered = 0
        peaks, look = [0] * 10, psutil.Process(process.pid)
        while process.poll() is None:
            try:
                tenth = min(9, server.answered * 10 // count)
                peaks[tenth] = max(peaks[tenth], look.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.02)
        rest = process.stdout.read()
        if process.wait() or not rest:
            sys.exit(f"the grader's process ended with {process.returncode}")
    end = json.loads(rest)
    if end["scored"] != count:
        sys.exit(f"{count - end['scored']} verdicts have no score")
    shown = " | ".join(f"{peak / 1e6:.0f}" if peak else "" for peak in peaks)
    return f"{count / end['seconds']:.0f} | {first / 1e6:.0f} | {shown} | {end['held'] / 1e6:.0f}"


def traces_server() -> Any:
    from tests.grading.servers.anthropic import ScriptedAnthropic

    class Forgetful(list):
        """Requests that were seen, of which nothing is kept."""

        def append(self, request: Any) -> None:
            server.answered += len(request.body["requests"]) if request.body and "requests" in request.body else bool(request.body)

    def trace(params: dict[str, Any]) -> dict[str, Any]:
        score = len(params["messages"][-1]["content"]) % 7 + 60
        text = f"<critique>{CRITIQUE}</critique><deliberation>{CRITIQUE[:300]}</deliberation><score>{score}</score>"
        return {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}

    server: Any = ScriptedAnthropic(KEY)
    server.script, server.answered, server.seen = trace, 0, Forgetful()
    return server


def client(url: str, count: int, chunk: int, batch: bool) -> None:
    """Ask for `count` verdicts, `chunk` at a time. What is let go of between chunks is all but the scores."""
    import psutil

    from grading.models.anthropic import AnthropicModel

    model = AnthropicModel("claude-x", base_url=url, batch=batch, poll_seconds=0.01)
    judge = Grader([RUBRIC + "\n{INSTRUCTIONS}\n{CONTENT}"], model, sampling={"max_tokens": 16_000})
    asyncio.run(judge.grade([long_case(-1)] * 2))  # imports, and what the first call makes
    cases = [long_case(i) for i in range(count)] if chunk == count else None
    print(json.dumps({"resident": psutil.Process().memory_info().rss}), flush=True)
    began, scored = time.perf_counter(), 0
    with asyncio.Runner() as runner:
        for start in range(0, count, chunk):
            some = cases or [long_case(i) for i in range(start, start + chunk)]
            verdicts = runner.run(judge.grade(some, seed=start))
            scored += sum(verdict.score is not None for verdict in verdicts)
    held = {id(text): sys.getsizeof(text) for case in some for text in (case.instructions, case.content)}
    held |= {id(text): sys.getsizeof(text) for verdict in verdicts for text in (verdict.raw, verdict.critique, verdict.deliberation)}
    print(json.dumps({"seconds": time.perf_counter() - began, "scored": scored, "held": sum(held.values())}))


PARTS = ("transformers", "vllm", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run (default: all)")
    parser.add_argument("--cases", type=int, default=256, help="verdicts of each run beside the bare engines (default 256)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--verdicts", type=int, default=10_000, help="verdicts of which the memory is looked at (default 10,000)")
    for name in ("--client", "--chunk", "--batch"):
        parser.add_argument(name, help=argparse.SUPPRESS, **({"action": "store_true"} if name == "--batch" else {}))
    options = parser.parse_args()
    if options.client:
        client(options.client, options.verdicts, int(options.chunk), options.batch)
        return
    prepare()
    for part in PARTS:
        if part in options.only:
            print(f"\n{load_now()}")
            if part == "memory":
                memory_part(options.verdicts)
            else:
                {"transformers": transformers_part, "vllm": vllm_part}[part](options.cases, options.repeats)


if __name__ == "__main__":
    main()
