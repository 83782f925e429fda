"""Documents into packs: what a training sequence holds, from lengths alone.

    split([-1, 300], …)                 a document, an image and a text, too long for one sequence → ranges of tokens
    pack(lengths, images, …)            ranges → the pack of each, within two budgets, tokens and images

Best fit, decreasing, over one block of documents at a time: each goes into the fullest pack that still takes it.
Pure functions of numbers; knows nothing of documents' content, of sources or of order.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_NUMBER_BITS = 32
"""Of a pack's number, below what room it has left: such keys are sorted by room, then by age."""
_NUMBERS = (1 << _NUMBER_BITS) - 1


@dataclass(frozen=True, slots=True)
class Range:
    """Tokens [start, stop) of a document, with the images that stand in them."""

    start: int
    stop: int
    num_images: int


def pack(lengths: np.ndarray, images: np.ndarray, capacity: int, max_images: int) -> np.ndarray:
    """Groups n ranges into packs of at most `capacity` tokens and `max_images` images.

    The range that takes most of both budgets together comes first, of equals the longer; it goes where the least of
    both together is left, of equals into the pack that was opened first.

    Args:
        lengths: (n,) tokens of each range, 1 … `capacity`.
        images: (n,) images of each range, at most `max_images`.
        capacity: tokens of a sequence.
        max_images: images of a sequence, 1 or more.

    Returns:
        (n,) int64 the pack of each range, counted from 0 as they were opened.
    """
    needs = np.stack([lengths, images]).astype(np.int64)
    budgets = np.array([[capacity], [max_images]])
    assert needs.size == 0 or (needs <= budgets).all()
    shares = (needs * budgets[::-1]).sum(axis=0)  # of both budgets, times both
    order = np.lexsort((-needs[0], -shares))
    needs = needs[:, order]
    # Equal ranges are placed together: after one, its pack is the fullest that takes the next, while it does.
    firsts = np.flatnonzero((np.diff(needs, axis=1, prepend=-1) != 0).any(axis=0))
    counts = np.diff(firsts, append=len(order))
    chosen, taken = _best_fit(needs[:, firsts], counts, capacity, max_images)
    packs = np.empty(len(order), np.int64)
    packs[order] = np.repeat(np.array(chosen, np.int64), taken)
    return packs


