"""Pictures that come again and again, decoded once: the shots of few-shot prompts, the pictures of a conversation.

    decode = DecodedImages(max_bytes=256 << 20)
    encoder = DocumentEncoder(tokenizer, 144, 378, decode=decode)

Knows nothing of documents.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from mm1.data.image import decode_sub_images
from mm1.data.sub_images import SubImagesConfig


class DecodedImages:
    """`decode_sub_images` with a memory of the pictures that were asked for last."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._kept: OrderedDict[tuple[bytes, SubImagesConfig, int], list[np.ndarray]] = OrderedDict()
        self._bytes = 0

    def __call__(self, data: bytes, config: SubImagesConfig, image_size: int) -> list[np.ndarray]:
        """The sub-images, which are shared and can not be written.

        Raises:
            BadImage: as decode_sub_images.
        """
        key = (data, config, image_size)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        decoded = decode_sub_images(data, config, image_size)
        for image in decoded:
            image.setflags(write=False)
        self._kept[key] = decoded
        self._bytes += _size(data, decoded)
        while self._bytes > self.max_bytes:
            (encoded, _, _), oldest = self._kept.popitem(last=False)
            self._bytes -= _size(encoded, oldest)
        return decoded


def _size(data: bytes, decoded: list[np.ndarray]) -> int:
    return len(data) + sum(image.nbytes for image in decoded)
