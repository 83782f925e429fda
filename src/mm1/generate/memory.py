"""What an engine keeps from one batch, and one call, to the next: features of images, and beginnings of prompts.

    images.number([pixels])                 # [7]: the same pixels have the same number, and no others ever have it
    images.features({7: pixels}, encode)    # {7: (N, D)}; encoded only if it is not there
    prefixes.keep(keys, cache, row)         # keys and values of the positions `keys`
    prefixes.longest(keys)                  # the longest beginning of `keys` that is there

Both are bounded in positions and forget what was not used for longest. Knows nothing of batches or of sampling.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mm1.generate.batching import common_beginning
from mm1.models.attention import LayerCache

MAX_IMAGES = 256
"""Encoded at once; bounds the memory of the encoder's activations."""
MAX_NUMBERED = 1 << 16
"""Images whose numbers are known."""


class ImageMemory:
    """Features of the images that were encoded last."""

    def __init__(self, max_positions: int) -> None:
        self.max_positions = max_positions
        self._numbers: OrderedDict[bytes, int] = OrderedDict()
        self._next = 0
        self._features: OrderedDict[int, Float[Tensor, "N D"]] = OrderedDict()

    def number(self, images: Iterable[np.ndarray]) -> list[int]:
        """A number for each image, by its pixels. One that is forgotten gets another, never somebody else's."""
        numbers = []
        for image in images:
            digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
            number = self._numbers.pop(digest, self._next)
            self._next = max(self._next, number + 1)
            self._numbers[digest] = number
            numbers.append(number)
        while len(self._numbers) > MAX_NUMBERED:
            self._numbers.popitem(last=False)
        return numbers

    def features(
        self, images: Mapping[int, np.ndarray], encode: Callable[[np.ndarray], Float[Tensor, "I N D"]]
    ) -> dict[int, Float[Tensor, "N D"]]:
        """The features of images by number; `encode` is given (I, H, W, 3) of those that are not there."""
        found = {number: self._features.pop(number) for number in images if number in self._features}
        missing = [number for number in images if number not in found]
        for start in range(0, len(missing), MAX_IMAGES):
            part = missing[start : start + MAX_IMAGES]
            encoded = encode(np.stack([images[number] for number in part]))
            # A view that is kept would keep its whole batch alive.
            found |= {number: features.clone() for number, features in zip(part, encoded, strict=True)}
        self._features.update(found)
        while self._features and sum(map(len, self._features.values())) > self.max_positions:
            self._features.popitem(last=False)
        return found

    def clear(self) -> None:
        """Forgets all features; numbers stay."""
        self._features.clear()


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first positions of a prompt, computed: one row of a cache."""

    keys: np.ndarray
    """(L,) what stands there."""
    cache: Sequence[LayerCache]


class PrefixMemory:
    """Beginnings of prompts that were computed last.

    A kept beginning serves a prompt that goes on otherwise before its end, too, as far as both are equal; not with
    smeared keys, for which the last key has to be known as it was before smearing.
    """

    def __init__(self, max_positions: int, *, only_whole: bool) -> None:
        self.max_positions = max_positions
        self.only_whole = only_whole
        self._prefixes: list[Prefix] = []
        """The one used last stands last."""

    def longest(self, keys: np.ndarray) -> tuple[int, Prefix | None]:
        """How many of the first positions of `keys` are there, and in which prefix."""
        best, found = 0, None
        for prefix in self._prefixes:
            common = common_beginning(prefix.keys, keys)
            if common > best and (common == len(prefix.keys) or not self.only_whole):
                best, found = common, prefix
        if found is not None:
            self._prefixes = [*(prefix for prefix in self._prefixes if prefix is not found), found]
        return best, found

    def keep(self, keys: np.ndarray, cache: Sequence[LayerCache], row: int) -> None:
        """Copies the positions `keys` of a row of `cache`, if there is room for them at all."""
        size = len(keys)
        if not 0 < size <= self.max_positions:
            return
        # What the new one begins with needs no room of its own, where a part of a prefix can be used.
        kept = [p for p in self._prefixes if self.only_whole or common_beginning(p.keys, keys) < len(p.keys)]
        while sum(len(prefix.keys) for prefix in kept) + size > self.max_positions:
            kept.pop(0)
        copied = [
            LayerCache(
                layer.keys[row : row + 1, :, : size + 1].clone(),
                layer.values[row : row + 1, :, : size + 1].clone(),
                layer.last_key[row : row + 1].clone(),
            )
            for layer in cache
        ]
        self._prefixes = [*kept, Prefix(keys.copy(), copied)]

    def clear(self) -> None:
        """Forgets everything."""
        self._prefixes = []


def version(module: torch.nn.Module) -> tuple[tuple[int, int], ...]:
    """Changes whenever weights do: nothing that was computed with others may be used."""
    tensors = [*module.parameters(), *module.buffers()]
    return tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)
