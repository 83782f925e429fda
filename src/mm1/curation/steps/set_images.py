"""The images of the set as the pages of a part see them: `look_up` of interleaved.py and captions.py.

    look_up = SetImages(addresses_folder, pictures_folder, DOCUMENTS).of(source)
    look_up("https://a.example/cat.jpg")      # StoredImage, or "frequent_url", "http_404", "corrupt", …

Knows nothing of what the rules ask of an image itself.
"""

from __future__ import annotations

from pathlib import Path

from mm1.curation.image_store import ImageStore
from mm1.curation.images import LookUp, StoredImage
from mm1.curation.lookups import Lookup, md5_key
from mm1.curation.steps.addresses import FREQUENT, address_key
from mm1.curation.steps.occurrences import frequent
from mm1.curation.steps.picture_counts import COPIES, INDEX, stored_files


class SetImages:
    """All images as one set has them, through memory maps.

    Args:
        found: the folder of addresses.py.
        pictures: that of pictures.py.
        name: of the set, one of occurrences.SETS.
    """

    def __init__(self, found: Path, pictures: Path, name: str) -> None:
        self._frequent, self._copies = frequent(found / FREQUENT)[name], frequent(pictures / COPIES)[name]
        self._store = open_store(pictures)

    def of(self, source: str) -> LookUp:
        """What pages of a source get under an address."""

        def look_up(url: str) -> StoredImage | str:
            key = address_key(url, source)
            if self._frequent.get(key) is not None:
                return "frequent_url"
            image = self._store.get(key)
            if isinstance(image, StoredImage) and self._copies.get(md5_key(image.picture.md5)) is not None:
                return "frequent_bytes"
            return image

        return look_up


def open_store(pictures: Path) -> ImageStore:
    """The images themselves, by the keys of their addresses."""
    return ImageStore(stored_files(pictures), Lookup(pictures / INDEX))
