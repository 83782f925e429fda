"""The words for data that every room shares. One road, one type in and one out at each stage:

    source row → Document → Sample (token ids, loss mask, image crops) → Batch (packed) → model → Losses

Shape letters, everywhere: B rows of a batch, S sequence length, I images, N tokens an image, K targets, D model dim.
Knows nothing of tokenizers, files, models or training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int, UInt8

if TYPE_CHECKING:  # torch takes a second and 200 MB: curation and preparing, in many processes, know only documents
    import torch
    from torch import Tensor

IGNORE = -100
"""The target of a position that carries no loss (padding, images, non-target text, ends of documents)."""


@dataclass(frozen=True, slots=True)
class Text:
    """A run of text; `target` says whether its tokens count toward the loss."""

    text: str
    target: bool = True


@dataclass(frozen=True, slots=True)
class Image:
    """An image as encoded bytes (PNG, JPEG, WebP, …), kept as they came and decoded late, with limits."""

    data: bytes
    whole: bool = False
    """Never cut into sub-images, whatever the policy: a prompt's earlier examples, where later ones are cut. Only
    prompts say so; shards do not keep it."""


Segment: TypeAlias = Text | Image


@dataclass(frozen=True, slots=True)
class Document:
    """What a model reads: a caption pair, a web page, a chat, a few-shot prompt, a request. Segments in order."""

    id: str
    segments: tuple[Segment, ...]
    source: str = ""

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(segment for segment in self.segments if isinstance(segment, Image))


@dataclass(frozen=True, slots=True)
class Sample:
    """A Document in the model's terms, still unpacked; an image takes `num_image_tokens` consecutive positions.

    `tokens` (S,) int32 hold the tokenizer's image id at image positions. `loss_mask` (S,) bool is true where the
    token, as a prediction of what precedes it, counts. `segment_ids` (S,) int32 count from 0: attention never crosses
    them, and positions restart with each (one per document; one per image-text pair for contrastive training).
    `image_starts` (I,) int32 are the positions of the images' first tokens, `image_segments` (I,) int32 the segment ids
    in which the images stand (an image may take no positions); `images` are (H, W, 3) uint8, of one size.
    """

    tokens: np.ndarray
    loss_mask: np.ndarray
    segment_ids: np.ndarray
    image_starts: np.ndarray
    image_segments: np.ndarray
    images: tuple[np.ndarray, ...]
    source: str = ""
    key: int = 0
    """From which the seeds of its images are drawn."""

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed rows. Every tensor has a fixed dtype; a batch without images has I = 0 and is otherwise ordinary."""

    tokens: Int[Tensor, "B S"]
    """int64 token ids; the tokenizer's pad id where nothing stands, its image id where an image stands."""
    positions: Int[Tensor, "B S"]
    """int64, restarting at 0 with every segment."""
    segment_ids: Int[Tensor, "B S"]
    """int64, 0, 1, … within a row; -1 on padding. Attention is causal within equal ids and never crosses them."""
    image_index: Int[Tensor, "B S"]
    """int64 row of the flattened image tokens (I*N) that stands here; -1 elsewhere."""
    targets: Int[Tensor, "B S"]
    """int64 next token of the same segment where it counts toward the loss, IGNORE elsewhere."""
    target_index: Int[Tensor, " K"]
    """int64 flat positions (row * S + column) where `targets` is not IGNORE: known on the host, so nothing syncs."""
    source_ids: Int[Tensor, "B S"]
    """int64 index into `source_names`; -1 on padding."""
    images: UInt8[Tensor, "I 3 H W"]
    image_rows: Int[Tensor, " I"]
    """int64 row of the batch in which each image stands."""
    image_segments: Int[Tensor, " I"]
    """int64 segment id, within that row, in which each image stands."""
    image_seeds: Int[Tensor, " I"]
    """int64, 63 random bits for each image: a pure function of the data's seed, the step, the document's place in the
    global batch and the image's in the document. What an objective draws from them is the same for any number of
    ranks, loader workers and microbatches."""
    source_names: tuple[str, ...]

    @property
    def num_images(self) -> int:
        return self.images.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """The same batch on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in memory from which CUDA copies while the host goes on; PyTorch's loader calls it as well."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        from torch import Tensor

        tensors: dict[str, Any] = {
            item.name: change(value) for item in fields(self) if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, **tensors)


@dataclass(frozen=True, slots=True)
class Losses:
    """What an objective returns: sums and counts of this rank's microbatch, never means, never synced to the host.

    The gradient comes from `total / (count summed over ranks and accumulation steps)`.
    """

    total: Float[Tensor, ""]
    """What is minimised: the sum of the loss over this microbatch's targets (tokens, image-text pairs, or patches),
    and of auxiliary terms."""
    count: Float[Tensor, ""]
    """Number of targets, as a float tensor so that it travels with `total` in one reduction."""
    source_totals: Float[Tensor, " sources"]
    """The sum of the loss, without auxiliary terms, by source in the order of the batch's `source_names`; detached."""
    source_counts: Float[Tensor, " sources"]
    extra: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
    """Named detached scalars for the log (contrastive accuracy, temperature, MoE statistics): means of this rank."""
