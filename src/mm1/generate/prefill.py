"""From prompts to a filled cache: all images of a batch encoded once, shared beginnings computed once.

    prompts ── embed_prompts ──→ one (S, D) each ── fill ──→ cache rows + hidden states of the last positions

Every row of the cache holds one prompt from slot 0 on, so a token's slot is its position. Knows nothing of sampling,
of stopping, or of what is done with the hidden states.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mm1.generate.batching import BatchPlan, slices
from mm1.generate.request import Prompt
from mm1.models.attention import AttentionMask, LayerCache
from mm1.models.decoder import Decoder
from mm1.models.mm1 import MM1

MAX_IMAGES = 256
"""Encoded at once; bounds the memory of the encoder's activations."""


def embed_prompts(
    model: MM1, prompts: Sequence[Prompt], image_numbers: Sequence[Sequence[int]], device: torch.device
) -> list[Float[Tensor, "S D"]]:
    """What stands at each position of each prompt. Images of equal number are equal, and encoded once."""
    lengths = [len(prompt.tokens) for prompt in prompts]
    tokens = torch.from_numpy(np.concatenate([prompt.tokens for prompt in prompts]).astype(np.int64)).to(device)[None]
    distinct = {
        number: image
        for prompt, numbers in zip(prompts, image_numbers, strict=True)
        for number, image in zip(numbers, prompt.images, strict=True)
    }
    if not distinct:
        return list(model.decoder.embed(tokens)[0].split_with_sizes(lengths))
    images = torch.from_numpy(np.stack(list(distinct.values()))).movedim(-1, 1).to(device)
    parts = [images[start : start + MAX_IMAGES] for start in range(0, len(images), MAX_IMAGES)]
    features = torch.cat([model.encode_images(part) for part in parts])
    row_of = {number: row for row, number in enumerate(distinct)}
    chosen = torch.tensor([row_of[number] for numbers in image_numbers for number in numbers], device=device)
    index = torch.from_numpy(_image_index(prompts, features.shape[1])).to(device)[None]
    return list(model.embed(tokens, index, features[chosen])[0].split_with_sizes(lengths))


def fill(
    decoder: Decoder,
    plan: BatchPlan,
    embeddings: Sequence[Float[Tensor, "S D"]],
    wanted: Sequence[int],
    capacity: int,
    max_positions: int,
) -> tuple[list[LayerCache], list[Float[Tensor, "W D"]]]:
    """Computes the rows of `plan` into a new cache.

    Args:
        decoder: the model.
        plan: rows, and what they begin with in common.
        embeddings: one a row.
        wanted: of how many last positions of each row the hidden states are asked for.
        capacity: positions that a row of the cache holds.
        max_positions: in one forward pass, padding included.

    Returns:
        the cache, and the hidden states of the wanted positions of each row.
    """
    device, dtype = embeddings[0].device, embeddings[0].dtype
    cache = decoder.allocate_cache(len(embeddings), capacity, device, dtype)
    if plan.groups:
        beginnings = [embeddings[group.rows[0]][: group.shared] for group in plan.groups]
        common = decoder.allocate_cache(len(beginnings), plan.groups[0].shared, device, dtype)
        _compute(decoder, common, beginnings, [0] * len(beginnings), [0] * len(beginnings), max_positions)
        for number, group in enumerate(plan.groups):
            _copy(common, number, cache, torch.tensor(group.rows, device=device), group.shared)
    rest = [row[start:] for row, start in zip(embeddings, plan.starts, strict=True)]
    return cache, _compute(decoder, cache, rest, plan.starts, wanted, max_positions)


def step(
    decoder: Decoder,
    cache: list[LayerCache],
    embeddings: Float[Tensor, "B S D"],
    slots: Int[Tensor, "B S"],
    length: int,
) -> Float[Tensor, "B S D"]:
    """One forward pass of new positions that stand in `slots` (negative: padding), all below `length`."""
    hidden: Tensor = decoder(embeddings, slots.clamp(min=0), AttentionMask.for_cache(slots, length), cache).hidden
    return hidden


def _compute(
    decoder: Decoder,
    cache: list[LayerCache],
    pieces: Sequence[Tensor],
    starts: Sequence[int],
    wanted: Sequence[int],
    max_positions: int,
) -> list[Tensor]:
    """Runs the pieces (S, D), longest first, at their starts in the rows of `cache`; returns the wanted ends."""
    ends: list[Tensor] = []
    for rows in slices([len(piece) for piece in pieces], max_positions):
        part = slice(rows.start, rows.stop)
        lengths = torch.tensor([len(piece) for piece in pieces[part]])[:, None]
        offsets = torch.arange(int(lengths[0]))
        first = torch.tensor(starts[part])[:, None]
        slots = torch.where(offsets < lengths, first + offsets, -1)
        # Views: what is written through them stands in the cache.
        views = [LayerCache(layer.keys[part], layer.values[part], layer.last_key[part]) for layer in cache]
        padded = pad_sequence(list(pieces[part]), batch_first=True)
        hidden = step(decoder, views, padded, slots.to(padded.device), int(slots.max()) + 1)
        for row, states in zip(rows, hidden, strict=True):
            size = len(pieces[row])
            ends.append(states[size - wanted[row] : size].clone())  # a view would keep all of `hidden` alive
    return ends


def _copy(source: list[LayerCache], row: int, target: list[LayerCache], rows: Int[Tensor, " R"], length: int) -> None:
    """The first `length` positions of one row into several rows."""
    for old, new in zip(source, target, strict=True):
        new.keys[rows, :, :length] = old.keys[row, :, :length]
        new.values[rows, :, :length] = old.values[row, :, :length]
        new.last_key[rows] = old.last_key[row]


def _image_index(prompts: Sequence[Prompt], num_image_tokens: int) -> np.ndarray:
    """For the concatenated prompts: which row of the flattened image tokens stands at each position, or -1."""
    index = np.full(sum(len(prompt.tokens) for prompt in prompts), -1, np.int64)
    offset = placed = 0
    for prompt in prompts:
        for start in prompt.image_starts:
            place = slice(offset + start, offset + start + num_image_tokens)
            index[place] = np.arange(placed, placed + num_image_tokens)
            placed += num_image_tokens
        offset += len(prompt.tokens)
    return index
