"""TRL's GRPO trainer with two shortcuts for one process without vLLM: our sampler, and log-probabilities of the written tokens only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from trl import GRPOTrainer

from grading.models.decoding import decode

LARGEST = 1 << 27  # logits at once (half a gigabyte); above that TRL's tiled kernel is the better one


class PolicyTrainer(GRPOTrainer):
    """GRPO as TRL does it. What is overridden gives the same numbers, faster: see bench/rl_step.py.

    Sampling takes its randomness from (`draw_seed`, step, process) alone, so a step is the same whenever it is done. With vLLM, several
    processes or FSDP TRL's own paths are taken.
    """

    draw_seed = 0
    step_offset = 0  # RL steps that the trainer's own count leaves out

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> tuple[list[list[int]], None]:
        if self.use_vllm or self.accelerator.num_processes > 1 or self.is_fsdp_enabled:
            tokens, logprobs = super()._generate_single_turn(prompt_ids, *args, **kwargs)
            return tokens, logprobs
        first = {tuple(ids): ids for ids in reversed(prompt_ids)}
        prompts = [first[tuple(ids)] for ids in prompt_ids]
        longest = getattr(self.model.config, "max_position_embeddings", None) or 2**31
        limits = [min(self.max_completion_length, longest - len(ids)) for ids in prompts]
        rng = np.random.default_rng([self.draw_seed, self.step_offset + self.state.global_step + 1])
        draws = rng.random((len(prompts), self.max_completion_length))
        model = self.accelerator.unwrap_model(self.model_wrapped)
        return decode(model, prompts, limits, self.eos_token_ids, self.temperature, draws), None

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Shapes: `input_ids` (B, P + C) -> log-probabilities and entropies (B, C); zero where there is padding.

        On a CPU TRL's kernel scores the prompt and the padding too, and computes the logits twice: half the time of an update with a small model.
        """
        head: Any = None if model is not self.model else model.get_output_embeddings()
        valid = attention_mask[:, -logits_to_keep:].bool()
        if not _small(self, head, valid) or kwargs.get("pixel_values") is not None or kwargs.get("compute_aux_loss"):
            result: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None] = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
            return result
        hidden = model.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        logits = torch.nn.functional.linear(hidden[:, -logits_to_keep - 1 : -1][valid], head.weight, head.bias) / self.temperature
        log_probs = logits.log_softmax(-1)
        chosen = log_probs.gather(1, input_ids[:, -logits_to_keep:][valid][:, None]).squeeze(1)
        entropy = -(log_probs.detach().exp() * log_probs.detach()).sum(-1)
        zeros = hidden.new_zeros(valid.shape)
        return zeros.masked_scatter(valid, chosen), zeros.masked_scatter(valid, entropy), None


def _small(trainer: GRPOTrainer, head: Any, valid: torch.Tensor) -> bool:
    """Whether the plain computation is right for this model and fits: a plain linear head on a CPU, with no extra scaling of the logits."""
    if head is None or trainer.accelerator.device.type != "cpu" or trainer.accelerator.num_processes > 1 or type(head) is not torch.nn.Linear:
        return False
    config = trainer.model.config.get_text_config()
    scaled = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
    return int(valid.sum()) * head.weight.shape[0] <= LARGEST and not any(getattr(config, name, None) for name in scaled)
