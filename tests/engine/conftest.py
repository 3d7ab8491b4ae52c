"""A tiny language model on disk, and jobs run in processes that have no Django."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from training.engine.job import main

ROOT = Path(__file__).resolve().parents[2]
TEXT = "Write a story of two lines. The key was in the tower and the old tree. <critique> The ending is good. </critique> <score> 66 </score> "
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# The first thing in every process: from here on there is no Django.
NO_DJANGO = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("django", "channels", "celery"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import runpy
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
PLAN = {
    "learning_rate": 1e-2,
    "prompts_per_step": 2,
    "group": 4,
    "policy_temperature": 1.0,
    "policy_max_tokens": 8,
    "save_every": 2,
    "unscored_limit": 0.5,
}
LETTERS = {"backend": "tests.engine.judges.LetterJudge", "options": {}}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 of two layers with a byte-level tokenizer, as `save_pretrained` leaves it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bpe.train_from_iterator([TEXT] * 3, trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, special_tokens=special, show_progress=False))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE, padding_side="left"
    )
    torch.set_num_threads(1)  # as in the jobs: two threads lose badly on a busy machine
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def make_job(tmp_path: Path, tiny: Path) -> Callable[..., Path]:
    """make_job(name, kind, **changes): a job folder with a job.json that works, but for the changes."""
    return partial(write_job, tmp_path, tiny)


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """An RL job of six steps, done by one process in one go: what all broken ones must equal."""
    folder = write_job(tmp_path_factory.mktemp("jobs"), tiny, "unbroken", "rl", stop=6)
    assert run_job(folder).returncode == 0
    return folder


def write_job(parent: Path, model: Path, name: str, kind: str, /, **changes: Any) -> Path:
    folder = parent / name
    folder.mkdir()
    data = {"kind": kind, "name": f"test/{name}", "seed": 3, **_defaults(kind, str(model)), **changes}
    (folder / "job.json").write_text(json.dumps(data))
    if kind == "distil":
        trace = "<critique>The key is {}.</critique><deliberation></deliberation><score>{}</score>"
        rows = [{"prompt": f"Judge this: the old tree {i}", "completion": trace.format("good " * (i % 4), i)} for i in range(10)]
        write_rows(folder / "examples.jsonl", rows)
    if kind == "scalar":
        write_rows(
            folder / "examples.jsonl", [{"prompt": f"Judge this: the old tree {'good ' * (i % 4)}", "score": 30.0 * (i % 4)} for i in range(10)]
        )
    if kind == "rewrite":
        said = {"instructions": "Write.", "deliberation": "Half.", "score": 50}
        write_rows(folder / "examples.jsonl", [{"id": i, "content": f"tree {i}", "critique": f"word{i}", **said} for i in range(10)])
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rewriter(**options: Any) -> dict[str, Any]:
    """The proxy of a rewriting job: a scripted model that grades."""
    model = {"backend": "tests.engine.judges.Rewriter", "options": options}
    return {"backend": "grading.graders.Grader", "options": {"prompts": ["Judge {CONTENT}."], "model": model}}


def reward(**options: Any) -> dict[str, Any]:
    """The proxy of a job's reward: the program that counts letters."""
    return {"who": "proxy", "judge": {**LETTERS, "options": options}}


def scripted(name: str) -> dict[str, Any]:
    """A program of tests/engine/judges.py in the place of a language model."""
    return {"backend": "grading.models.scripted.ScriptedModel", "options": {"script": f"tests.engine.judges.{name}"}}


def change(folder: Path, **changes: Any) -> None:
    path = folder / "job.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _defaults(kind: str, model: str) -> Any:
    prompts = [{"id": 10 + i, "text": f"Write a story of {i} lines."} for i in range(5)]
    return {
        "rl": {
            "policy": model,
            "resume_from": None,
            "start": 0,
            "stop": 4,
            "prompts": prompts,
            "reward": {"who": "proxy", "judge": LETTERS},
            "plan": PLAN,
        },
        "distil": {"model": model, "sft": {"epochs": 2, "learning_rate": 1e-2, "batch": 4}, "examples": "examples.jsonl"},
        "scalar": {
            "model": model,
            "sft": {"epochs": 2, "learning_rate": 1e-2, "batch": 4},
            "examples": "examples.jsonl",
            "score_range": [0, 100],
        },
        "sample": {
            "model": model,
            "checkpoint": "ab" * 32,
            "step": 7,
            "requests": [{"name": "eval", "prompts": prompts, "per_prompt": 3, "judge": LETTERS}],
            "sampling": {"temperature": 1.0, "max_tokens": 8},
        },
        "optimise": {
            "policy": scripted("obliging"),
            "generation_prompt": "Write. topic: {TOPIC}",
            "train": [{"id": 10 + i, "text": f"Write about {i}.", "variables": {"TOPIC": str(i)}} for i in range(4)],
            "validation": [{"id": 20 + i, "text": f"Write about {i}.", "variables": {"TOPIC": str(i)}} for i in range(4)],
            "judge": LETTERS,
            "reflection": scripted("polite"),
            "calls": 60,
            "sampling": {"temperature": 1.0, "max_tokens": 20},
        },
        "rewrite": {
            "judge": rewriter(),
            "context_prompt": "{GRADING} # {EXPERT}",
            "show": "feedback",
            "traces": 2,
            "tries": 6,
            "examples": "examples.jsonl",
        },
        "grade": {"judge": LETTERS, "cases": [{"id": i, "instructions": "Write.", "content": "tree " * i} for i in range(1, 6)]},
    }[kind]


def command(folder: Path) -> list[str]:
    kind = json.loads((folder / "job.json").read_text())["kind"]
    return [sys.executable, "-c", NO_DJANGO, f"training.engine.{kind}", str(folder)]


def environment() -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("DJANGO")}
    return {**env, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run_job(folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the job as a process of its own, to its end."""
    return subprocess.run(command(folder), env=environment(), cwd=folder, capture_output=True, text=True, timeout=120, **options)


def run_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the job in this process, which is quicker, and give back its exit status."""
    kind = json.loads((folder / "job.json").read_text())["kind"]
    module = import_module(f"training.engine.{kind}")
    monkeypatch.setattr(sys, "argv", [kind, str(folder)])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return main(kind, module.FIELDS, module.OPTIONAL, module.run)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def start_job(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command(folder), env=environment(), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return data


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]
