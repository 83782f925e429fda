"""Documents into packs: what a training sequence holds, from lengths alone.

    split([IMAGE_LENGTH, 300], …)       a document too long for one sequence → ranges of its tokens
    pack(lengths, images, …)            ranges → packs within two budgets, tokens and images

Best fit, decreasing, over one block of documents at a time: each goes into the fullest pack that still takes it.
Pure functions of numbers; knows nothing of documents' content, of sources or of order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mm1.data.encode import IMAGE_LENGTH

WINDOW = 1024
"""Open packs at most: when there are more, the fullest is closed. Keeps packing linear in the number of ranges."""


@dataclass(frozen=True, slots=True)
class Range:
    """Tokens [start, stop) of a document, with the images that stand in them."""

    start: int
    stop: int
    num_images: int


def pack(lengths: np.ndarray, images: np.ndarray, capacity: int, max_images: int) -> list[np.ndarray]:
    """Groups n ranges into packs of at most `capacity` tokens and `max_images` images.

    Args:
        lengths: (n,) tokens of each range, at most `capacity`.
        images: (n,) images of each range, at most `max_images`.
        capacity: tokens of a sequence.
        max_images: images of a sequence, 1 or more.

    Returns:
        Index arrays, every index 0 … n - 1 in exactly one, each sorted.
    """
    needs = np.stack([lengths, images]).astype(np.int64)
    budgets = np.array([[capacity], [max_images]])
    assert needs.size == 0 or (needs <= budgets).all()
    shares = needs / budgets
    room = np.empty((2, WINDOW + 1), np.int64)  # what the open packs still take
    opened: list[list[int]] = []
    closed: list[list[int]] = []
    for index in np.argsort(-shares.max(axis=0), kind="stable").tolist():
        left = room[:, : len(opened)] - needs[:, index, None]
        fits = (left >= 0).all(axis=0)
        if fits.any():
            # Whole numbers, so that ties fall the same way on every machine.
            remaining = left[0] * max_images + left[1] * capacity
            place = int(np.where(fits, remaining, np.iinfo(np.int64).max).argmin())
        else:
            place = len(opened)
            opened.append([])
            room[:, place] = budgets[:, 0]
        opened[place].append(index)
        room[:, place] -= needs[:, index]
        full = place if room[0, place] == 0 else None
        if full is None and len(opened) > WINDOW:
            full = int((room[:, : len(opened)] / budgets).min(axis=0).argmin())
        if full is not None:
            closed.append(opened[full])
            opened[full] = opened[-1]
            room[:, full] = room[:, len(opened) - 1]
            opened.pop()
    return [np.sort(np.array(group)) for group in (*closed, *opened)]


def split(
    segment_lengths: Sequence[int], num_image_tokens: int, capacity: int, max_images: int, *, pairs: bool = False
) -> list[Range]:
    """Cuts a document, with the EOS that closes it (or closes every pair), into ranges within both budgets.

    Cuts fall before an image that follows text, so that an image keeps the text after it; where such a stretch alone is
    over a budget, also between images and at any token of a text. Never inside an image. With `pairs`, cuts fall
    between pairs only, and a pair longer than `capacity` counts as `capacity`: the encoder shortens its text.
    """
    assert num_image_tokens <= capacity
    ranges: list[Range] = []
    start = position = images = 0

    def cut() -> None:
        nonlocal start, images
        if position > start:
            ranges.append(Range(start, position, images))
        start, images = position, 0

    for stretch in _stretches(segment_lengths, pairs):
        count = stretch.count(IMAGE_LENGTH)
        size = sum(num_image_tokens if length == IMAGE_LENGTH else length for length in stretch)
        size = min(size, capacity) if pairs else size
        if position - start + size > capacity or images + count > max_images:
            cut()
        if size <= capacity and count <= max_images:
            position, images = position + size, images + count
            continue
        for length in stretch:
            if length == IMAGE_LENGTH:
                if position - start + num_image_tokens > capacity or images == max_images:
                    cut()
                position, images = position + num_image_tokens, images + 1
                continue
            while length:
                if position - start == capacity:
                    cut()
                taken = min(length, capacity - (position - start))
                position, length = position + taken, length - taken
    cut()
    return ranges


def _stretches(segment_lengths: Sequence[int], pairs: bool) -> list[list[int]]:
    """Segment lengths, EOS among them, in runs that should stay together: images and the texts after them."""
    stretches: list[list[int]] = []
    for length in segment_lengths:
        begins = length == IMAGE_LENGTH and (pairs or not stretches or stretches[-1][-1] != IMAGE_LENGTH)
        if begins or not stretches:
            stretches.append([])
        stretches[-1].append(length)
    if pairs:
        return [[*stretch, 1] for stretch in stretches]
    return [*stretches[:-1], [*(stretches[-1] if stretches else []), 1]]
