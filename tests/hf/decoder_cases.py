"""Small models of transformers with random weights, none of them left at its start, at reduced depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers
from torch import nn

TEXT = ["a red circle stands left of a blue square", "how many squares are there? two", "naïve café, 日本 🙂"]

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": None,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"head_dim": 128}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama-3.1": ("Llama", {"rope_parameters": LLAMA3}),
    "llama-linear": ("Llama", {"rope_parameters": LINEAR}),
    "llama-yarn": ("Llama", {"rope_parameters": YARN}),
    "llama-yarn-factor": ("Llama", {"rope_parameters": {**YARN, "attention_factor": 1.4, "beta_fast": 16.0}}),
    "llama-yarn-mscale": ("Llama", {"rope_parameters": {**YARN, "mscale": 1.5, "mscale_all_dim": 0.5}}),
    "mistral": ("Mistral", {"sliding_window": 7, "head_dim": 128}),
    "mistral-whole": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2-window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 0}),
    "qwen3": ("Qwen3", {"head_dim": 128}),
    "olmo2": ("Olmo2", {}),
    "mixtral": ("Mixtral", {**EXPERTS, "sliding_window": None}),
    "qwen3_moe": ("Qwen3Moe", {**EXPERTS, "head_dim": 128, "moe_intermediate_size": 96, "norm_topk_prob": True}),
    "qwen3_moe-every-2nd": ("Qwen3Moe", {**EXPERTS, "moe_intermediate_size": 96, "decoder_sparse_step": 2}),
}
"""What is imported, exported and compared: class and settings by name."""


def make(case: str, **settings: Any) -> Any:
    """A model in float32 and evaluation mode; the same weights at every call."""
    name, own = CASES[case]
    config = getattr(transformers, f"{name}Config")(**{**SMALL, **own, **settings})
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    _perturb(model)
    return model


def _perturb(model: nn.Module) -> None:
    """Norms away from 1 and biases away from 0, so that one in the wrong place shows; logits of ordinary size."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
            else:
                parameter.mul_(2)


def write_tokenizer(folder: Path, bos: bool = False, pad: str | None = None) -> None:
    """A byte-level tokenizer like Llama 3's: "<s>" only where `bos`, "</s>", and an ordinary added token."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>", "<|reserved|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT * 4, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    if bos:
        pair = [("<s>", tokenizer.token_to_id("<s>"))]
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=pair)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=True)
    config: dict[str, Any] = {
        "bos_token": "<s>",
        "eos_token": {"__type": "AddedToken", "content": "</s>"} if bos else "</s>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if pad is not None:
        config["pad_token"] = pad
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\r\n", newline="")


def write_folder(folder: Path, case: str, shard_size: str = "5GB", bos: bool = False, **settings: Any) -> Any:
    """The folder of a case of `models.CASES`; returns its model."""
    model = make(case, **settings)
    model.save_pretrained(folder, max_shard_size=shard_size)
    write_tokenizer(folder, bos)
    return model
