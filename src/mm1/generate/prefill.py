"""From prompts to a filled cache: images encoded once, shared beginnings computed once or taken from a memory.

    prompts ── Prefill.fill ──→ cache rows + hidden states of the last positions

Every row of the cache holds one prompt from slot 0 on, so a token's slot is its position. Knows nothing of sampling,
of stopping, or of what is done with the hidden states.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mm1.generate.batching import BatchPlan, slices
from mm1.generate.memory import ImageMemory, PrefixMemory
from mm1.generate.request import Prompt
from mm1.generate.statistics import Statistics
from mm1.models.attention import AttentionMask, LayerCache
from mm1.models.decoder import Decoder
from mm1.models.mm1 import MM1


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt whose positions can be told apart."""

    prompt: Prompt
    image_numbers: Sequence[int]
    """Equal numbers are equal images, and no others ever."""
    keys: np.ndarray
    """(S,) what stands at each position: a token id, or a negative number for an image."""
    wanted: int
    """Of how many last positions the hidden states are asked for."""

    @staticmethod
    def of(prompt: Prompt, image_numbers: Sequence[int], num_image_tokens: int, wanted: int = 1) -> Row:
        keys = prompt.tokens.astype(np.int64)
        for start, number in zip(prompt.image_starts, image_numbers, strict=True):
            keys[start : start + num_image_tokens] = -1 - number
        return Row(prompt, image_numbers, keys, wanted)


