"""Attention over packed documents: masks, the cache of generated text, and the back ends behind one function.

    segment_ids   0 0 1 1 1 -1          allowed[0, 0]   1 . . . . .
                                                        1 1 . . . .
    a token sees itself and what precedes it            . . 1 . . .
    in its own segment, never another segment;          . . 1 1 . .
    padding sees only itself, so no row is empty        . . 1 1 1 .
                                                        . . . . . 1

Shape letters: B batch, S new positions, C positions attended to, H heads, G key-value heads, K head dim.
Knows nothing of layers, of learned weights, or of images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from mm1.models.by_document import DocumentGroups, attend_by_document, group_documents
from mm1.models.flex import Rule, attend_in_tiles, block_mask, usable

Backend: TypeAlias = Literal["auto", "sdpa", "explicit", "documents", "flex"]


@dataclass(frozen=True)
class AttentionMask:
    """Who may attend to whom; built once a forward and shared by all layers.

    A rule, not a matrix: a back end that needs the matrix, or its tiles, has it made once, and no other is made.

        prefix_causal = AttentionMask(lambda row, query, key: (key <= query) | (key < prefix[row]), num_keys=C, real=…)
    """

    sees: Rule
    """(rows, queries, keys), index tensors that broadcast together → whether each query of a row sees the key. Best a
    lambda: FlexAttention compiles it, and what decorates functions (type checkers in tests) is in a compiler's way."""
    num_keys: int
    """C."""
    real: Bool[Tensor, "B S"]
    """New positions that are not padding: what stands at the others means nothing, and experts must not be given it."""
    slots: Int[Tensor, "B S"] | None = None
    """With a cache: the slot in which each new position's key and value are kept; negative for padding. Without one,
    query i stands where key i stands."""
    segment_ids: Int[Tensor, "B S"] | None = None
    """Of packed rows: nobody sees anybody of another segment. None where the rule is all that is known."""

    @staticmethod
    def from_segments(segment_ids: Int[Tensor, "B S"]) -> AttentionMask:
        """Block-diagonal causal mask of packed rows; padding (-1) attends to itself alone, so no softmax is empty."""
        return AttentionMask(
            lambda row, query, key: (
                (segment_ids[row, query] == segment_ids[row, key])
                & (query >= key)
                & ((segment_ids[row, query] >= 0) | (query == key))
            ),
            num_keys=segment_ids.shape[1],
            real=segment_ids >= 0,
            segment_ids=segment_ids,
        )

    @staticmethod
    def for_cache(slots: Int[Tensor, "B S"], length: int) -> AttentionMask:
        """Mask of new positions that stand in `slots` of a cache whose rows each hold one document from slot 0 on.

        A position sees the slots up to its own; padding (a negative slot, anywhere in a row) sees slot 0, and what
        it computes means nothing.

        Args:
            slots: where each new position stands. Increasing within a row, padding aside.
            length: slots to look at: more than the largest slot, less than the cache's capacity. Known on the host,
                so that a young cache is not read to its end.
        """
        last = slots.clamp(min=0)
        return AttentionMask(lambda row, query, key: key <= last[row, query], length, real=slots >= 0, slots=slots)

    def within(self, window: int) -> AttentionMask:
        """The same mask for sliding-window attention: only the last `window` positions, one's own included."""
        sees, slots = self.sees, self.slots
        if slots is None:
            return replace(self, sees=lambda row, query, key: sees(row, query, key) & (key > query - window))
        return replace(self, sees=lambda row, query, key: sees(row, query, key) & (key > slots[row, query] - window))

    @cached_property
    def allowed(self) -> Bool[Tensor, "B 1 S C"]:
        """The whole matrix, for back ends that compute every pair and throw away what is not allowed."""
        batch, length = self.real.shape
        rows, queries, keys = (torch.arange(size, device=self.real.device) for size in (batch, length, self.num_keys))
        return self.sees(rows[:, None, None], queries[:, None], keys)[:, None]

    @cached_property
    def groups(self) -> DocumentGroups:
        """Its documents by length, for attention within each of them alone."""
        assert self.segment_ids is not None, "only packed rows have documents"
        return group_documents(self.segment_ids, self.sees)

    @cached_property
    def blocks(self) -> BlockMask:
        """Its tiles, for FlexAttention, which never looks at those in which nothing is allowed."""
        batch, length = self.real.shape
        return block_mask(self.sees, batch, length, self.num_keys, self.real.device)


