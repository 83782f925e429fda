"""A decoder layer's memory and attention in transformers' terms: its caches, its attention functions.

    decoder(embeddings, positions, mask, [LayerMemory(…) for each layer])

    Attention.forward → memory.attend(q, k, v) → Cache.update → ALL_ATTENTION_FUNCTIONS["sdpa" | "eager" | …]

Where keys are smeared, the next call needs the newest key as it was before. It is kept in the cache beside the values,
as K more numbers of each: whatever transformers does to a cache (reorder beams, repeat, crop), it does to both. Knows
nothing of masks, positions or weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

from mm1.config import UserError
from mm1.models.attention import AttentionMask, Memory
from mm1.models.decoder import Attention


def prepare(attention: nn.Module, config: PreTrainedConfig, layer: int) -> None:
    """Gives an mm1 attention module what transformers' and vLLM's attention functions read from theirs."""
    assert isinstance(attention, Attention)
    words = {
        "config": config,
        "layer_idx": layer,
        "is_causal": True,
        "num_key_value_groups": config.num_attention_heads // config.num_key_value_heads,
        "scaling": config.head_dim**-0.5,
    }
    for name, value in words.items():
        setattr(attention, name, value)


class LayerMemory(Memory):
    """One layer's part of a cache, for one forward pass.

    Attributes:
        weights: how much each position attended to each other, (B, H, S, C), if the attention function says so.
    """

    __slots__ = ("_attention", "_cache", "_mask", "_options", "_raw", "weights")

    def __init__(self, attention: Any, mask: Any, cache: Cache | None, options: Mapping[str, Any]) -> None:
        """`attention` was prepared; `mask` is what transformers made for its attention function; options go there."""
        self._attention, self._mask, self._cache, self._options = attention, mask, cache, options
        self._raw: Tensor | None = None
        self.weights: Tensor | None = None

    def previous_keys(self, keys: Tensor, mask: AttentionMask) -> Tensor:
        self._raw = keys.transpose(1, 2)
        first = self._newest_key()
        if first is None:
            first = torch.zeros_like(self._raw[:, :, :1])
        return torch.cat([first.to(keys.dtype).transpose(1, 2), keys[:, :-1]], dim=1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
        attention = self._attention
        batch, heads, length, head_dim = q.shape
        if self._cache is not None:
            kept = v if self._raw is None else torch.cat([v, self._raw], dim=-1)
            k, kept = self._cache.update(k, kept, attention.layer_idx)
            v = kept[..., :head_dim]
        function = ALL_ATTENTION_FUNCTIONS.get_interface(attention.config._attn_implementation, eager_attention_forward)
        mixed, self.weights = function(
            attention,
            q,
            k,
            v,
            self._mask,
            dropout=0.0,
            scaling=attention.scaling,
            sliding_window=attention.config.sliding_window,
            **self._options,
        )
        # Most give (B, S, H, K); vLLM's is flat.
        by_head: Tensor = mixed.reshape(batch, length, heads, head_dim)
        return by_head.transpose(1, 2)

    def _newest_key(self) -> Tensor | None:
        """(B, G, 1, K): the last key of the calls before; None where there was none."""
        index = self._attention.layer_idx
        if self._cache is None or len(self._cache.layers) <= index or self._cache.get_seq_length(index) == 0:
            return None
        layer = self._cache.layers[index]
        if not isinstance(layer, DynamicLayer):
            raise UserError(
                f"smeared keys need a cache that grows, not a {type(layer).__name__}: generate without "
                "cache_implementation"
            )
        assert self._raw is not None
        newest: Tensor = layer.values[:, :, -1:, -self._raw.shape[-1] :]
        return newest
