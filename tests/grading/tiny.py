"""A random Qwen3 with a byte-level tokenizer, small enough to make in every test run, and LoRA adapters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tiny_model(
    folder: Path, *, layers: int = 2, width: int = 32, positions: int = 512, seed: int = 0, spread: float = 0.3, corpus: Sequence[str] = ()
) -> Path:
    """Write a model of `layers` x `width` to `folder`. `spread` is the standard deviation of its weights: larger is more decided.

    Its tokens are bytes, and words and tags of `corpus`.
    """
    import torch
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    if corpus:
        words = pre_tokenizers.Split(Regex(r"</?\w+>| ?\w+|\W"), "isolated")
        bpe.pre_tokenizer = pre_tokenizers.Sequence([words, bpe.pre_tokenizer])
        bpe.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=2000, min_frequency=1, initial_alphabet=alphabet, show_progress=False))
    bpe.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=max(8, width // 4),
            max_position_embeddings=positions,
            tie_word_embeddings=True,
            initializer_range=spread,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
        model = Qwen3ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_lora(base: Path, folder: Path, *, seed: int, spread: float, rank: int = 4) -> Path:
    """Write an adapter for the checkpoint in `base` to `folder`, as PEFT writes it: on the attention's query and value projections.

    `spread` is the standard deviation of the weights of A and B: at 0 the adapter changes nothing.
    """
    import torch
    from safetensors.torch import save_file

    config = json.loads((base / "config.json").read_text())
    width, head = config["hidden_size"], config["head_dim"]
    outs = {"q_proj": config["num_attention_heads"] * head, "v_proj": config["num_key_value_heads"] * head}
    rng = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        for module, out in outs.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            weights[f"{name}.lora_A.weight"] = spread * torch.randn(rank, width, generator=rng)
            weights[f"{name}.lora_B.weight"] = spread * torch.randn(out, rank, generator=rng)
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "r": rank, "lora_alpha": rank, "bias": "none"}
    folder.mkdir(parents=True)
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"target_modules": sorted(outs), "lora_dropout": 0.0}))
    return folder
