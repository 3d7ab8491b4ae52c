"""Our log-probabilities and TRL's are the same numbers, with the same gradients; and the order of prompts is fair."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.engine.job import Job
from training.engine.models import load_model
from training.engine.rl import OPTIONAL

pytestmark = pytest.mark.training


def test_log_probabilities_entropies_and_gradients_are_those_of_trl(make_job, tiny):
    import torch
    from trl import GRPOTrainer

    from training.engine.grpo import assemble

    folder = make_job("numbers", "rl")
    job = Job(folder, {**OPTIONAL, **json.loads((folder / "job.json").read_text())})
    trainer, _ = assemble(job, load_model(str(tiny), "policy"), None)
    tokens = torch.randint(3, 300, (6, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    mask[0, :3] = mask[1, 9:] = mask[2, :1] = mask[2, 11:] = 0
    weights = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    numbers = {}
    for name, method in (("ours", type(trainer)._get_per_token_logps_and_entropies), ("trl", GRPOTrainer._get_per_token_logps_and_entropies)):
        trainer.model.zero_grad()
        log_probs, entropies, _ = method(trainer, trainer.model, tokens, mask, 5, compute_entropy=True)
        (log_probs * weights).sum().backward()
        numbers[name] = [log_probs.detach(), entropies.detach(), *(p.grad.clone() for p in trainer.model.parameters())]
    for ours, theirs in zip(numbers["ours"], numbers["trl"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@given(seed=st.integers(0, 2**31), prompts=st.integers(1, 40), each=st.integers(1, 8), steps=st.integers(1, 60))
def test_no_prompt_comes_twice_in_a_step_nor_again_before_its_round_is_over(seed, prompts, each, steps):
    from training.engine.grpo import order

    each = min(each, prompts)
    rows = order(seed, prompts, each, steps)
    assert rows.shape == (steps, each)
    epoch = prompts // each
    for start in range(0, steps, epoch):
        whole = rows[start : start + epoch].ravel()
        assert len(set(whole)) == len(whole)
    assert np.array_equal(rows[: steps // 2], order(seed, prompts, each, max(1, steps // 2))[: steps // 2])
