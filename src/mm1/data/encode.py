"""A Document in the model's terms: the one place where special ids, image positions and segments are made.

    [Image, Text("a cat")]   →   tokens      <img> <img> <img> <img>  a   cat  EOS     (num_image_tokens = 4)
                                 loss_mask     -     -     -     -    yes yes  yes

A picture that is cut into sub-images is, from here on, so many images one after another; one that is marked `whole` is
a single image, filled as the policy says. A tokenizer that has a BOS begins the document with it; as nothing precedes
it, it is no target. Text after a BOS or after nothing is a beginning, all other text goes on. With `pairs=True`
(contrastive training) every image begins a segment of its own, with BOS and EOS of its own: [Image, Text, Image, Text]
→ <img…> text EOS | <img…> text EOS. Knows nothing of sources, packing or models: how many positions an image takes is
given to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from mm1.config import UserError
from mm1.data.image import decode_sub_images, upright_size
from mm1.data.sub_images import WHOLE, FixedGridConfig, SubImagesConfig, num_sub_images
from mm1.data.tokenizer import Tokenizer
from mm1.types import Document, Image, Sample, Segment

Decode: TypeAlias = Callable[[bytes, SubImagesConfig, int], list[np.ndarray]]
"""From a picture's bytes, a policy and a size to its sub-images: decode_sub_images, or what remembers its results."""

IMAGE_LENGTH = -1
"""Stands for an image among the lengths of a document's segments; texts are counted in tokens, 0 or more. Once it is
known how many sub-images a picture makes, minus that number stands for it, so that this one means a single image."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A segment's tokens before they are laid out; `image` is what stands there, if it is an image."""

    ids: Sequence[int]
    target: bool
    image: Image | None = None


