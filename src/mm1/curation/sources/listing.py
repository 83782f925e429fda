"""Sources as parts: which files there are, what each is, and how it is cut.

    list_parts([Path("site"), Path("crawls")])     # site's pages by 512, each WARC of crawls

A folder with HTML in it is a site: its HTML files are its pages, and its other files what they show. A folder without
is a folder of sources, each as if it were given itself. The same sources give the same parts, in the same order.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from pyarrow import parquet

from mm1.config import UserError
from mm1.config import fingerprint as fingerprint_of
from mm1.curation.sources.folder import is_page, walk
from mm1.curation.sources.part import Part, SourcesConfig, pack
from mm1.curation.sources.recognition import UNDERSTOOD, Recognised, recognise
from mm1.curation.sources.rows import RowSlice, rows

_SUFFIXES = (".warc", ".jsonl", ".ndjson", ".parquet", ".csv", ".txt")
"""What is looked for in a folder without HTML; each may be compressed."""
_COMPRESSED = (".gz", ".zst", ".lz4")


def list_parts(paths: Sequence[Path], config: SourcesConfig | None = None, buckets: int | None = None) -> list[Part]:
    """The parts of the sources, in the order of the paths.

    Args:
        paths: Of the sources.
        config: How they are read; None is the default.
        buckets: Over how many the hosts of lists of pages are spread: a list has no more parts.

    Raises:
        UserError: nothing is given or found, a path is not there, lies in another, is nothing understood or has a
            name that is not UTF-8.
    """
    config = config or SourcesConfig()
    sources: list[tuple[Path, _Site | None]] = []
    for place in _places(paths):
        if not place.is_dir():
            sources.append((place, None))
            continue
        site = _Site(pages=[], others=[])
        for name in walk(place):
            (site.pages if is_page(place, name) else site.others).append(name)
        if site.pages:
            sources.append((place, site))
        else:
            sources += [(path, None) for path in _files_of_sources(place, site.others)]
    labels = _labels([path for path, _ in sources])
    found: list[Part] = []
    for path, pages in sources:
        if pages is None:
            found += _file_parts(path, labels[path], config, buckets)
        else:
            found += _folder_parts(path, pages, labels[path], config)
    return found


class _Site(NamedTuple):
    """The names of a folder's files."""

    pages: list[str]
    others: list[str]


def _places(paths: Sequence[Path]) -> list[Path]:
    """The paths, absolute, each once."""
    places = list(dict.fromkeys(Path(os.path.realpath(path)) for path in paths))
    if not places:
        raise UserError(f"there is nothing to read: give {UNDERSTOOD}")
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} is not there: give {UNDERSTOOD}")
    given = set(places)
    for place in places:
        _check_name(place)
        outer = next((one for one in place.parents if one in given), None)
        if outer is not None:
            raise UserError(f"{place} lies in {outer}, and its pages would be read twice: give one of them")
    return places