class Memory(ABC):
    """What one decoder layer keeps of earlier positions, and how new ones attend to them.

    Whoever wants another cache or other kernels than ours gives the decoder one of these a layer.
    """

    __slots__ = ()

    @abstractmethod
    def previous_keys(self, keys: Float[Tensor, "B S G K"], mask: AttentionMask) -> Float[Tensor, "B S G K"]:
        """The key before each of the new ones, neither smeared nor rotated; asked for before `attend`."""

    @abstractmethod
    def attend(
        self,
        q: Float[Tensor, "B H S K"],
        k: Float[Tensor, "B G S K"],
        v: Float[Tensor, "B G S K"],
        mask: AttentionMask,
    ) -> Float[Tensor, "B H S K"]:
        """Keeps the new keys and values, and attends to all that are kept."""


@dataclass(slots=True)
class LayerCache(Memory):
    """Keys and values that one decoder layer has seen. The caller allocates it; the layer writes it in place.

    The last of its C slots takes what padding writes and is never read: a cache for n positions has C = n + 1.
    """

    keys: Float[Tensor, "B G C K"]
    """Rotated, smeared where the decoder smears: ready to be attended to."""
    values: Float[Tensor, "B G C K"]
    last_key: Float[Tensor, "B G K"]
    """Each row's newest key before smearing and rotation, which the next position's smearing needs."""

    @staticmethod
    def allocate(
        batch_size: int,
        num_kv_heads: int,
        capacity: int,
        head_dim: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> LayerCache:
        """An empty cache for `capacity` positions a row."""
        shape = (batch_size, num_kv_heads, capacity + 1, head_dim)
        return LayerCache(
            keys=torch.zeros(shape, device=device, dtype=dtype),
            values=torch.zeros(shape, device=device, dtype=dtype),
            last_key=torch.zeros((batch_size, num_kv_heads, head_dim), device=device, dtype=dtype),
        )

    @property
    def capacity(self) -> int:
        """Positions that a row can hold."""
        return self.keys.shape[2] - 1

    def select(self, rows: Int[Tensor, " R"]) -> LayerCache:
        """A new cache with the given rows, which may repeat (one prefix, many continuations) or be fewer."""
        return LayerCache(
            keys=self.keys.index_select(0, rows),
            values=self.values.index_select(0, rows),
            last_key=self.last_key.index_select(0, rows),
        )

    def write(
        self, keys: Float[Tensor, "B G S K"], values: Float[Tensor, "B G S K"], slots: Int[Tensor, "B S"]
    ) -> None:
        """Puts new keys and values into their slots."""
        index = torch.where(slots < 0, self.capacity, slots)[:, None, :, None].expand_as(keys)
        self.keys.scatter_(2, index, keys.to(self.keys.dtype))
        self.values.scatter_(2, index, values.to(self.values.dtype))

    def attend(
        self,
        q: Float[Tensor, "B H S K"],
        k: Float[Tensor, "B G S K"],
        v: Float[Tensor, "B G S K"],
        mask: AttentionMask,
    ) -> Float[Tensor, "B H S K"]:
        self.write(k, v, _slots(mask))
        keys, values = (kept[:, :, : mask.num_keys].to(q.dtype) for kept in (self.keys, self.values))
        return attend(q, keys, values, mask)

    def previous_keys(self, keys: Float[Tensor, "B S G K"], mask: AttentionMask) -> Float[Tensor, "B S G K"]:
        """The key before each of the new ones, across calls; remembers the newest for the next call."""
        slots = _slots(mask)
        first = self.last_key[:, None].to(keys.dtype)
        after_padding = F.pad(slots[:, :-1] < 0, (1, 0))[..., None, None]
        previous = torch.where(after_padding, first, torch.cat([first, keys[:, :-1]], dim=1))
        newest, column = slots.max(dim=1)
        newest_key = keys.take_along_dim(column[:, None, None, None], dim=1)[:, 0].to(self.last_key.dtype)
        self.last_key.copy_(torch.where((newest >= 0)[:, None, None], newest_key, self.last_key))
        return previous


def attend(
    q: Float[Tensor, "B H S K"],
    k: Float[Tensor, "B G C K"],
    v: Float[Tensor, "B G C K"],
    mask: AttentionMask | None = None,
    backend: Backend = "auto",
) -> Float[Tensor, "B H S K"]:
    """softmax(q kᵀ / √K) v; every query sees everything where `mask` is None. H is a multiple of G (grouped queries).

    All attention goes through here, but for that of a `Memory` with kernels of its own.

    "auto" takes the fastest. On CUDA that is "flex" for packed documents, if it works there; on the CPU "documents",
    which has one of the dense ones attend within documents of one length. Dense are "explicit", on the CPU in bfloat16,
    because the backward of PyTorch's fused attention is several times slower there than plain matrix products, and
    "sdpa" everywhere else, a cache included, whose shapes change with every token. Masked positions get a weight of
    exactly 0 in all of them, so what stands there cannot change a bit of the result.
    """
    if backend == "auto":
        backend = _fastest(mask, q.device, q.dtype, q.shape[-1])
    if backend == "flex":
        assert mask is not None, "FlexAttention is for masks"
        return attend_in_tiles(q, k, v, mask.blocks)
    if backend == "documents":
        assert mask is not None, "without a mask there are no documents"
        dense = partial(_attend_densely, backend=_fastest_dense(q.device, q.dtype))
        return attend_by_document(q, k, v, mask.groups, dense)
    return _attend_densely(q, k, v, None if mask is None else mask.allowed, backend)


def prepare(mask: AttentionMask, device: torch.device, dtype: torch.dtype, head_dim: int) -> None:
    """Makes the matrix or the tiles that `attend` will want of `mask` for such queries.

    For whoever compiles a caller of `attend`: while code is traced no kernel can be tried, and what is made once would
    be made again in every trace.
    """
    _ = mask.blocks if _fastest(mask, device, dtype, head_dim) == "flex" else mask.allowed


def _fastest(mask: AttentionMask | None, device: torch.device, dtype: torch.dtype, head_dim: int) -> Backend:
    if mask is None or mask.slots is not None:
        return _fastest_dense(device, dtype)
    if device.type == "cpu":
        # Documents are counted on the host, which a compiler cannot follow, nor whoever traces fake tensors; both
        # have the matrix made before.
        dense = mask.segment_ids is None or "allowed" in vars(mask) or torch.compiler.is_compiling()
        return _fastest_dense(device, dtype) if dense else "documents"
    tiles = "blocks" in vars(mask) if torch.compiler.is_compiling() else usable(device, dtype, head_dim)
    return "flex" if tiles else "sdpa"


def _fastest_dense(device: torch.device, dtype: torch.dtype) -> Backend:
    return "explicit" if device.type == "cpu" and dtype == torch.bfloat16 else "sdpa"


def _slots(mask: AttentionMask) -> Tensor:
    assert mask.slots is not None, "a cache needs AttentionMask.for_cache"
    return mask.slots


def _attend_densely(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, backend: Backend) -> Tensor:
    if backend == "explicit":
        return _attend_explicitly(q, k, v, allowed)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=q.shape[1] != k.shape[1])


def _attend_explicitly(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    batch, heads, length, head_dim = q.shape
    kv_heads = k.shape[1]
    grouped = q.reshape(batch, kv_heads, heads // kv_heads * length, head_dim)
    scores = torch.matmul(grouped * head_dim**-0.5, k.transpose(-2, -1)).view(batch, heads, length, k.shape[2])
    if allowed is not None:
        # Added, not filled in: the backward of a sum is free, and the bias is made for one head, not for all.
        scores = scores + torch.zeros_like(allowed, dtype=scores.dtype).masked_fill(~allowed, float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype)
    return torch.matmul(weights.view(batch, kv_heads, grouped.shape[2], k.shape[2]), v).view(
        batch, heads, length, head_dim
    )