class DocumentEncoder:
    """Encodes Documents with one tokenizer, one image size, one number of positions an image, one way of cutting."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        num_image_tokens: int,
        image_size: int,
        sub_images: SubImagesConfig = WHOLE,
        decode: Decode = decode_sub_images,
    ) -> None:
        assert num_image_tokens >= 0
        assert image_size > 0
        self.tokenizer = tokenizer
        self.num_image_tokens = num_image_tokens
        self.image_size = image_size
        self.sub_images = sub_images
        self.decode = decode
        self._uncut = sub_images.replace(grid=FixedGridConfig())

    def segment_lengths(self, document: Document) -> list[int]:
        """Tokens of each text, IMAGE_LENGTH for each image, whatever it will be cut into."""
        first = first_piece(document.segments)
        return [
            IMAGE_LENGTH
            if isinstance(segment, Image)
            else len(self.tokenizer.encode(segment.text, beginning=index == first))
            for index, segment in enumerate(document.segments)
        ]

    def encode(
        self,
        document: Document,
        *,
        end: bool = True,
        pairs: bool = False,
        start: int = 0,
        stop: int | None = None,
        lengths: Sequence[int] | None = None,
        max_pair_len: int | None = None,
    ) -> Sample:
        """The tokens [start, stop) of `document` as a Sample; only the images that begin in there are decoded.

        Args:
            document: what to encode.
            end: close the document (with `pairs`, every pair) with EOS, which is a target.
            pairs: make a segment of each image and the text after it.
            start: first token; not inside an image.
            stop: end of the range; the end of the document when None.
            lengths: of the document's segments, if known: tokens, or minus the number of sub-images. Texts outside
                the range are then not tokenised, and no picture's size is looked at.
            max_pair_len: with `pairs`, a longer pair loses the end of its text, not its EOS.

        Raises:
            BadImage: an image in the range can not be decoded.
            UserError: images for a model that takes none; with `pairs`, text before the first image.
        """
        bos = () if self.tokenizer.bos_id is None else (self.tokenizer.bos_id,)
        if pairs:
            assert self.sub_images.max_sub_images == 1, "a pair has one image"
            groups = [self._pieces(group) for group in _pairs(document)]
            if max_pair_len is not None:
                groups = [_shorten(group, max_pair_len - end - len(bos)) for group in groups]
        else:
            if self.num_image_tokens == 0 and document.images:
                raise UserError(f"document '{document.id}' has images, but the model takes none: leave the source out")
            outside: Collection[int] = ()
            if lengths is not None:
                outside = _outside(lengths, self.num_image_tokens, len(bos), start, stop)
            groups = [self._pieces(document.segments, lengths, outside)]
        eos = (self.tokenizer.eos_id,) if end else ()
        groups = [[_Piece(bos, target=False), *group, _Piece(eos, target=True)] for group in groups]
        return self._lay_out(groups, start, stop, document.source)

    def _pieces(
        self, segments: Sequence[Segment], lengths: Sequence[int] | None = None, outside: Collection[int] = ()
    ) -> list[_Piece]:
        """One piece a segment. Texts in `outside` are not tokenised: a range of their length stands for their ids."""
        pieces: list[_Piece] = []
        first = first_piece(segments)
        for index, segment in enumerate(segments):
            if isinstance(segment, Image):
                count = self._num_sub_images(segment) if lengths is None else -lengths[index]
                ids: Sequence[int] = (self.tokenizer.image_id,) * (count * self.num_image_tokens)
                pieces.append(_Piece(ids, target=False, image=segment))
            elif lengths is not None and index in outside:
                pieces.append(_Piece(range(lengths[index]), segment.target))
            else:
                ids = self.tokenizer.encode(segment.text, beginning=index == first)
                pieces.append(_Piece(ids, segment.target))
        return pieces

    def _num_sub_images(self, image: Image) -> int:
        if image.whole:
            return 1
        if not self.sub_images.depends_on_size:
            return self.sub_images.max_sub_images
        width, height = upright_size(image.data)
        return int(num_sub_images(self.sub_images, self.image_size, np.array([width]), np.array([height]))[0])

    def _lay_out(self, groups: list[list[_Piece]], start: int, stop: int | None, source: str) -> Sample:
        """The tokens [start, stop) of the groups, one segment a group, segment ids counted from 0 in the range."""
        total = sum(len(piece.ids) for group in groups for piece in group)
        size = min(total, total if stop is None else stop) - start
        assert size >= 0, f"range [{start}, {stop}) of a document of {total} tokens"
        tokens, segment_ids = np.zeros(size, np.int32), np.zeros(size, np.int32)
        loss_mask = np.zeros(size, bool)
        marks: list[tuple[int, int]] = []
        images: list[np.ndarray] = []
        position, segment = -start, 0
        for group in groups:
            for piece in group:
                end = position + len(piece.ids)
                low, high = max(position, 0), min(end, size)
                if low < high:
                    tokens[low:high] = piece.ids[low - position : high - position]
                    loss_mask[low:high] = piece.target
                    segment_ids[low:high] = segment
                if piece.image is not None and 0 <= position < size:
                    assert end <= size, f"the range [{start}, {stop}) ends inside an image"
                    policy = self._uncut if piece.image.whole else self.sub_images
                    cut = self.decode(piece.image.data, policy, self.image_size)
                    assert len(cut) * self.num_image_tokens == len(piece.ids), f"{len(cut)} sub-images were not planned"
                    marks += [(position + number * self.num_image_tokens, segment) for number in range(len(cut))]
                    images += cut
                position = end
            segment += position > 0  # a group before the range does not count
        starts, segments = np.array(marks, np.int32).reshape(-1, 2).T
        return Sample(tokens, loss_mask, segment_ids, starts, segments, tuple(images), source)


def first_piece(segments: Sequence[Segment]) -> int:
    """The place of the first segment that is not empty, or else their number: a text there begins the document."""
    full = (index for index, segment in enumerate(segments) if isinstance(segment, Image) or segment.text)
    return next(full, len(segments))


def _pairs(document: Document) -> list[list[Segment]]:
    """[Image, Text, …] runs, each beginning at an image."""
    groups: list[list[Segment]] = []
    for segment in document.segments:
        if isinstance(segment, Image):
            groups.append([])
        elif not groups:
            raise UserError(
                f"document '{document.id}' of '{document.source}' begins with text: to be read as image-text pairs, "
                "every text must follow an image"
            )
        groups[-1].append(segment)
    return groups


def _shorten(pieces: list[_Piece], max_len: int) -> list[_Piece]:
    """The pieces cut from the end to `max_len` tokens in all."""
    kept: list[_Piece] = []
    room = max_len
    for piece in pieces:
        kept.append(replace(piece, ids=piece.ids[:room]))
        room -= len(kept[-1].ids)
    return kept


def _outside(lengths: Sequence[int], num_image_tokens: int, first: int, start: int, stop: int | None) -> set[int]:
    """The numbers of the segments that lie wholly outside [start, stop); the first begins at the token `first`."""
    outside: set[int] = set()
    position = first
    for index, length in enumerate(lengths):
        end = position + (length if length >= 0 else -length * num_image_tokens)
        if end <= start or (stop is not None and stop <= position):
            outside.add(index)
        position = end
    return outside
