"""A picture that was decoded before is not decoded again, and is the same."""

import io

import numpy as np
import PIL.Image
import pytest

from mm1.data import decoded
from mm1.data.decoded import DecodedImages
from mm1.data.image import BadImage, decode_sub_images
from mm1.data.sub_images import WHOLE, SubImagesConfig


def png(shade: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((9, 9, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Filled with what is really decoded."""
    calls: list[bytes] = []
    monkeypatch.setattr(
        decoded, "decode_sub_images", lambda data, *how: calls.append(data) or decode_sub_images(data, *how)
    )
    return calls


def test_each_picture_is_decoded_once_in_each_way(decodings: list[bytes]) -> None:
    decode, cut = DecodedImages(1 << 20), SubImagesConfig.for_resolution(16, image_size=8)
    for _ in range(2):
        for config, size in ((WHOLE, 8), (cut, 8), (WHOLE, 4)):
            got = decode(png(7), config, size)
            assert np.array_equal(got, decode_sub_images(png(7), config, size))
    assert decodings == [png(7)] * 3
    with pytest.raises(ValueError, match="read-only"):
        got[0][:] = 0


def test_the_oldest_goes_when_there_is_no_room(decodings: list[bytes]) -> None:
    room = 2 * (len(png(1)) + 8 * 8 * 3)
    decode = DecodedImages(room)
    for shade in (1, 2, 1, 3, 1, 2):
        decode(png(shade), WHOLE, 8)
    assert decodings == [png(shade) for shade in (1, 2, 3, 2)]
    assert [image.shape for image in DecodedImages(0)(png(1), WHOLE, 8)] == [(8, 8, 3)]


def test_a_broken_picture_stays_broken() -> None:
    decode = DecodedImages(1 << 20)
    for _ in range(2):
        with pytest.raises(BadImage):
            decode(b"no picture", WHOLE, 8)
