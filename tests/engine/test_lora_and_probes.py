"""A LoRA is merged into the proxy that is saved, and probes say how well the model agrees with the expert as it learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grading.alignment import alignment
from grading.types import Case
from tests.engine.conftest import change, lines, result, run_here, run_job, write_rows
from training.engine.artifacts import digest
from training.engine.job import derive
from training.engine.verdicts import Bench

pytestmark = pytest.mark.training
LORA = {"lora": 4}
CASES = [
    {"id": f"{group}-{i}", "group": group, "instructions": "Write.", "content": content, "score": 10 * i}
    for group in ("a", "b", "c")
    for i, content in enumerate((f"The old tree {group}.", "<critique>The key is good good.</critique>", f"{group * 9}", "The key was in the tower."))
]


LIKELIHOOD: dict[str, Any] = {"backend": "tests.engine.judges.LikelihoodJudge", "options": {"model": {"path": ""}}}
PROXY = {
    "backend": "grading.graders.Grader",
    "options": {"prompts": ["{CONTENT}"], "model": {"backend": "grading.models.transformers.TransformersModel"}},
}


def probe(**options):
    return {"judge": {**LIKELIHOOD, "options": {**LIKELIHOOD["options"], **options}}, "cases": "probe.jsonl", "at": [0, 10, 1000]}


def probed(make_job, name, adapt, **options) -> Path:
    folder = make_job(name, "distil", adapt=adapt, probe=probe(**options))
    write_rows(folder / "probe.jsonl", CASES)
    return folder


def weights(folder: Path):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_the_proxy_is_the_model_plus_the_adapter_on_all_linear_layers(make_job, tiny, monkeypatch):
    from safetensors.torch import load_file

    folder = make_job("lora", "distil", adapt=LORA)
    assert run_here(folder, monkeypatch) == 0
    expected = {"path": str(folder / "proxy"), "digest": digest(folder / "proxy"), "adapter": str(folder / "adapter")}
    assert result(folder)["model"] == expected
    base, proxy, adapter = weights(tiny), weights(folder / "proxy"), load_file(folder / "adapter" / "adapter_model.safetensors")
    linear = {name for name in base if name.endswith("_proj.weight")}
    assert {name for name in base if not base[name].equal(proxy[name])} == linear
    for name in linear:
        module = f"base_model.model.{name.removesuffix('.weight')}"
        a, b = adapter[f"{module}.lora_A.weight"], adapter[f"{module}.lora_B.weight"]
        assert a.shape[0] == b.shape[1] == 4
        assert (base[name] + 2 * b @ a - proxy[name]).abs().max() < 1e-6
    assert json.loads((folder / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tiny)


def test_a_lora_beside_a_scalar_head_trains_the_whole_head(make_job, tiny, monkeypatch):
    folder = make_job("lora", "scalar", adapt=LORA)
    assert run_here(folder, monkeypatch) == 0
    base, proxy = weights(tiny), weights(folder / "proxy")
    assert {name for name in base if not base[name].equal(proxy[name])} == {name for name in base if name.endswith("_proj.weight")}
    assert proxy["score.weight"].abs().min() > 0


@pytest.mark.parametrize("adapt", ["all", LORA])
def test_a_probe_sees_the_model_as_far_as_it_has_come_and_changes_nothing(make_job, tiny, monkeypatch, adapt):
    folder, plain = probed(make_job, "probed", adapt), make_job("plain", "distil", adapt=adapt)
    assert run_here(folder, monkeypatch) == run_here(plain, monkeypatch) == 0
    assert result(folder)["model"]["digest"] == result(plain)["model"]["digest"]
    looks = lines(folder, "probes.jsonl")
    assert [look["samples"] for look in looks] == [0, 12, 20]  # by whole batches of 4, and there are 2 x 10
    assert looks[0]["alignment"] == measured(tiny)
    assert looks[-1]["alignment"] == measured(folder / "proxy")
    assert len({look["alignment"]["value"] for look in looks}) == 3


def measured(model: Path, judge=LIKELIHOOD):
    judge = {**judge, "options": {**judge["options"], "model": {"path": str(model)}}}
    seed = derive(3, "probe")
    verdicts = Bench(judge).grade([Case(case["instructions"], case["content"]) for case in CASES], seed)
    estimate = alignment([case["score"] for case in CASES], [verdict.score for verdict in verdicts], [case["group"] for case in CASES], seed=seed)
    return {name: getattr(estimate, name) for name in ("value", "low", "high", "samples", "left_out", "note")}


@pytest.mark.parametrize("adapt", ["all", LORA])
def test_a_job_killed_at_a_probe_ends_with_the_same_proxy_and_the_same_probes(make_job, tmp_path, monkeypatch, adapt):
    whole = probed(make_job, "whole", adapt)
    assert run_here(whole, monkeypatch) == 0
    # The third look is at the last step, two steps after the checkpoint.
    broken = probed(make_job, "broken", adapt, looks=str(tmp_path / "looks"), kill=3)
    assert run_job(broken).returncode == -9
    assert [look["samples"] for look in lines(broken, "probes.jsonl")] == [0, 12]
    assert [path.name for path in (broken / "checkpoints").iterdir()] == ["step-0003"]
    assert run_here(broken, monkeypatch) == 0
    assert result(broken)["model"]["digest"] == result(whole)["model"]["digest"] == digest(broken / "proxy")
    assert lines(broken, "probes.jsonl") == lines(whole, "probes.jsonl")
    assert (tmp_path / "looks").stat().st_size == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"adapt": {"lora": 0}}, 'adapt must be "all" or {"lora": RANK}'),
        ({"adapt": {"lora": 4, "alpha": 8}}, "adapt must be"),
        ({"adapt": "some"}, "not 'some'"),
        ({"probe": {"judge": {}, "cases": "probe.jsonl"}}, "job.json, probe lacks at"),
        ({"probe": {**probe(), "judge": {"backend": "x.Y"}}}, "its judge has no model to replace"),
        ({"probe": {**probe(), "at": [-1]}}, "at must list numbers of samples, not [-1]"),
    ],
)
def test_settings_that_will_not_do_are_named(make_job, monkeypatch, changes, words):
    folder = make_job("bad", "distil", **changes)
    assert run_here(folder, monkeypatch) == 1
    assert words in result(folder)["error"]


def test_cases_of_a_probe_that_lack_something_are_named(make_job, monkeypatch):
    folder = probed(make_job, "bad", "all")
    write_rows(folder / "probe.jsonl", [CASES[0], {"id": 1, "content": "x", "instructions": ""}])
    assert run_here(folder, monkeypatch) == 1
    assert "case 2 lacks group, score" in result(folder)["error"]
    write_rows(folder / "examples.jsonl", [{"prompt": "Judge", "score": 5}])
    change(folder, kind="scalar", score_range=[0, 100], probe={**probe(), "judge": PROXY})
    assert run_here(folder, monkeypatch) == 1
    assert "the model of its judge writes, and this job's does not" in result(folder)["error"]


@pytest.mark.parametrize("adapt", ["all", LORA])
def test_a_scalar_proxy_is_probed_as_it_judges_later(make_job, monkeypatch, adapt):
    judge = {"backend": "grading.scalar.ScalarJudge", "options": {"prompt": "Judge this: {CONTENT}", "model": {"path": ""}}}
    folder = make_job("probed", "scalar", adapt=adapt, probe={**probe(), "judge": judge})
    write_rows(folder / "probe.jsonl", CASES)
    assert run_here(folder, monkeypatch) == 0
    first, _, last = lines(folder, "probes.jsonl")
    assert (first["alignment"]["value"], first["alignment"]["samples"]) == (None, 0)  # a new head says one thing of all
    assert last["alignment"] == measured(folder / "proxy", judge)


def test_a_probe_without_cases_looks_at_nothing(make_job, monkeypatch):
    folder = make_job("blind", "distil", probe=probe())
    (folder / "probe.jsonl").touch()
    assert run_here(folder, monkeypatch) == 0
    assert not (folder / "probes.jsonl").exists()
