"""A proxy is taught the completions, all of them and nothing else, in an order that the seed decides."""

from __future__ import annotations

import json

import pytest

from tests.engine.conftest import change, lines, result, run_here
from training.engine.artifacts import digest
from training.engine.distil import OPTIONAL, read_examples
from training.engine.job import Job
from training.engine.models import load_model

pytestmark = pytest.mark.training
SFT = {"epochs": 2, "learning_rate": 1e-2, "batch": 4, "max_steps": None, "save_every": None}


def test_the_loss_is_on_the_completion_and_the_end_of_its_turn_only(make_job, tiny):
    from training.engine.sft import assemble

    folder = make_job("labels", "distil")
    job = Job(folder, {**OPTIONAL, **json.loads((folder / "job.json").read_text())})
    loaded, examples = load_model(str(tiny), "model"), read_examples(job)
    trainer, _ = assemble(job, SFT, loaded, examples)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])
    for example, ids, labels in zip(examples, batch["input_ids"], batch["labels"], strict=False):
        assert loaded.tokenizer.decode(labels[labels != -100]).rstrip("\n") == example["completion"] + "<|im_end|>"
        assert example["prompt"] in loaded.tokenizer.decode(ids[labels == -100])


def test_the_same_seed_gives_the_same_proxy_and_another_seed_another(make_job, monkeypatch):
    digests = []
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        folder = make_job(name, "distil", seed=seed)
        assert run_here(folder, monkeypatch) == 0
        assert result(folder)["model"] == {"path": str(folder / "proxy"), "digest": digest(folder / "proxy")}
        digests.append(result(folder)["model"]["digest"])
    assert digests[0] == digests[1] != digests[2]


def test_a_distillation_that_is_killed_after_its_checkpoint_ends_with_the_same_proxy(make_job, monkeypatch):
    whole = make_job("whole", "distil")
    assert run_here(whole, monkeypatch) == 0
    broken = make_job("broken", "distil")
    (broken / "stop").touch()
    assert run_here(broken, monkeypatch) == 0
    assert result(broken) == {"status": "stopped", "step": 0}
    # As a kill leaves it: the first checkpoint, no result.
    (broken / "checkpoints").mkdir()
    (whole / "checkpoints" / "step-0003").rename(broken / "checkpoints" / "step-0003")
    assert run_here(broken, monkeypatch) == 0
    assert [line["step"] for line in lines(broken, "metrics.jsonl")] == [4, 5]
    assert result(broken)["model"]["digest"] == result(whole)["model"]["digest"]


def test_every_example_comes_once_in_every_epoch(make_job):
    from training.engine.sft import order

    rows = order(seed=1, lengths=[7, 3, 9, 1, 5, 2, 8], epochs=3, batch=2)
    assert sorted(rows) == sorted(list(range(7)) * 3)
    assert rows != order(seed=2, lengths=[7, 3, 9, 1, 5, 2, 8], epochs=3, batch=2)


def test_the_learning_rate_rises_over_a_tenth_of_the_steps_and_falls_to_nothing(make_job, monkeypatch):
    folder = make_job("schedule", "distil", sft={"epochs": 8, "learning_rate": 1e-2, "batch": 4})
    assert run_here(folder, monkeypatch) == 0
    rates = [line["learning_rate"] for line in lines(folder, "metrics.jsonl")]
    assert len(rates) == 20
    assert rates[:3] == pytest.approx([0, 5e-3, 1e-2])
    assert rates[-1] == pytest.approx(1e-2 / 18)
    assert lines(folder, "metrics.jsonl")[-1]["loss"] < lines(folder, "metrics.jsonl")[0]["loss"]


def test_an_example_too_long_for_the_model_is_named_and_nothing_is_cut_off(make_job, monkeypatch):
    folder = make_job("long", "distil")
    with (folder / "examples.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "Judge this.", "completion": "<critique>" + "x" * 400 + "</critique><score>5</score>"}) + "\n")
    change(folder)
    assert run_here(folder, monkeypatch) == 1
    assert result(folder)["error"].startswith("example 11 has ")


def test_a_template_that_loses_the_score_or_the_end_is_found_before_training(make_job, tiny, tmp_path, monkeypatch):
    import shutil

    for name, tail, words in (
        ("short", "{{ m['content'][:20] }}", "score of example 1 is lost"),
        ("open", "{{ m['content'] }}", "never learn to stop"),
    ):
        model = shutil.copytree(tiny, tmp_path / f"model-{name}")
        start = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
        (model / "chat_template.jinja").write_text(start + tail + "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
        folder = make_job(name, "distil", model=str(model))
        assert run_here(folder, monkeypatch) == 1
        assert words in result(folder)["error"]