def _check_name(path: Path) -> None:
    """Names of sources are written down, in parts and in the ids of pages."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"the name of {os.fsencode(path)!r} is not UTF-8: rename it") from None


def _files_of_sources(folder: Path, names: Iterable[str]) -> list[Path]:
    found = []
    for name in names:
        path = folder / os.fsdecode(unquote_to_bytes(name))
        bare = path.name.lower()
        for ending in _COMPRESSED:
            bare = bare.removesuffix(ending)
        if bare.endswith(_SUFFIXES):
            _check_name(path)
            found.append(path)
    if not found:
        raise UserError(f"{folder} holds no HTML and no file that ends in {', '.join(_SUFFIXES)}: give {UNDERSTOOD}")
    return found


def _labels(paths: Sequence[Path]) -> dict[Path, str]:
    """A short name for each: the last parts of its path, as many as tell it from the others."""
    labels: dict[Path, str] = {}
    for depth in range(1, 64):
        waiting = [path for path in paths if path not in labels]
        ends = ["/".join(path.parts[-depth:]).lstrip("/") for path in waiting]
        times = Counter(ends)
        labels.update({path: end for path, end in zip(waiting, ends, strict=True) if times[end] == 1})
    return labels | {path: str(path) for path in paths if path not in labels}


def _folder_parts(root: Path, site: _Site, label: str, config: SourcesConfig) -> Iterator[Part]:
    pictures = _fingerprint(_about(root, name) for name in site.others)
    about = [_about(root, name) for name in site.pages]
    sizes = [one.size for one in about]
    for number, group in enumerate(_groups(sizes, config.part_files, config.part_bytes)):
        files = about[group.start : group.stop]
        yield Part(
            kind="folder",
            name=_part_name(label, number),
            source=label,
            path=str(root),
            packed=pack(one.name for one in files),
            fingerprint=_fingerprint(files),
            size=sum(one.size for one in files),
            pictures=pictures,
        )


def _groups(sizes: Sequence[int], most: int, most_bytes: int) -> Iterator[range]:
    """Neighbours together, up to `most` of them or `most_bytes`; one that is larger stands alone."""
    start = held = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == most or held + size > most_bytes):
            yield range(start, index)
            start, held = index, 0
        held += size
    if sizes:
        yield range(start, len(sizes))


def _file_parts(path: Path, label: str, config: SourcesConfig, buckets: int | None) -> Iterator[Part]:
    found = recognise(path, config)
    about = path.stat()
    whole = [about.st_size, about.st_mtime_ns, found.column, found.caption]
    slices = list(_slices(path, found, config, buckets))
    for number, (start, stop) in enumerate(slices):
        yield Part(
            kind=found.kind,
            name=_part_name(label, number),
            source=label,
            path=str(path),
            start=start,
            stop=stop,
            layout=found.layout,
            column=found.column,
            caption=found.caption,
            fingerprint=fingerprint_of([label, *whole, start, stop]),
            size=about.st_size // len(slices),
        )


def _slices(path: Path, found: Recognised, config: SourcesConfig, buckets: int | None) -> Iterator[tuple[int, int]]:
    if found.kind == "page_urls":
        count = sum(1 for _ in rows(RowSlice(path, found.layout, (found.column,))))
        parts = max(1, -(-count // config.part_urls))
        parts = parts if buckets is None else min(parts, buckets)
        yield from ((part, parts) for part in range(parts))
    elif found.layout == "parquet":
        metadata = parquet.read_metadata(path)
        sizes = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
        yield from ((group.start, group.stop) for group in _groups(sizes, max(len(sizes), 1), config.part_bytes))
    elif found.layout in ("jsonl", "lines") and _is_plain(path):
        size = path.stat().st_size
        for start in range(0, size, config.part_bytes):
            yield start, min(start + config.part_bytes, size)
    else:
        yield 0, 0


def _is_plain(path: Path) -> bool:
    """Whether it is not compressed, so that reading can begin anywhere."""
    with path.open("rb") as file:
        return file.read(1) not in (b"\x1f", b"\x28", b"P")


def _part_name(label: str, number: int) -> str:
    """Fit for a file's name, and told from that of another label by a hash where it is not the label itself."""
    safe = "".join(character if character.isalnum() or character in "-_." else "-" for character in label)
    safe = safe[-80:].lstrip(".")
    mark = "" if safe == label else "-" + hashlib.sha256(label.encode()).hexdigest()[:8]
    return f"{safe}{mark}-{number:05d}"


class _About(NamedTuple):
    """What identifies a file: reading all the bytes would take as long as the work."""

    name: str
    size: int
    changed: int


def _about(root: Path, name: str) -> _About:
    """Zeros for a file that went meanwhile, whose page is then missing."""
    try:
        about = os.stat(os.path.join(os.fsencode(root), unquote_to_bytes(name)))
    except OSError:
        return _About(name, 0, 0)
    return _About(name, about.st_size, about.st_mtime_ns)


def _fingerprint(files: Iterable[_About]) -> str:
    digest = hashlib.sha256()
    for name, size, changed in files:
        digest.update(f"{name}\0{size}\0{changed}\n".encode())
    return digest.hexdigest()