def members(packs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ranges of each pack, from the pack of each range (n,): of pack k, `order[bounds[k] : bounds[k + 1]]`.

    Returns:
        (n,) order, ascending within each pack, and (packs + 1,) bounds.
    """
    return np.argsort(packs, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(packs))])


def _best_fit(needs: np.ndarray, counts: np.ndarray, capacity: int, max_images: int) -> tuple[list[int], list[int]]:
    """Places `counts` (c,) ranges of each of the `needs` (2, c), in turn: the packs chosen, and how many each took.

    For each number of images left there is a sorted list of packs by the tokens left, so the fullest that takes a range
    is one bisection away in each. In a list stands a pack's key: its tokens left, weighed so that both budgets weigh
    the same, and its number. One function without calls: it is most of what counting a plan costs.
    """
    token, image = max_images << _NUMBER_BITS, capacity << _NUMBER_BITS
    nowhere = 2 * capacity * token
    chosen: list[int] = []
    taken: list[int] = []
    opened = 0
    lists: dict[int, list[int]] = {}
    packs: list[tuple[int, int, list[int]]] = []  # images left, ascending, their weight, and the list
    for tokens, images, count in zip(*needs.tolist(), counts.tolist(), strict=True):
        need = tokens * token
        while count:
            least = nowhere
            for left, weight, keys in packs:
                if left < images or not keys or keys[-1] < need:
                    continue
                if need + weight >= least:
                    break  # with more images left, none can have less left of both
                at = bisect_left(keys, need)
                total = keys[at] + weight
                if total < least:
                    least, room, source, place = total, left, keys, at
            if least == nowhere:
                room, key = max_images, capacity * token + opened
                opened += 1
            else:
                key = source.pop(place)
            many = min(count, key // need) if count > 1 else 1
            if many > 1 and images:
                many = min(many, room // images)
            chosen.append(key & _NUMBERS)
            taken.append(many)
            count -= many
            key -= many * need
            if key >= token:
                room -= many * images
                if room not in lists:
                    lists[room] = []
                    insort(packs, (room, room * image, lists[room]))
                insort(lists[room], key)
    return chosen, taken


def split(
    segment_lengths: Sequence[int],
    num_image_tokens: int,
    capacity: int,
    max_images: int,
    *,
    pairs: bool = False,
    bos: bool = False,
) -> list[Range]:
    """Cuts a document, with the EOS that closes it (or closes every pair), into ranges within both budgets.

    Cuts fall before an image that follows text, so that an image keeps the text after it; where such a stretch alone is
    over a budget, also between images and at any token of a text. Never inside an image, nor between the sub-images of
    one picture. With `bos`, a token precedes the document (or every pair); it stays with what follows it, and the
    ranges after the first begin without one. With `pairs`, cuts fall between pairs only, and a pair longer than
    `capacity` counts as `capacity`: the encoder shortens its text.

    Args:
        segment_lengths: tokens of each text, minus the number of sub-images for each picture.
        num_image_tokens: tokens of an image; of each sub-image.
        capacity: tokens of a range; the largest picture and what precedes it fit.
        max_images: images of a range; the largest picture's sub-images fit.
        pairs: every picture begins a pair.
        bos: documents begin with a token of their own.
    """
    assert fits(segment_lengths, num_image_tokens, capacity, max_images, bos=bos)
    ranges: list[Range] = []
    start = position = images = 0

    def cut() -> None:
        nonlocal start, images
        if position > start:
            ranges.append(Range(start, position, images))
        start, images = position, 0

    for stretch in _stretches(segment_lengths, pairs, bos):
        count = sum(-length for length in stretch if length < 0)
        size = sum(length if length >= 0 else -length * num_image_tokens for length in stretch)
        size = min(size, capacity) if pairs else size
        if position - start + size > capacity or images + count > max_images:
            cut()
        if size <= capacity and count <= max_images:
            position, images = position + size, images + count
            continue
        for length in stretch:
            if length < 0:
                if position - start - length * num_image_tokens > capacity or images - length > max_images:
                    cut()
                position, images = position - length * num_image_tokens, images - length
                continue
            while length:
                if position - start == capacity:
                    cut()
                taken = min(length, capacity - (position - start))
                position, length = position + taken, length - taken
    cut()
    return ranges


def fits(segment_lengths: Sequence[int], num_image_tokens: int, capacity: int, max_images: int, *, bos: bool) -> bool:
    """Whether `split` can cut the document: its largest picture has room, with a token before it if there is a BOS."""
    largest = max((-length for length in segment_lengths if length < 0), default=0)
    return largest <= max_images and bos + largest * num_image_tokens <= capacity


def _stretches(segment_lengths: Sequence[int], pairs: bool, bos: bool) -> list[list[int]]:
    """Segment lengths, BOS and EOS among them, in runs that should stay together: images and the texts after them."""
    stretches: list[list[int]] = []
    for length in segment_lengths:
        # Empty texts alone make no stretch: a cut after them would leave BOS on its own.
        ends = bool(stretches) and any(stretches[-1]) and stretches[-1][-1] >= 0
        if not stretches or (length < 0 and (pairs or ends)):
            stretches.append([])
        stretches[-1].append(length)
    first = [1] if bos else []
    if pairs:
        return [[*first, *stretch, 1] for stretch in stretches]
    if not stretches:
        return [[*first, 1]]
    stretches[0] = [*first, *stretches[0]]
    stretches[-1].append(1)
    return stretches
