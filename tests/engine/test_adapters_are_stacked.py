"""Adapters that were trained one on top of the other do the same as one."""

from __future__ import annotations

import json

import pytest

from tests.engine.conftest import result, run_here
from tests.grading.tiny import save_lora, save_tiny_model
from training.engine.faults import JobError
from training.engine.stacking import stack

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture
def adapters(base, tmp_path):
    """Of different ranks and scales."""
    folders = [save_lora(base, tmp_path / str(rank), seed=rank, spread=0.2, rank=rank) for rank in (4, 2, 3)]
    change(folders[1], lora_alpha=6)
    return folders


def change(adapter, **changes):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_stack_on_the_base_is_each_merged_into_what_was_below_it(base, adapters, tmp_path):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    expected = AutoModelForCausalLM.from_pretrained(base)
    for adapter in adapters:
        expected = PeftModel.from_pretrained(expected, str(adapter)).merge_and_unload()
    stack(adapters[:2], tmp_path / "two")
    stack([tmp_path / "two", adapters[2]], tmp_path / "three")
    found = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "three")).merge_and_unload()
    for (name, weight), (_, other) in zip(expected.named_parameters(), found.named_parameters(), strict=True):
        torch.testing.assert_close(weight, other, msg=name)
    settings = json.loads((tmp_path / "three" / "adapter_config.json").read_text())
    assert (settings["r"], settings["base_model_name_or_path"]) == (4 + 2 + 3, str(base))


def test_what_cannot_be_stacked_is_refused(base, adapters, tmp_path):
    change(adapters[0], use_rslora=True)
    with pytest.raises(JobError, match="more than a plain LoRA"):
        stack(adapters, tmp_path / "stacked")
    deeper = save_lora(save_tiny_model(tmp_path / "deeper", layers=3), tmp_path / "other", seed=1, spread=0.1)
    with pytest.raises(JobError, match="is not on the layers"):
        stack([deeper, adapters[1]], tmp_path / "stacked")
    assert not (tmp_path / "stacked").exists()


def test_a_proxy_that_is_taught_twice_is_served_on_the_first_base(make_job, tiny, tmp_path, monkeypatch):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    first = make_job("first", "distil", adapt={"lora": 2})
    assert run_here(first, monkeypatch) == 0
    once = result(first)["model"]
    second = make_job("second", "distil", model=once["path"], adapt={"lora": 2}, below=once["adapter"])
    assert run_here(second, monkeypatch) == 0
    twice = result(second)["model"]
    assert (once["adapter"], twice["adapter"]) == (str(first / "adapter"), str(second / "served"))
    served = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32), twice["adapter"]).merge_and_unload()
    for (name, weight), (_, other) in zip(
        AutoModelForCausalLM.from_pretrained(twice["path"]).named_parameters(), served.named_parameters(), strict=True
    ):
        torch.testing.assert_close(weight, other, rtol=1e-4, atol=1e-5, msg=name)


def test_there_is_an_adapter_below_only_where_one_is_trained(make_job, monkeypatch):
    folder = make_job("all", "distil", below="/somewhere")
    assert run_here(folder, monkeypatch) == 1
    assert "only where a LoRA is trained" in result(folder)["error"]
