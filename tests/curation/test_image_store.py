"""Images come back from the store under their keys, as they were, or with the reason why there is none."""

from pathlib import Path

import numpy as np
import pytest

from mm1.curation import image_store
from mm1.curation.image_store import NOT_THERE, ImageFile, ImageStore, ImageWriter, place_of
from mm1.curation.images import Picture, StoredImage
from mm1.curation.lookups import Lookup, LookupWriter
from mm1.data.perceptual import Look


def image(number: int) -> StoredImage:
    data = bytes([number]) * (1000 + number)
    return StoredImage(Picture("PNG", 100 + number, 7, len(data), bytes([number] * 16), Look(number, b"c" * 192)), data)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageStore:
    monkeypatch.setattr(image_store, "_BATCH_BYTES", 3000)
    files = [tmp_path / f"{number}.arrow" for number in range(3)]
    for number, path in enumerate(files):
        with ImageWriter(path) as writer:
            for row in range(10):
                key = 100 * number + row
                writer.add(key, f"u{key}", "corrupt" if row == 4 else image(key % 256))
    keys = [100 * number + row for number in range(3) for row in range(10)]
    with LookupWriter(tmp_path / "index") as index:
        index.add(np.array(keys, np.uint64), np.array([place_of(key // 100, key % 100) for key in keys], np.uint64))
    return ImageStore(files, Lookup(tmp_path / "index"))


def test_every_image_is_under_its_key(store: ImageStore) -> None:
    for number in range(3):
        for row in (0, 1, 3, 5, 9):
            assert store.get(100 * number + row) == image((100 * number + row) % 256)
        assert store.get(100 * number + 4) == "corrupt"


def test_what_nobody_asked_for_has_a_reason_of_its_own(store: ImageStore) -> None:
    assert store.get(50) == NOT_THERE


def test_outcomes_tell_of_all_rows_without_their_bytes(store: ImageStore, tmp_path: Path) -> None:
    file = ImageFile(tmp_path / "1.arrow")
    assert len(file) == 10
    assert list(file.outcomes()) == [(100 + row, f"u{100 + row}", "corrupt" if row == 4 else None) for row in range(10)]


def test_a_file_without_images_is_one(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "none.arrow"):
        pass
    assert len(ImageFile(tmp_path / "none.arrow")) == 0
    assert list(ImageFile(tmp_path / "none.arrow").outcomes()) == []
