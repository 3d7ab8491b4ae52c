"""KL from the start is the mean of log p(policy) - log p(reference) over what the policy wrote."""

from __future__ import annotations

import shutil
from math import log
from pathlib import Path

import pytest

from tests.engine.conftest import lines, result, run_here
from training.engine import sample

pytestmark = pytest.mark.training


def lottery(tiny: Path, folder: Path, shares: dict[str, float]) -> Path:
    """A model that writes letters with these probabilities, whatever came before."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, Qwen3ForCausalLM

    shutil.copytree(tiny, folder)
    config = AutoConfig.from_pretrained(tiny)
    config.tie_word_embeddings = False
    model = Qwen3ForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    # Every hidden state is all ones, so a token's logit is the sum of its row in the head.
    torch.nn.init.ones_(model.model.embed_tokens.weight)
    torch.nn.init.ones_(model.model.norm.weight)
    model.lm_head.weight.data[:] = -1e3 / config.hidden_size
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    for letter, share in shares.items():
        model.lm_head.weight.data[tokenizer.convert_tokens_to_ids(letter)] = log(share) / config.hidden_size
    model.save_pretrained(folder)
    return folder


def test_the_divergence_of_two_known_distributions_is_as_by_hand(make_job, tiny, tmp_path, monkeypatch):
    policy = lottery(tiny, tmp_path / "policy", {"a": 0.5, "b": 0.5})
    reference = lottery(tiny, tmp_path / "reference", {"a": 0.25, "b": 0.75})
    folder = make_job("known", "sample", model=str(policy), reference=str(reference))
    assert run_here(folder, monkeypatch) == 0
    texts = [row["completion"] for row in lines(folder, "rollouts.jsonl")]
    assert {len(text) for text in texts} == {8}
    written = "".join(texts)
    assert set(written) == {"a", "b"}
    moved = written.count("a") * log(0.5 / 0.25) + written.count("b") * log(0.5 / 0.75)
    assert result(folder)["kl"] == pytest.approx(moved / len(written), abs=1e-5)
    assert result(folder)["kl_rollout"] == pytest.approx(moved / len(texts), abs=1e-5)


def test_a_policy_has_not_moved_from_itself_and_its_rollouts_are_as_without_a_reference(make_job, tiny, monkeypatch):
    plain, beside = make_job("plain", "sample"), make_job("beside", "sample", reference=str(tiny))
    assert run_here(plain, monkeypatch) == run_here(beside, monkeypatch) == 0
    assert lines(beside, "rollouts.jsonl") == [row | {"moved": 0.0} for row in lines(plain, "rollouts.jsonl")]
    assert result(plain) == {"status": "done", "rollouts": 15}
    assert result(beside) == {"status": "done", "rollouts": 15, "kl": 0.0, "kl_rollout": 0.0}


def test_log_probabilities_are_those_of_each_sequence_alone(tiny, monkeypatch):
    import torch

    from grading.models import decoding
    from grading.models.transformers import TransformersModel

    model = TransformersModel(tiny).loaded.model
    prompts, written = [[5, 6, 7], [8], [9] * 20, [4, 4]], [[10, 11], [12, 13, 14, 15], [16], []]
    monkeypatch.setattr(decoding, "LARGEST", 2 * 4 * model.config.vocab_size)  # two sequences at a time
    sums = decoding.log_probabilities(model, prompts, written)
    for prompt, tokens, total in zip(prompts, written, sums, strict=True):
        with torch.inference_mode():
            table = model(input_ids=torch.tensor([prompt + tokens])).logits[0].log_softmax(-1)
        assert total == pytest.approx(sum(float(table[len(prompt) + i - 1, token]) for i, token in enumerate(tokens)), abs=1e-4)


def test_a_job_cut_short_anywhere_reports_the_same_divergence(make_job, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "CHUNK", 6)
    other = lottery(tiny, tmp_path / "other", {"a": 0.5, "b": 0.5})
    whole = make_job("whole", "sample", reference=str(other))
    assert run_here(whole, monkeypatch) == 0
    rows = (whole / "rollouts.jsonl").read_bytes().splitlines(keepends=True)
    assert len(rows) == 15
    for name, kept in (("between", rows[:6]), ("within", [*rows[:8], rows[8][:9]]), ("at-the-end", rows)):
        broken = make_job(name, "sample", reference=str(other))
        (broken / "rollouts.jsonl").write_bytes(b"".join(kept))
        assert run_here(broken, monkeypatch) == 0
        assert result(broken) == result(whole)
        assert (broken / "rollouts.jsonl").read_bytes() == b"".join(rows)


def test_a_reference_with_other_tokens_is_refused(make_job, tmp_path, monkeypatch):
    from tests.grading.tiny import save_tiny_model

    folder = make_job("other", "sample", reference=str(save_tiny_model(tmp_path / "bytes")))
    assert run_here(folder, monkeypatch) == 1
    assert "are not those of the policy" in result(folder)["error"]
    folder = make_job("none", "sample", reference="/nowhere")
    assert run_here(folder, monkeypatch) == 1
    assert "reference: there is no model in /nowhere" in result(folder)["error"]
