"""Encoded bytes to pixels, with limits: what comes from the web may be broken, huge or hostile.

    decode_sub_images(data, WHOLE, 48)      # one (48, 48, 3) uint8 array, or BadImage("corrupt")
    upright_size(data)                      # (1500, 1000), from the header alone
    EncodedImage(data).squashed(32)         # (32, 32) in RGB, every byte of the pixels gone through

How a picture becomes encoder inputs is the policy of sub_images.py; by default it is squashed to a square with bicubic
interpolation, its shape ignored, as MM1's encoders were trained (DFN5B-CLIP, bicubic "squash"). Each picture is decoded
once, and everything is resized from those pixels. Knows nothing of documents, tokens or normalisation.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base

from mm1.data.picture_blocks import too_many_blocks
from mm1.data.sub_images import SubImagesConfig, choose_grid, cut

ImageFormat: TypeAlias = Literal["PNG", "JPEG", "WEBP", "GIF", "BMP"]
FORMATS: tuple[ImageFormat, ...] = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 64_000_000
"""Refused from the header alone, before any memory is taken for the pixels."""
MAX_SIDE = 65_535
"""Likewise, and the most that a JPEG or a GIF can have. Pictures are resized across and then down: a column of 64
million pixels, 60 kB of PNG, would be hundreds of columns, tens of gigabytes, in between."""

_STRIP = 1 << 18
"""Pixels that are laid on white, or scaled from 16 bits, at a time: each takes twelve bytes meanwhile. At the limit
of pixels a picture takes what Pillow decodes, and as much for its RGB: 256 MB each."""

_AVERAGED = ("L", "LA", "RGB", "RGBA")
"""Modes whose values can be averaged as they are; Pillow weighs colours by their alpha."""

Reason: TypeAlias = Literal["unreadable", "corrupt", "animated", "too_many_pixels"]


class BadImage(Exception):
    """Bytes that give no picture. `reason` is one of a few fixed words, fit for counting:

    unreadable (none of the accepted formats), corrupt (broken, cut short, or of more blocks than any encoder writes),
    animated, too_many_pixels.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def decode_sub_images(
    data: bytes, config: SubImagesConfig, image_size: int, max_pixels: int = MAX_PIXELS
) -> list[np.ndarray]:
    """The sub-images, each (image_size, image_size, 3) uint8 RGB: upright as EXIF says, transparency laid on white.

    There are as many as `num_sub_images` says for the picture's `upright_size`.

    Raises:
        BadImage: with its `reason`; whatever the decoder trips over ends here.
    """
    with _every_error_a_bad_image():
        image = _open(data, max_pixels)
        # From the header's size: a JPEG that is reduced while it is read may round its shape.
        rows, columns = choose_grid(config, image_size, *_upright_size(image))
        picture = _load(image, columns * image_size, rows * image_size)
    return cut(picture, config, image_size, (rows, columns))


