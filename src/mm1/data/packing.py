"""Documents into packs: what a training sequence holds, from lengths alone.

    split([-1, 300], …)                 a document, an image and a text, too long for one sequence → ranges of tokens
    pack(lengths, images, …)            ranges → packs within two budgets, tokens and images

Best fit, decreasing, over one block of documents at a time: each goes into the fullest pack that still takes it.
Pure functions of numbers; knows nothing of documents' content, of sources or of order.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 1024
"""Open packs at most: when there are more, the fullest is closed."""


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
    order = np.argsort(-(needs / budgets).max(axis=0), kind="stable")
    opened = _OpenPacks(capacity, max_images)
    for index, tokens, count in zip(order.tolist(), *needs[:, order].tolist(), strict=True):
        opened.add(index, tokens, count)
    return [np.sort(np.array(group)) for group in (*opened.closed, *opened.packs)]


class _OpenPacks:
    """Packs that still take ranges, found by what room they have left.

    For each number of images left, the bits of one whole number say which numbers of tokens are left somewhere: the
    fullest pack with room for n tokens is the lowest bit from n upwards. So a range costs some steps for each number of
    images, however many packs are open.
    """

    def __init__(self, capacity: int, max_images: int) -> None:
        self.packs: list[list[int]] = []
        self.closed: list[list[int]] = []
        self._capacity, self._max_images = capacity, max_images
        self._rooms: list[tuple[int, int]] = []
        self._shares = np.ones(WINDOW + 1)
        """Of the budgets that is left in each pack: of tokens or images, whichever is less."""
        self._bits = [0] * (max_images + 1)
        self._places: dict[tuple[int, int], list[int]] = {}
        """Open packs by room, each list sorted."""

    def add(self, index: int, tokens: int, images: int) -> None:
        """Puts a range into the fullest pack that takes it, or into a new one."""
        place = self._fullest_with_room(tokens, images)
        if place is None:
            place = len(self.packs)
            self.packs.append([])
            self._rooms.append((self._capacity, self._max_images))
        else:
            self._forget(place)
        self.packs[place].append(index)
        room = self._rooms[place]
        self._rooms[place] = room[0] - tokens, room[1] - images
        self._note(place)
        if room[0] == tokens:
            self._close(place)
        elif len(self.packs) > WINDOW:
            self._close(int(self._shares[: len(self.packs)].argmin()))

    def _fullest_with_room(self, tokens: int, images: int) -> int | None:
        """The pack with the least left of both budgets together; the first of equals."""
        least: int | None = None
        place: int | None = None
        for left in range(images, self._max_images + 1):
            with_room = self._bits[left] >> tokens
            if with_room:
                room = tokens + (with_room & -with_room).bit_length() - 1
                remaining = room * self._max_images + left * self._capacity
                first = self._places[room, left][0]
                if least is None or place is None or (remaining, first) < (least, place):
                    least, place = remaining, first
        return place

    def _note(self, place: int) -> None:
        room = self._rooms[place]
        self._shares[place] = min(room[0] / self._capacity, room[1] / self._max_images)
        insort(self._places.setdefault(room, []), place)
        self._bits[room[1]] |= 1 << room[0]

    def _forget(self, place: int) -> None:
        room = self._rooms[place]
        self._places[room].remove(place)
        if not self._places[room]:
            del self._places[room]
            self._bits[room[1]] ^= 1 << room[0]

    def _close(self, place: int) -> None:
        """Takes a pack out; the last one moves to its place."""
        self.closed.append(self.packs[place])
        self._forget(place)
        last = len(self.packs) - 1
        if place != last:
            self._forget(last)
            self.packs[place], self._rooms[place] = self.packs[last], self._rooms[last]
            self._note(place)
        self.packs.pop()
        self._rooms.pop()


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
