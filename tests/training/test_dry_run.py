"""What a dry run finds, and what it says where something does not fit. Qwen3-8B is here as its config.json, with the pocket tokenizer."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command

from annotation.actions import import_prompts, load_ready
from annotation.models import Expert, Price
from training import memory
from training.paper import PAPER

CONFIG = Path(__file__).parent / "qwen3-8b" / "config.json"


@pytest.fixture(scope="session")
def qwen(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "qwen3-8b"
    folder.mkdir()
    shutil.copy(CONFIG, folder)
    for path in configured.POCKET_BASE.glob("*token*"):
        shutil.copy(path, folder)
    for path in configured.POCKET_BASE.glob("*.jinja"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def writing(db):
    return load_ready("creative-writing")[0]


@pytest.fixture
def research(db):
    """As many proposals as in the paper; six times those that come along."""
    domain, _ = load_ready("research-plans")
    for split, count in (("train", 300), ("eval", 60)):
        some = list(domain.prompts.filter(split=split))
        rows = [{"variables": {name: f"{value} ({i})" for name, value in some[i % len(some)].variables.items()}} for i in range(count)]
        import_prompts(domain, split, rows, actor=None)
    return domain


def run(preset, domain, policy, **options):
    """What it says; the findings by part where that is JSON. Raises CommandError."""
    out = StringIO()
    try:
        call_command("dry_run", preset, domain=domain.slug, policy=policy, stdout=out, **options)
    except CommandError as exc:
        exc.args = (*exc.args, out.getvalue())
        raise
    return out.getvalue()


@pytest.mark.parametrize("name", PAPER)
def test_every_preset_of_the_paper_fits_eight_gpus_of_80_gib(name, request, qwen):
    domain = request.getfixturevalue("writing" if name.startswith("qwen3-8b-") else "research")
    found = json.loads(run(name, domain, qwen, json=True))
    assert found["plan"] == PAPER[name].to_dict()
    assert all(finding["fits"] for finding in found["findings"])
    assert {finding["part"] for finding in found["findings"]} == {"prompts", "tokens", "memory", "cost"}


def test_what_it_says_is_a_line_for_each_thing_looked_at(writing, qwen):
    Expert.objects.create(alias="critic", name="The critic", kind=Expert.Kind.LLM, backend="pocket", price="opus")
    Price.objects.create(name="opus", input=4, output=20, since="2026-01-01")
    said = run("qwen3-8b-ultra-light", writing, qwen, expert="critic")
    assert "prompts  500 to train on and 150 to measure with" in said
    assert "of 40,960" in said
    assert "each of 4 GPUs" in said
    assert "weights 7.6, gradients 7.6, Adam 15.3" in said  # 8,190,735,360 parameters x 4 bytes / 4 GPUs = 7.6 GiB
    assert "8,250 verdicts at most: 750 eval, 3,000 initial, 4,500 update" in said
    assert "about $" in said
    assert "NO" not in said.split()


def test_prompts_that_are_too_few_are_named(db, qwen):
    domain, _ = load_ready("research-plans")
    with pytest.raises(CommandError, match=r"60 eval prompts are asked for, and .* has 6\. Import more"):
        run("research-heavy", domain, qwen)


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        (["proxy_max_tokens=1000"], "Raise proxy_max_tokens, or traces end before their score"),
        (["policy_max_tokens=39000"], "traces are cut off before their score"),
        (["policy_max_tokens=41000"], "Lower policy_max_tokens, or take a model with a longer context"),
        (["shown=40", "protocol=few-shot"], "Lower policy_max_tokens, proxy_max_tokens or what is shown"),
    ],
)
def test_texts_and_scores_that_would_be_cut_off_are_found(writing, qwen, changes, advice):
    with pytest.raises(CommandError, match=advice):
        run("qwen3-8b-light", writing, qwen, changes=changes)


def test_a_tokenizer_that_loses_the_score_is_found(writing, qwen, tmp_path):
    folder = shutil.copytree(qwen, tmp_path / "loses")
    template = "{% for m in messages %}{{ m['content'].split('<score>')[0] }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    with pytest.raises(CommandError, match="Check the tokenizer and its chat template") as failed:
        run("qwen3-8b-light", writing, folder)
    assert "the score of a trace is lost" in failed.value.args[1]


@pytest.mark.parametrize(
    ("machines", "advice"),
    [
        ({"gpus": 8, "memory": 24}, "Not even one sequence a pass fits 4 of 8 GPUs with 24 GiB"),
        ({"gpus": 1, "memory": 80}, "Not even one sequence a pass fits 1 of 1 GPUs"),
        ({"gpus": 8, "memory": 80, "device_batch": 3}, "64 sequences do not divide into 4 processes of 3"),
    ],
)
def test_machines_that_are_too_small_are_found(writing, qwen, machines, advice):
    with pytest.raises(CommandError, match=advice):
        run("qwen3-8b-heavy", writing, qwen, **machines)


def test_a_lora_takes_a_fraction_of_what_all_parameters_take(qwen):
    model = memory.architecture(qwen)
    every, lora = (memory.training(model, tokens=1000, sequences=1, processes=1, rank=rank) for rank in (0, 16))
    assert (every["weights"], every["gradients"], every["Adam"]) == tuple(size * 8_190_735_360 for size in (4, 4, 8))
    # rank 16 x (36 layers x (2 x 4096 + ...)): queries 8192, keys and values 2 x 5120, output 8192, feed-forward 3 x 16384
    assert lora["gradients"] == 4 * 16 * 36 * (8192 + 2 * 5120 + 8192 + 3 * 16384)


def test_a_folder_without_a_model_or_a_tokenizer_is_named(writing, tmp_path):
    with pytest.raises(CommandError, match="describes no language model"):
        run("qwen3-8b-light", writing, tmp_path)
    shutil.copy(CONFIG, tmp_path)
    with pytest.raises(CommandError, match="has no tokenizer with a chat template"):
        run("qwen3-8b-light", writing, tmp_path)
    with pytest.raises(CommandError, match="There is no preset 'qwen'"):
        run("qwen", writing, tmp_path)


@pytest.mark.training
def test_activations_are_those_that_a_model_keeps():
    """Counted tensor by tensor, as autograd is given them."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    sizes = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    config = Qwen3Config(num_hidden_layers=3, **sizes)
    model, tokens, kept = Qwen3ForCausalLM(config), 128, {}
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def note(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.model(torch.randint(0, 64, (1, tokens)))
    counted = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    numbers = memory.Architecture(0, 3, 64, 4 * 32, 2 * 32, 192, 64, 512, 0)
    assert memory.training(numbers, tokens=tokens, sequences=1, processes=1)["activations"] == pytest.approx(counted, rel=0.05)