def read_image(data: bytes, size: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in RGB and in its own shape, upright, transparency laid on white, not yet resized.

    A JPEG may come at 1/2, 1/4 or 1/8 of its size if its sides stay at least twice `size`.

    Raises:
        BadImage: with its `reason`; whatever the decoder trips over ends here.
    """
    with _every_error_a_bad_image():
        return _load(_open(data, max_pixels), size, size)


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels as a viewer shows the picture, its EXIF orientation applied; no pixel is decoded.

    (0, 0) for what is no picture, which decoding will refuse as well.
    """
    try:
        with _every_error_a_bad_image():
            return _upright_size(_open(data, MAX_PIXELS))
    except BadImage:
        return 0, 0


class EncodedImage:
    """A picture of which only the header was read, for who wants to know more of it before, or instead of, its pixels.

    `width` and `height` are in pixels, upright as EXIF says.

    Raises:
        BadImage: the header says that there is no such picture, or that it is animated or too large.
    """

    def __init__(self, data: bytes, max_pixels: int = MAX_PIXELS) -> None:
        with _every_error_a_bad_image():
            self._image = _open(data, max_pixels)
            self.width, self.height = _upright_size(self._image)
        # A photo with a depth map or a second view is a JPEG followed by another one.
        name = "JPEG" if self._image.format == "MPO" else self._image.format
        self.format: ImageFormat = next(format for format in FORMATS if format == name)

    def squashed(self, side: int) -> Image.Image:
        """All of the picture in RGB at (side, side) pixels, by averages, transparency on white; can be asked once.

        A JPEG's smaller copy comes from the same bytes as its full one, so a break in them shows as well.

        Raises:
            BadImage: its pixels are broken or cut short.
        """
        with _every_error_a_bad_image():
            self._image.draft("RGB", (2 * side, 2 * side))
            picture = _upright(self._image)
            if picture.mode in _AVERAGED and "transparency" not in picture.info:
                picture = picture.resize((side, side), Image.Resampling.BOX)  # before it is copied at its full size
            return _to_rgb(picture).resize((side, side), Image.Resampling.BOX)


def check_header(data: bytes, max_pixels: int = MAX_PIXELS) -> None:
    """Refuses what its first bytes show to be no picture that is read here, or too large; no pixel is decoded.

    Raises:
        BadImage: with its `reason`.
    """
    with _every_error_a_bad_image():
        _open(data, max_pixels)


@contextmanager
def _every_error_a_bad_image() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)  # broken EXIF or palettes: the pixels may be fine
            yield
    except BadImage:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadImage("too_many_pixels") from None
    except UnidentifiedImageError:
        raise BadImage("unreadable") from None
    except Exception:  # decoders meet hostile bytes with any error: OSError, SyntaxError, struct.error, zlib.error, …
        raise BadImage("corrupt") from None


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """The picture's header; its pixels are still to be loaded."""
    if too_many_blocks(data):
        raise BadImage("corrupt")
    image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE:
        raise BadImage("too_many_pixels")
    if image.format == "PNG" and "exif" not in image.info and (exif := _png_exif(data)) is not None:
        image.info["exif"] = b"Exif\0\0" + exif
    # JPEG is not asked: a phone's photo with a depth map (MPO) has two frames, and the first is the photo.
    if image.format in ("GIF", "PNG", "WEBP") and getattr(image, "is_animated", False):
        raise BadImage("animated")
    return image


def _png_exif(data: bytes) -> bytes | None:
    """The content of a PNG's eXIf chunk, which may stand after the pixels, where Pillow meets it only with them."""
    place = 8
    while place + 8 <= len(data):
        size, name = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        if name == b"eXIf":
            return data[place + 8 : place + 8 + size]
        if name == b"IEND":
            break
        place += size + 12
    return None


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _lies_on_its_side(image) else (width, height)


def _lies_on_its_side(image: Image.Image) -> bool:
    """Whether EXIF turns the picture by a quarter; looks at `info` first, for some formats load all pixels if asked."""
    return _has_exif(image) and image.getexif().get(Base.Orientation) in (5, 6, 7, 8)


def _has_exif(image: Image.Image) -> bool:
    return "exif" in image.info or "Raw profile type exif" in image.info


def _load(image: Image.Image, width: int, height: int) -> Image.Image:
    """The upright pixels in RGB, at least twice as wide and high as asked where the picture is."""
    if _lies_on_its_side(image):
        width, height = height, width
    # Twice the wanted size leaves the bicubic filter something to do.
    image.draft("RGB", (2 * width, 2 * height))
    return _to_rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    return ImageOps.exif_transpose(image) if _has_exif(image) else image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as RGB; transparency is laid on white, 16-bit grey scaled to 8."""
    is_grey16, is_transparent = image.mode.startswith("I"), image.has_transparency_data
    if not is_grey16 and not is_transparent:
        return image if image.mode == "RGB" else image.convert("RGB")
    convert = _grey16_to_rgb if is_grey16 else _on_white
    rows = max(1, _STRIP // image.width)
    if rows >= image.height:
        return convert(image)
    made = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        made.paste(convert(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return made


def _grey16_to_rgb(image: Image.Image) -> Image.Image:
    grey = np.asarray(image, dtype=np.float32) / 257.0
    return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")
