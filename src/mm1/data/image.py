"""Encoded bytes to pixels, with limits: what comes from the web may be broken, huge or hostile.

    decode_image(data, size=48)      # (48, 48, 3) uint8, or BadImage("corrupt")

The picture is squashed to a square with bicubic interpolation, its shape ignored, as MM1's encoders were trained
(DFN5B-CLIP, bicubic "squash"). Knows nothing of documents, tokens or normalisation.
"""

from __future__ import annotations

import io
import warnings
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 64_000_000
"""Refused from the header alone, before any memory is taken for the pixels."""

Reason: TypeAlias = Literal["unreadable", "corrupt", "animated", "too_many_pixels"]


class BadImage(Exception):
    """Bytes that give no picture. `reason` is one of a few fixed words, fit for counting:

    unreadable (none of the accepted formats), corrupt (broken or cut short), animated, too_many_pixels.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def decode_image(data: bytes, size: int, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """(size, size, 3) uint8 RGB: upright as EXIF says, transparency laid on white, squashed to a square.

    Raises:
        BadImage: with its `reason`; whatever the decoder trips over ends here.
    """
    image = read_image(data, size, max_pixels)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def read_image(data: bytes, size: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in RGB and in its own shape, upright, transparency laid on white, not yet resized.

    A JPEG may come at 1/2, 1/4 or 1/8 of its size if its sides stay at least twice `size`.

    Raises:
        BadImage: with its `reason`; whatever the decoder trips over ends here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)  # broken EXIF or palettes: the pixels may be fine
            return _read(data, size, max_pixels)
    except BadImage:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadImage("too_many_pixels") from None
    except UnidentifiedImageError:
        raise BadImage("unreadable") from None
    except Exception:  # decoders meet hostile bytes with any error: OSError, SyntaxError, struct.error, zlib.error, …
        raise BadImage("corrupt") from None


def _read(data: bytes, size: int, max_pixels: int) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > max_pixels:
        raise BadImage("too_many_pixels")
    # JPEG is not asked: a phone's photo with a depth map (MPO) has two frames, and the first is the photo.
    if image.format in ("GIF", "PNG", "WEBP") and getattr(image, "is_animated", False):
        raise BadImage("animated")
    # Twice the wanted size leaves the bicubic filter something to do.
    image.draft("RGB", (2 * size, 2 * size))
    image.load()
    if "exif" in image.info or "Raw profile type exif" in image.info:
        image = ImageOps.exif_transpose(image)
    return _to_rgb(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as RGB; transparency is laid on white, 16-bit grey scaled to 8."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        grey = np.asarray(image, dtype=np.float32) / 257.0
        return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")
