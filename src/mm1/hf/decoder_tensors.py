"""Names and shapes of a decoder's tensors in Hugging Face's families and in ours, and the way from each to the other.

    decoder_layout(config, family)["blocks.0.attention.qkv.weight"].parts    # {"….q_proj.weight": (4096, 4096), …}
    tensors = read_decoder(folder, config, family)                           # {our name: tensor}
    for name, part in decoder_layout(config, family).items():                # and back
        theirs = dict(part.split(tensors[name]))

Ours keeps queries, keys and values in one matrix, gate and up in another, and the experts of a layer stacked and
transposed; theirs keeps each apart. Nothing is computed on the way, so a round trip is bit-equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mm1.config import UserError
from mm1.hf.decoders import Family
from mm1.hf.folder import HFFolder
from mm1.models.decoder import DecoderConfig
from mm1.models.moe import MoEConfig
from mm1.models.weights import Shape, differences

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
VOCABULARY = ("embedding.weight", "head.weight")
"""Of our tensors, those with a row for each id."""


@dataclass(frozen=True)
class Layout:
    """How one tensor of ours is made of theirs."""

    parts: dict[str, Shape]
    """Their names and shapes, in order."""
    form: Literal["rows", "experts", "stack"] = "rows"
    """One below the other; the same for expert 0, then for expert 1, …, each transposed; or one stack (E, out, in) that
    holds the experts already, as transformers 5 keeps them in memory."""
    num_experts: int = 1

    def join(self, read: Callable[[str], Tensor]) -> Tensor:
        """Our tensor."""
        theirs = [read(name) for name in self.parts]
        if self.form == "stack":
            return theirs[0].transpose(1, 2).contiguous()
        if self.form == "rows":
            return theirs[0] if len(theirs) == 1 else torch.cat(theirs)
        step = len(theirs) // self.num_experts
        return torch.stack([torch.cat(theirs[at : at + step]).T for at in range(0, len(theirs), step)])

    def split(self, ours: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Their tensors, by name."""
        assert self.form != "stack", "stacks are read, and written as experts"
        parts = iter(self.parts.items())
        for matrix in [ours] if self.form == "rows" else [expert.T for expert in ours]:
            start = 0
            while start < len(matrix):
                name, shape = next(parts)
                yield name, matrix[start : start + shape[0]].contiguous()
                start += shape[0]


def decoder_layout(config: DecoderConfig, family: Family, stacked: bool = False) -> dict[str, Layout]:
    """Every tensor of our decoder by our name; `stacked` says that the folder holds the experts of a layer in one."""
    layout = {"embedding.weight": _one(EMBEDDING, config.vocab_size, config.dim)}
    for layer in range(config.num_layers):
        theirs = f"model.layers.{layer}."
        block = _attention(f"{theirs}self_attn.", config) | _norms(theirs, config)
        if config.moe is None or not config.moe.is_sparse(layer):
            block |= _mlp(f"{theirs}mlp.", config)
        elif stacked:
            block |= _stacked_experts(f"{theirs}mlp.", config, config.moe)
        elif family.model_type == "mixtral":
            block |= _experts(f"{theirs}block_sparse_moe.", ("w1", "w3", "w2"), config, config.moe)
        else:
            block |= _experts(f"{theirs}mlp.", ("gate_proj", "up_proj", "down_proj"), config, config.moe)
        layout |= {f"blocks.{layer}.{name}": part for name, part in block.items()}
    layout["norm.weight"] = _one("model.norm.weight", config.dim)
    if not config.tied_embeddings:
        layout["head.weight"] = _one(HEAD, config.vocab_size, config.dim)
    return layout


