"""Images on disk, each once: key of an address → the image and what is known of it, or why there is none.

    with ImageWriter(folder / "images.arrow") as writer:      # in a part; Arrow IPC, read through a memory map
        writer.add(key, url, StoredImage(picture, data))
        writer.add(key, url, "corrupt")
    store = ImageStore(files, Lookup(folder / "index"))       # key → number of the file << 32 | row
    store.get(key)                                            # StoredImage, or a reason

Opening takes no memory but a few bytes a batch; the bytes of an image are copied when it is asked for. Knows nothing of
addresses.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from mm1.curation.buffered import Buffered
from mm1.curation.images import Picture, StoredImage
from mm1.curation.lookups import Lookup
from mm1.data.perceptual import Look

NOT_THERE = "not_fetched"
"""The reason for an address that nobody asked for."""
_BATCH_BYTES = 16 << 20
_OVERHEAD = 512
"""Bytes of a row besides the image."""
_ROW_BITS = 32
_OPEN_FILES = 256
SCHEMA = pa.schema(
    [
        ("key", pa.uint64()),
        ("url", pa.string()),
        ("reason", pa.string()),
        ("format", pa.string()),
        ("width", pa.uint32()),
        ("height", pa.uint32()),
        ("md5", pa.binary(16)),
        ("hash", pa.uint64()),
        ("colours", pa.binary(192)),
        ("data", pa.binary()),
    ]
)
"""`reason` or all that follows it is null. `url` is for people: the beginning of the address."""
_URL = 500


class ImageWriter(Buffered):
    """Writes one file; a context manager. The file is of use once it is left without an error."""

    def __init__(self, path: Path) -> None:
        super().__init__(_BATCH_BYTES)
        self._writer = pa.ipc.new_file(str(path), SCHEMA)

    def add(self, key: int, url: str, image: StoredImage | str) -> None:
        """Appends an image or a reason."""
        if isinstance(image, str):
            self.add_row({"key": key, "url": url[:_URL], "reason": image}, _OVERHEAD)
            return
        picture = image.picture
        row = {
            "key": key,
            "url": url[:_URL],
            "format": picture.format,
            "width": picture.width,
            "height": picture.height,
            "md5": picture.md5,
            "hash": picture.look.hash,
            "colours": picture.look.colours,
            "data": image.data,
        }
        self.add_row(row, len(image.data) + _OVERHEAD)

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        self._writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))

    def close(self) -> None:
        self._writer.close()


class ImageFile:
    """One file, through a memory map."""

    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._starts = [0]
        for number in range(self._reader.num_record_batches):
            self._starts.append(self._starts[-1] + self._reader.get_batch(number).num_rows)

    def __len__(self) -> int:
        return self._starts[-1]

    def outcomes(self) -> Iterator[tuple[int, str, str | None]]:
        """Key, beginning of the address and reason of each row, without its bytes."""
        for number in range(self._reader.num_record_batches):
            batch = self._reader.get_batch(number)
            columns = (batch.column(name).to_pylist() for name in ("key", "url", "reason"))
            yield from zip(*columns, strict=True)

    def name(self, row: int) -> tuple[int, str]:
        """The key of a row and the beginning of its address."""
        batch, place = self._find(row)
        return batch.column("key")[place].as_py(), batch.column("url")[place].as_py()

    def get(self, row: int) -> StoredImage | str:
        """The image of a row, or the reason why there is none."""
        batch, place = self._find(row)
        values = {name: batch.column(name)[place].as_py() for name in SCHEMA.names}
        if values["reason"] is not None:
            return str(values["reason"])
        data = values["data"]
        look = Look(values["hash"], values["colours"])
        picture = Picture(values["format"], values["width"], values["height"], len(data), values["md5"], look)
        return StoredImage(picture, data)

    def _find(self, row: int) -> tuple[pa.RecordBatch, int]:
        number = bisect_right(self._starts, row) - 1
        return self._reader.get_batch(number), row - self._starts[number]


class ImageStore:
    """All files of a set."""

    def __init__(self, files: Sequence[Path], index: Lookup) -> None:
        self._index = index
        self._file = lru_cache(_OPEN_FILES)(lambda number: ImageFile(files[number]))

    def get(self, key: int) -> StoredImage | str:
        """The image under a key, or the reason why there is none."""
        place = self._index.get(key)
        if place is None:
            return NOT_THERE
        return self._file(place >> _ROW_BITS).get(place & ((1 << _ROW_BITS) - 1))


def place_of(file: int, row: int) -> int:
    """What the index has for a row of a file."""
    return file << _ROW_BITS | row
