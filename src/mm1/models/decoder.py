"""The decoder: a causal transformer over embeddings that can be a Llama, Mistral, Qwen2, Qwen3, OLMo 2 or Mixtral.

    tokens → embed → [norm → attention → + → norm → mlp or experts → +] × num_layers → norm → hidden → logits → (…, V)

    decoder = Decoder(DecoderConfig(vocab_size=512))
    output = decoder(decoder.embed(tokens), positions, AttentionMask.from_segments(segment_ids))
    logits = decoder.logits(output.hidden)                                                         # (B, S, V)

Takes embeddings, not tokens, so that images can stand among them. What stands in one document of a packed row cannot
change a bit of another. With experts, which are computed all documents together, it can change the rounding, and where
experts have a limited capacity, who gets a slot: in training only (`moe.py`).

Knows nothing of images, tokenizers or losses. The shapes that MM1 used are not published; RMSNorm, SwiGLU and rotary
positions are those of AXLearn's public decoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn

from mm1.config import Config
from mm1.models.attention import AttentionMask, LayerCache, Memory, attend
from mm1.models.initialization import filled, initialise
from mm1.models.moe import MoE, MoEConfig, Routing
from mm1.models.norm import RMSNorm
from mm1.models.rotary import RopeScalingConfig, Rotary


class DecoderConfig(Config):
    """Shape of a decoder."""

    vocab_size: PositiveInt
    dim: PositiveInt = 128
    num_layers: PositiveInt = 4
    num_heads: PositiveInt = 4
    num_kv_heads: PositiveInt | None = None
    """Key-value heads, shared by groups of query heads; as many as `num_heads` where None."""
    head_dim: PositiveInt | None = None
    """`dim / num_heads` where None (Qwen3 sets it apart)."""
    mlp_dim: PositiveInt = 512
    mlp: Literal["swiglu", "gelu"] = "gelu"
    rope_theta: float = Field(default=10_000.0, gt=1.0)
    rope_scaling: RopeScalingConfig | None = None
    """How rotary positions were stretched to longer documents (Llama 3.1, and YaRN); not at all where None."""
    norm_eps: NonNegativeFloat = 1e-5
    tied_embeddings: bool = True
    """Whether the input embedding is also the output matrix."""
    qkv_bias: bool = False
    """Qwen2."""
    qk_norm: Literal["none", "head", "projection"] = "none"
    """RMSNorm of queries and keys: each head's apart (Qwen3), or all heads' together (OLMo 2)."""
    norm_placement: Literal["pre", "post"] = "pre"
    """Whether a block normalises what goes into attention and MLP, or what comes out of them (OLMo 2)."""
    sliding_window: PositiveInt | None = None
    """How many positions a token attends to, its own included (Mistral); its whole document where None."""
    moe: MoEConfig | None = None
    """Which layers have experts in place of an MLP (Mixtral, Qwen3-MoE); none where None."""
    smeared_keys: bool = False
    """Mixes into each key the one before it, by one learned scalar a head. Not in MM1: it lets decoders of a few
    layers learn in-context copying within minutes, which they otherwise do not."""

    @model_validator(mode="after")
    def _check(self) -> DecoderConfig:
        if self.head_dim is None and self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is not a multiple of num_heads {self.num_heads}: set head_dim too")
        if self.num_heads % self.kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.kv_heads}")
        if self.dim_per_head % 2:
            raise ValueError(f"the head dim {self.dim_per_head} is odd, but rotary positions turn pairs: make it even")
        if self.moe is not None and self.moe.every > self.num_layers:
            raise ValueError(f"moe.every {self.moe.every} makes none of the {self.num_layers} layers sparse: lower it")
        return self

    @property
    def kv_heads(self) -> int:
        """Key-value heads, resolved."""
        return self.num_kv_heads or self.num_heads

    @property
    def dim_per_head(self) -> int:
        """Head dim, resolved."""
        return self.head_dim or self.dim // self.num_heads


class DecoderOutput(NamedTuple):
    """What a forward pass gives. A tuple, because the hooks of FSDP see only what PyTorch can flatten."""

    hidden: Float[Tensor, "B S D"]
    """After the final norm."""
    routing: tuple[Routing, ...] = ()
    """One a sparse layer, in order."""


class Decoder(nn.Module):
    """A stack of blocks between an embedding and an output matrix."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.head = None if config.tied_embeddings else nn.Linear(config.dim, config.vocab_size, bias=False)
        initialise(self, config.num_layers, residual_outputs=("output", "down"))

    def embed(self, tokens: Int[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Embeddings of token ids."""
        embeddings: Tensor = self.embedding(tokens)
        return embeddings

    def forward(
        self,
        embeddings: Float[Tensor, "B S D"],
        positions: Int[Tensor, "B S"],
        mask: AttentionMask,
        cache: Sequence[Memory] | None = None,
    ) -> DecoderOutput:
        """Hidden states after the final norm, and how sparse layers routed.

        Args:
            embeddings: what stands at each position.
            positions: place within its document; 0 marks a document's start.
            mask: from segments when training; `AttentionMask.for_cache` exactly when `cache` is given. The decoder
                narrows it to its sliding window.
            cache: one entry a layer, read and written in place.
        """
        config = self.config
        rotary = Rotary.from_positions(positions, config.dim_per_head, config.rope_theta, config.rope_scaling)
        starts = positions == 0
        if config.sliding_window is not None:
            mask = mask.within(config.sliding_window)
        hidden, routing = embeddings, []
        for layer, block in enumerate(self.blocks):
            hidden, routed = block(hidden, rotary, starts, mask, None if cache is None else cache[layer])
            if routed is not None:
                routing.append(routed)
        return DecoderOutput(self.norm(hidden), tuple(routing))

    @property
    def output_weight(self) -> Float[Tensor, "V D"]:
        """The matrix that `logits` multiplies by."""
        return self.embedding.weight if self.head is None else self.head.weight

    def logits(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Scores of the next token."""
        return F.linear(hidden, self.output_weight)

    def allocate_cache(
        self, batch_size: int, capacity: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> list[LayerCache]:
        """An empty cache for `capacity` positions in each of `batch_size` rows, one entry a layer."""
        config = self.config
        return [
            LayerCache.allocate(batch_size, config.kv_heads, capacity, config.dim_per_head, device, dtype)
            for _ in range(config.num_layers)
        ]


class Block(nn.Module):
    """Attention and MLP, each added to what went in; normalised before, or after (OLMo 2, arXiv 2501.00656, 3.3)."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.norm_placement = config.norm_placement
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.dim, config.norm_eps)
        self.mlp = _build_mlp(config, layer)

    def forward(
        self,
        hidden: Float[Tensor, "B S D"],
        rotary: Rotary,
        starts: Bool[Tensor, "B S"],
        mask: AttentionMask,
        cache: Memory | None,
    ) -> tuple[Float[Tensor, "B S D"], Routing | None]:
        if self.norm_placement == "pre":
            hidden = hidden + self.attention(self.attention_norm(hidden), rotary, starts, mask, cache)
            mixed, routing = self._mix(self.mlp_norm(hidden), mask)
            return hidden + mixed, routing
        hidden = hidden + self.attention_norm(self.attention(hidden, rotary, starts, mask, cache))
        mixed, routing = self._mix(hidden, mask)
        return hidden + self.mlp_norm(mixed), routing

    def _mix(self, hidden: Tensor, mask: AttentionMask) -> tuple[Tensor, Routing | None]:
        if isinstance(self.mlp, MoE):
            mixed, routing = self.mlp(hidden, mask.real)
            return mixed, routing
        return self.mlp(hidden), None


class Attention(nn.Module):
    """Causal self-attention with rotary positions and grouped queries; one matrix makes queries, keys and values."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = (config.num_heads, config.kv_heads, config.kv_heads)
        self.head_dim = config.dim_per_head
        self.qkv = nn.Linear(config.dim, sum(self.heads) * self.head_dim, bias=config.qkv_bias)
        self.output = nn.Linear(config.num_heads * self.head_dim, config.dim, bias=False)
        self.qk_norm = config.qk_norm
        if config.qk_norm != "none":
            heads, kv_heads = (config.num_heads, config.kv_heads) if config.qk_norm == "projection" else (1, 1)
            self.query_norm = RMSNorm(heads * self.head_dim, config.norm_eps)
            self.key_norm = RMSNorm(kv_heads * self.head_dim, config.norm_eps)
        # sigmoid(0): half of each key is its predecessor's. From a small share, copying is learned far later.
        self.smear = filled(config.kv_heads, 0.0) if config.smeared_keys else None

    def forward(
        self,
        hidden: Float[Tensor, "B S D"],
        rotary: Rotary,
        starts: Bool[Tensor, "B S"],
        mask: AttentionMask,
        cache: Memory | None,
    ) -> Float[Tensor, "B S D"]:
        q, k, v = self._project(hidden)
        if self.smear is not None:
            previous = F.pad(k[:, :-1], (0, 0, 0, 0, 1, 0)) if cache is None else cache.previous_keys(k, mask)
            k = _smear(k, previous, self.smear, starts)
        q, k, v = rotary.rotate(q).transpose(1, 2), rotary.rotate(k).transpose(1, 2), v.transpose(1, 2)
        attended = attend(q, k, v, mask) if cache is None else cache.attend(q, k, v, mask)
        mixed: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return mixed

    def _project(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, S, heads, K), the first two normalised where the decoder does."""
        q, k, v = self.qkv(hidden).unflatten(-1, (-1, self.head_dim)).split(self.heads, dim=2)
        if self.qk_norm == "head":
            q, k = self.query_norm(q).to(v.dtype), self.key_norm(k).to(v.dtype)
        elif self.qk_norm == "projection":
            q, k = (norm(x.flatten(2)).view_as(x).to(v.dtype) for x, norm in ((q, self.query_norm), (k, self.key_norm)))
        return q, k, v


class SwiGLU(nn.Module):
    """down(SiLU(gate(x)) · up(x)), gate and up in one matrix (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.dim, 2 * config.mlp_dim, bias=False)
        self.down = nn.Linear(config.mlp_dim, config.dim, bias=False)

    def forward(self, hidden: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        gate, up = self.gate_up(hidden).chunk(2, dim=-1)
        mixed: Tensor = self.down(F.silu(gate) * up)
        return mixed


class GELU(nn.Module):
    """down(GELU(up(x)))."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.dim, config.mlp_dim, bias=False)
        self.down = nn.Linear(config.mlp_dim, config.dim, bias=False)

    def forward(self, hidden: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        mixed: Tensor = self.down(F.gelu(self.up(hidden)))
        return mixed


def _build_mlp(config: DecoderConfig, layer: int) -> MoE | SwiGLU | GELU:
    if config.moe is not None and config.moe.is_sparse(layer):
        return MoE(config.moe, config.dim, config.mlp_dim, config.mlp)
    return SwiGLU(config) if config.mlp == "swiglu" else GELU(config)


def _smear(k: Tensor, previous: Tensor, smear: Tensor, starts: Tensor) -> Tensor:
    """Each key (B, S, G, K) moved towards the one before it, except where a document starts."""
    share = smear.sigmoid()[:, None] * ~starts[:, :, None, None]
    return (k + share * (previous - k)).to(k.dtype)