def read_decoder(folder: HFFolder, config: DecoderConfig, family: Family) -> dict[str, Tensor]:
    """All of our decoder's tensors, in the dtype they are stored in.

    Raises:
        UserError: a tensor is missing, is one too many, or has another shape than config.json says: nothing was read
            then. Or the output matrix of tied embeddings is stored apart and is another.
    """
    layout = decoder_layout(
        config, family, stacked=any(name.endswith("experts.gate_up_proj") for name in folder.shapes)
    )
    wanted = {name: shape for part in layout.values() for name, shape in part.parts.items()}
    # Older folders store the rotary frequencies, which follow from config.json, and a tied matrix a second time.
    twice = config.tied_embeddings and HEAD in folder.shapes
    left_out = {HEAD} if twice else set()
    left_out |= {name for name in folder.shapes if name.endswith("rotary_emb.inv_freq")}
    found = {name: shape for name, shape in folder.shapes.items() if name not in left_out}
    if wrong := differences(wanted, found):
        raise UserError(
            f"the tensors of {folder.path} are not those of its config.json: {wrong}: copy the folder again"
        )
    if twice and not torch.equal(folder.tensor(HEAD), folder.tensor(EMBEDDING)):
        raise UserError(
            f"{folder.path} has tie_word_embeddings=true, but {HEAD} is not {EMBEDDING}: set it to false in config.json"
        )
    return {name: part.join(folder.tensor) for name, part in layout.items()}


def _one(name: str, *shape: int) -> Layout:
    return Layout({name: shape})


def _attention(theirs: str, config: DecoderConfig) -> dict[str, Layout]:
    rows = [heads * config.dim_per_head for heads in (config.num_heads, config.kv_heads, config.kv_heads)]
    names = [f"{theirs}{projection}_proj" for projection in "qkv"]
    parts = {
        "attention.qkv.weight": Layout(
            {f"{name}.weight": (n, config.dim) for name, n in zip(names, rows, strict=True)}
        ),
        "attention.output.weight": _one(f"{theirs}o_proj.weight", config.dim, rows[0]),
    }
    if config.qkv_bias:
        parts["attention.qkv.bias"] = Layout({f"{name}.bias": (n,) for name, n in zip(names, rows, strict=True)})
    if config.qk_norm != "none":
        query, key = rows[:2] if config.qk_norm == "projection" else [config.dim_per_head] * 2
        parts["attention.query_norm.weight"] = _one(f"{theirs}q_norm.weight", query)
        parts["attention.key_norm.weight"] = _one(f"{theirs}k_norm.weight", key)
    return parts


def _norms(theirs: str, config: DecoderConfig) -> dict[str, Layout]:
    """One name means two norms: `post_attention_layernorm` is the MLP's, but in OLMo 2 it is the attention's."""
    before = config.norm_placement == "pre"
    attention = "input_layernorm" if before else "post_attention_layernorm"
    mlp = "post_attention_layernorm" if before else "post_feedforward_layernorm"
    return {
        "attention_norm.weight": _one(f"{theirs}{attention}.weight", config.dim),
        "mlp_norm.weight": _one(f"{theirs}{mlp}.weight", config.dim),
    }


def _mlp(theirs: str, config: DecoderConfig) -> dict[str, Layout]:
    names = [f"{theirs}gate_proj.weight", f"{theirs}up_proj.weight"]
    return {
        "mlp.gate_up.weight": Layout(dict.fromkeys(names, (config.mlp_dim, config.dim))),
        "mlp.down.weight": _one(f"{theirs}down_proj.weight", config.dim, config.mlp_dim),
    }


def _experts(theirs: str, names: tuple[str, str, str], config: DecoderConfig, moe: MoEConfig) -> dict[str, Layout]:
    """`names`: what the family calls gate, up and down."""
    width, count = moe.expert_dim or config.mlp_dim, moe.num_experts
    gate, up, down = ([f"{theirs}experts.{expert}.{name}.weight" for expert in range(count)] for name in names)
    gate_up = [name for pair in zip(gate, up, strict=True) for name in pair]
    return {
        "mlp.router.weight": _one(f"{theirs}gate.weight", count, config.dim),
        "mlp.gate_up.weight": Layout(dict.fromkeys(gate_up, (width, config.dim)), "experts", count),
        "mlp.down.weight": Layout(dict.fromkeys(down, (config.dim, width)), "experts", count),
    }


def _stacked_experts(theirs: str, config: DecoderConfig, moe: MoEConfig) -> dict[str, Layout]:
    width, count = moe.expert_dim or config.mlp_dim, moe.num_experts
    return {
        "mlp.router.weight": _one(f"{theirs}gate.weight", count, config.dim),
        "mlp.gate_up.weight": Layout({f"{theirs}experts.gate_up_proj": (count, 2 * width, config.dim)}, "stack", count),
        "mlp.down.weight": Layout({f"{theirs}experts.down_proj": (count, config.dim, width)}, "stack", count),
    }