@dataclass(frozen=True, slots=True)
class Piece:
    """The positions [start, stop) of a row, which go into a row of some cache."""

    row: Row
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class Prefill:
    """Computes prompts, and remembers what may come again."""

    def __init__(self, model: MM1, images: ImageMemory, prefixes: PrefixMemory, max_positions: int) -> None:
        """`max_positions` bounds one forward pass, padding included."""
        self.model = model
        self.images = images
        self.prefixes = prefixes
        self.max_positions = max_positions
        self.done = Statistics()
        self._device = next(model.parameters()).device

    def fill(
        self, plan: BatchPlan, rows: Sequence[Row], capacity: int
    ) -> tuple[list[LayerCache], list[Float[Tensor, "W D"]]]:
        """Computes the rows of `plan` into a new cache of `capacity` positions a row.

        Returns:
            the cache, and the hidden states of the wanted positions of each row.
        """
        dtype = self.model.decoder.embedding.weight.dtype
        cache = self.model.decoder.allocate_cache(len(rows), capacity, self._device, dtype)
        self._fill_beginnings(plan, rows, cache)
        rest = [Piece(row, start, len(row.keys)) for row, start in zip(rows, plan.starts, strict=True)]
        return cache, self._compute(cache, rest, [row.wanted for row in rows])

    def _fill_beginnings(self, plan: BatchPlan, rows: Sequence[Row], cache: list[LayerCache]) -> None:
        """What the groups share: looked up, or computed once and remembered, then copied into each row."""
        missing: list[tuple[Piece, tuple[int, ...]]] = []
        for group in plan.groups:
            first = rows[group.rows[0]]
            known, prefix = self.prefixes.longest(first.keys[: group.shared])
            if prefix is not None:
                _copy(prefix.cache, 0, cache, torch.tensor(group.rows, device=self._device), known)
            if known < group.shared:
                missing.append((Piece(first, known, group.shared), group.rows))
        if not missing:
            return
        missing.sort(key=lambda one: -len(one[0]))
        pieces = [piece for piece, _ in missing]
        leaders = torch.tensor([members[0] for _, members in missing], device=self._device)
        common = [layer.select(leaders) for layer in cache]
        self._compute(common, pieces, [0] * len(pieces))
        for number, (piece, members) in enumerate(missing):
            _copy(common, number, cache, torch.tensor(members, device=self._device), piece.stop)
            self.prefixes.keep(piece.row.keys[: piece.stop], common, number)

    def _compute(self, cache: list[LayerCache], pieces: Sequence[Piece], wanted: Sequence[int]) -> list[Tensor]:
        """Runs the pieces, longest first, one in each row of `cache`; returns the hidden states of the wanted ends."""
        embeddings = self._embed(pieces)
        ends: list[Tensor] = []
        for rows in slices([len(piece) for piece in pieces], self.max_positions):
            part = slice(rows.start, rows.stop)
            lengths = torch.tensor([len(piece) for piece in pieces[part]])[:, None]
            offsets = torch.arange(int(lengths[0]))
            first = torch.tensor([piece.start for piece in pieces[part]])[:, None]
            slots = torch.where(offsets < lengths, first + offsets, -1)
            # Views: what is written through them stands in the cache.
            views = [LayerCache(layer.keys[part], layer.values[part], layer.last_key[part]) for layer in cache]
            padded = pad_sequence(embeddings[part], batch_first=True)
            hidden = step(self.model.decoder, views, padded, slots.to(self._device), int(slots.max()) + 1)
            for row, states in zip(rows, hidden, strict=True):
                size = len(pieces[row])
                ends.append(states[size - wanted[row] : size].clone())  # a view would keep all of `hidden` alive
            real = int(lengths.sum())
            self.done += Statistics(prefilled_positions=real, padding_positions=slots.numel() - real)
        return ends

    def _embed(self, pieces: Sequence[Piece]) -> list[Float[Tensor, "S D"]]:
        """What stands at each position of each piece."""
        tokens = np.concatenate([piece.row.prompt.tokens[piece.start : piece.stop] for piece in pieces])
        ids = torch.from_numpy(tokens.astype(np.int64)).to(self._device)
        embeddings: Tensor = self.model.decoder.embed(ids[None])[0]
        numbers, offsets = (np.concatenate(column) for column in zip(*map(self._image_places, pieces), strict=True))
        places = np.flatnonzero(numbers >= 0)
        if len(places):
            features = self._features(pieces, set(numbers[places].tolist()))
            first = {number: row * self.model.config.num_image_tokens for row, number in enumerate(features)}
            source = np.array([first[number] for number in numbers[places].tolist()]) + offsets[places]
            rows = torch.cat(list(features.values()))[torch.from_numpy(source).to(self._device)]
            embeddings = embeddings.index_copy(0, torch.from_numpy(places).to(self._device), rows.to(embeddings.dtype))
        return list(embeddings.split_with_sizes([len(piece) for piece in pieces]))

    def _image_places(self, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        """(S,) each: the number of the image that stands at each position, or -1, and which of its tokens."""
        row = piece.row
        numbers, offsets = np.full((2, len(row.keys)), -1, np.int64)
        size = self.model.config.num_image_tokens
        for start, number in zip(row.prompt.image_starts, row.image_numbers, strict=True):
            numbers[start : start + size] = number
            offsets[start : start + size] = np.arange(size)
        return numbers[piece.start : piece.stop], offsets[piece.start : piece.stop]

    def _features(self, pieces: Sequence[Piece], numbers: set[int]) -> dict[int, Float[Tensor, "N D"]]:
        """The features of the images of these numbers, all encoded together."""
        images = {
            number: image
            for piece in pieces
            for number, image in zip(piece.row.image_numbers, piece.row.prompt.images, strict=True)
            if number in numbers
        }
        return self.images.features(images, self._encode)

    def _encode(self, images: np.ndarray) -> Float[Tensor, "I N D"]:
        began = time.perf_counter()
        features: Tensor = self.model.encode_images(torch.from_numpy(images).movedim(-1, 1).to(self._device))
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # once a batch: so that the time is that of the work
        self.done += Statistics(images_encoded=len(images), encoding_seconds=time.perf_counter() - began)
        return features


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


def _copy(
    source: Sequence[LayerCache], row: int, target: list[LayerCache], rows: Int[Tensor, " R"], length: int
) -> None:
    """The first `length` positions of one row into several rows."""
    for old, new in zip(source, target, strict=True):
        new.keys[rows, :, :length] = old.keys[row, :, :length]
        new.values[rows, :, :length] = old.values[row, :, :length]
        new.last_key[rows] = old.last_key[row]
