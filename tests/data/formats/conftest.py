"""Small files of every format, written as others write them."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from mm1.data.formats.catalog import FORMATS
from mm1.data.formats.reading import Drop, ReadOptions
from mm1.types import Document


class Write:
    """Writes files; a fixture, because test modules can not import each other."""

    @staticmethod
    def tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
        with tarfile.open(path, "w") as archive:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path

    @staticmethod
    def table(path: Path, columns: dict[str, pa.Array | list], **options: object) -> Path:
        parquet.write_table(pa.table(columns), path, **options)
        return path

    @staticmethod
    def jsonl(path: Path, rows: Iterable[object]) -> Path:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path


@pytest.fixture(scope="session")
def write() -> type[Write]:
    return Write


@pytest.fixture(scope="session")
def read():
    """A call with format, path and options gives (documents, {reason: count} of documents, the same of pictures)."""

    def call(name: str, path: Path, **options: object) -> tuple[list[Document], dict[str, int], dict[str, int]]:
        documents: list[Document] = []
        lost: dict[str, Counter[str]] = {"document": Counter(), "image": Counter()}
        for item in FORMATS[name].read(path, ReadOptions(**options)):
            if isinstance(item, Drop):
                lost[item.what][item.reason] += item.count
            else:
                documents.append(item)
        return documents, dict(lost["document"]), dict(lost["image"])

    return call
