"""Pictures to the encoder inputs that mm1's own loader makes of them.

    processor = MM1ImageProcessor(image_size=672, sub_images={"grid": {"kind": "fixed", "rows": 2, "columns": 2}})
    processor([picture])        # pixel_values (5, 3, 672, 672) uint8, num_sub_images [5]

What comes encoded (a path, a URL, base64, bytes, a Pillow file that is not loaded yet) goes through `mm1.data.image`
as in training, and its pixels are equal to training's. What was decoded by somebody else is taken as it is: upright, in
full size, while training lets a big JPEG be read at half its size. Pixels stay 0…255; the model normalises them. Knows
nothing of text.
"""

from __future__ import annotations

import base64
import binascii
import io
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from transformers import BaseImageProcessor, BatchFeature
from transformers.image_utils import infer_channel_dimension_format, make_flat_list_of_images, to_numpy_array

from mm1.config import UserError, from_json, to_json
from mm1.data.image import FORMATS, MAX_PIXELS, BadImage, decode_sub_images
from mm1.data.sub_images import FixedGridConfig, SubImagesConfig, num_sub_images
from mm1.hf.remote_code import IMAGE_PROCESSOR_AUTO_MAP, write_remote_code

FETCH_SECONDS = 60
LONGEST_PATH = 4096
"""Of a file's name, in Linux; base64 is longer, and asking the system whether a file has such a name is an error."""

_PNG_MODES = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")


class MM1ImageProcessor(BaseImageProcessor):  # type: ignore[misc]
    """Decodes, cuts and stacks pictures.

    Attributes:
        image_size: pixels of a sub-image's side.
        sub_images: mm1's SubImagesConfig, as plain JSON.
        size: height and width of the largest area that a picture is laid on; vLLM plans its memory by it.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012  (transformers')

    def __init__(self, image_size: int = 48, sub_images: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        kwargs.pop("size", None)  # derived
        super().__init__(**kwargs)
        self.image_size = image_size
        self._policy = from_json(SubImagesConfig, dict(sub_images or {}), "sub_images")
        self.sub_images = to_json(self._policy)
        rows, columns = _largest_grid(self._policy)
        self.size = {"height": rows * image_size, "width": columns * image_size}
        self.auto_map = dict(IMAGE_PROCESSOR_AUTO_MAP)

    def preprocess(self, images: Any, return_tensors: str | None = None, **kwargs: Any) -> BatchFeature:
        """`pixel_values` (I, 3, image_size, image_size) uint8, all sub-images of all pictures, and how many each made.

        Args:
            images: one, a list, or a list of lists, one for each row: Pillow images, paths, URLs, base64, bytes, or
                arrays and tensors with 1, 3 or 4 channels first or last (uint8, or floats from 0 to 1).
            return_tensors: tensors are made whatever it says; there only because all processors take it.
            kwargs: nothing that would change pixels.

        Raises:
            UserError: there is no image, one can not be decoded or is too large, or an argument has no meaning here.
        """
        if unknown := [name for name, value in kwargs.items() if value is not None]:
            raise UserError(f"MM1ImageProcessor does not take '{unknown[0]}': it always makes what mm1 trains on")
        flat = make_flat_list_of_images(self.fetch_images(images))
        if not flat:
            raise UserError("there are 0 images: give at least 1, or leave `images` out where a text has none")
        made = [self._sub_images(number, image) for number, image in enumerate(flat)]
        pixels = np.stack([pixels for several in made for pixels in several])
        data = {
            "pixel_values": torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
            "num_sub_images": torch.tensor([len(several) for several in made]),
        }
        return BatchFeature(data)

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """What names or encodes a picture, as a Pillow file that is not loaded yet; the rest, and the nesting, stay."""
        if isinstance(image_url_or_urls, list | tuple):
            return [self.fetch_images(item) for item in image_url_or_urls]
        if isinstance(image_url_or_urls, str | Path | bytes):
            data = _read(image_url_or_urls)
            try:
                return Image.open(io.BytesIO(data), formats=FORMATS)
            except UnidentifiedImageError:
                formats = ", ".join(FORMATS)
                raise UserError(f"{_shown(image_url_or_urls)} is no picture of these formats: {formats}") from None
        return image_url_or_urls

    def num_sub_images(self, sizes: Sequence[tuple[int, int]]) -> list[int]:
        """How many sub-images pictures of these sizes (height, width) make."""
        heights, widths = np.array(sizes, np.int64).reshape(-1, 2).T
        counts: list[int] = num_sub_images(self._policy, self.image_size, widths, heights).tolist()
        return counts

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> Any:
        """As transformers', and with the code that opens the folder."""
        written = super().save_pretrained(save_directory, *args, **kwargs)
        write_remote_code(Path(save_directory))
        return written

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoImageProcessor") -> None:
        """Nothing: transformers would copy this file where `write_remote_code` puts its own."""

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().to_dict().items() if name != "_policy"}

    def _sub_images(self, number: int, image: Any) -> list[np.ndarray]:
        try:
            return decode_sub_images(_encoded(image), self._policy, self.image_size)
        except BadImage as error:
            raise UserError(f"image {number} (counted from 0) is {error.reason}: replace it") from None


def _read(source: str | Path | bytes) -> bytes:
    """The bytes that a path, a URL or base64 stands for."""
    if isinstance(source, bytes):
        return source
    text = str(source)
    try:
        if text.startswith(("http://", "https://")):
            with urllib.request.urlopen(text, timeout=FETCH_SECONDS) as answer:
                fetched: bytes = answer.read()
                return fetched
        if isinstance(source, Path) or (len(text) < LONGEST_PATH and Path(text).is_file()):
            return Path(text).read_bytes()
    except OSError as error:  # of files and, in urllib, of connections
        raise UserError(f"{_shown(text)} can not be read ({error}): give a picture that can be reached") from None
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except binascii.Error:
        raise UserError(f"{_shown(text)} is neither a file, nor a URL, nor base64: give one of these") from None


def _encoded(image: Any) -> bytes:
    """The bytes of an image file that nobody has decoded yet; a PNG of one that somebody has."""
    if isinstance(image, ImageFile.ImageFile) and image.fp is not None:
        place = image.fp.tell()
        image.fp.seek(0)
        data: bytes = image.fp.read()
        image.fp.seek(place)
        return data
    if not isinstance(image, Image.Image):
        image = _picture(to_numpy_array(image))
    if image.width * image.height > MAX_PIXELS:
        raise BadImage("too_many_pixels")
    upright = ImageOps.exif_transpose(image)
    buffer = io.BytesIO()
    (upright if upright.mode in _PNG_MODES else upright.convert("RGB")).save(buffer, "PNG", compress_level=0, exif=b"")
    return buffer.getvalue()


def _picture(array: np.ndarray) -> Image.Image:
    """An array (H, W), (H, W, C) or (C, H, W) as a picture."""
    if array.ndim == 3 and infer_channel_dimension_format(array, num_channels=(1, 3, 4)).value == "channels_first":
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.floating) or array.min() < 0 or array.max() > 1:
            raise UserError(f"an array of {array.dtype} is no picture: give uint8, or floats between 0 and 1")
        array = (array * 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array))


def _largest_grid(policy: SubImagesConfig) -> tuple[int, int]:
    """Rows and columns of the grid with the most tiles that the policy may choose."""
    if isinstance(policy.grid, FixedGridConfig):
        return policy.grid.rows, policy.grid.columns
    return 1, policy.grid.max_tiles


def _shown(source: Any) -> str:
    text = str(source)
    return repr(text if len(text) <= 60 else text[:57] + "…")
