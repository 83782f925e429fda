"""Files that people already have, as a source of documents: which files, in which format, in which groups.

    sources_of(["captions=cc12m/", "pages.jsonl"])     # a FilesConfig named captions, one named documents
    found = find(config)                                # its files and their format, every one looked at
    group(found.files)                                  # small files together, a large one alone: a part's work

Knows nothing of shards or tokens.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from pydantic import Field

from mm1.config import Config, UserError, from_json
from mm1.data.formats.catalog import FORMATS, DamagedFile, Recognised, recognise
from mm1.data.formats.reading import ReadOptions

SUFFIXES = (".tar", ".tgz", ".parquet", ".json", ".jsonl", ".ndjson", ".txt", ".md")
"""What is looked for in a folder; each may be followed by one of _COMPRESSED. Other files are left alone."""
_JSON = (".json", ".jsonl", ".ndjson")
"""What may name pictures that lie beside it."""
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_COMPRESSED = (".gz", ".zst", ".zip")
_ABOUT = ("readme.md", "readme.txt", "license.md", "license.txt", "dataset_infos.json")
"""Names of files of a folder that tell of the others, as in datasets of the Hugging Face hub; in lower case."""
GROUP_BYTES = 32 << 20


class FilesConfig(Config):
    """Files of one format."""

    kind: Literal["files"] = "files"
    name: str = Field(pattern=r"^\w[\w.-]*$")
    paths: tuple[Path, ...] = Field(min_length=1)
    """Files, and folders that are searched for files."""
    format: str | None = None
    """One of data/formats/catalog.py; None looks at the files."""
    images: Path | None = None
    """The folder of the pictures that the files name; None is each file's own folder."""
    text: str | None = None
    """The column or key of the text or caption, where it has none of the usual names."""

    @property
    def options(self) -> ReadOptions:
        return ReadOptions(images=self.images, text=self.text)


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a source, in order, and the format that all of them are in."""

    files: tuple[Path, ...]
    format: Recognised


def find(config: FilesConfig) -> Found:
    """The files of a source; tables are asked for their columns.

    Raises:
        UserError: no files, an unknown format or several, or a table without the format's columns.
    """
    files = files_of(config.paths)
    if not files:
        raise UserError(f"source '{config.name}': {_names(config.paths)} holds no file that ends in {_endings()}")
    found = (
        _one_format(config, files) if config.format is None else Recognised(config.format, "its name, which was given")
    )
    if found.format not in FORMATS:
        raise UserError(f"there is no format '{found.format}': name one of {', '.join(FORMATS)}")
    for path in files:
        FORMATS[found.format].read(path, config.options)
    return Found(tuple(files), found)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Each path that is a file, and the files of each that is a folder by name; what tells of others is left out.

    Raises:
        UserError: a path that is not there.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(sorted(filter(_is_wanted, path.rglob("*")))))
        elif path.is_file():
            found[path] = None
        else:
            raise UserError(f"{path} is not there: give files, or folders of them")
    companions = {companion for path in found for companion in _companions(path)}
    return [path for path in found if path not in companions]


def _is_wanted(path: Path) -> bool:
    name = path.name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    is_about = name in _ABOUT or path.name.startswith((".", "_"))
    return name.endswith(SUFFIXES) and not is_about and path.is_file()


def _companions(path: Path) -> Iterator[Path]:
    """The files that tell of `path`: img2dataset's table of a tar, its statistics of a tar or a table, VQA's
    annotations of questions.
    """
    if path.suffix in (".tar", ".parquet"):
        yield path.with_name(f"{path.stem}_stats.json")
    if path.suffix == ".tar":
        yield path.with_suffix(".parquet")
    yield from _annotations(path)


def _annotations(path: Path) -> Iterator[Path]:
    """Where the answers to VQA's questions may stand."""
    if "questions" in path.name:
        annotations = path.name.replace("questions", "annotations")
        yield path.with_name(annotations)
        yield path.with_name(annotations.replace("OpenEnded_", ""))


def _one_format(config: FilesConfig, files: Sequence[Path]) -> Recognised:
    groups = by_format(files)
    if len(groups) > 1:
        (first, (one, *_)), (second, (other, *_)), *_ = groups.items()
        raise UserError(
            f"source '{config.name}' has files of several formats ({one} is {first.format}, {other} is "
            f"{second.format}): give them as two sources, NAME=PATH each, or name one format with --format"
        )
    return next(iter(groups))


def by_format(files: Sequence[Path]) -> dict[Recognised, list[Path]]:
    """The files by their format; one that is damaged goes with the first that has its suffix.

    Raises:
        UserError: a file of no known format, or a damaged one with no other of its kind.
    """
    groups: dict[str, tuple[Recognised, list[Path]]] = {}
    suffixes: dict[str, str] = {}
    damaged: list[tuple[Path, DamagedFile]] = []
    for path in files:
        try:
            found = recognise(path)
        except DamagedFile as error:
            damaged.append((path, error))
            continue
        groups.setdefault(found.format, (found, []))[1].append(path)
        suffixes.setdefault("".join(path.suffixes), found.format)
    for path, why in damaged:
        kind = suffixes.get("".join(path.suffixes))
        if kind is None:
            raise why
        groups[kind][1].append(path)
    order = {path: place for place, path in enumerate(files)}
    return {found: sorted(paths, key=order.__getitem__) for found, paths in groups.values()}


def group(files: Sequence[Path], size: int = GROUP_BYTES) -> list[tuple[Path, ...]]:
    """Neighbouring files together up to `size` bytes in all; a larger one stands alone."""
    groups: list[list[Path]] = []
    held = size
    for path in files:
        more = path.stat().st_size
        if held + more > size or not groups:
            groups.append([])
            held = 0
        groups[-1].append(path)
        held += more
    return [tuple(paths) for paths in groups]


def fingerprint_of(config: FilesConfig) -> str:
    """A hash of the files' names, sizes and times of change: reading all their bytes would take as long as preparing.

    Copied with their times, the files count as the same wherever they lie. VQA's annotations are among them, and the
    pictures of the folder that was given for them, or else of the folders in which JSON files lie: a look at each, ten
    seconds for a million. Pictures elsewhere, which only mm1's own documents may name, are not.
    """
    digest = hashlib.sha256()
    files = files_of(config.paths)
    beside = dict.fromkeys(answers for path in files for answers in _annotations(path) if answers.is_file())
    named = [(path.name, path.stat()) for path in (*files, *beside)]
    for name, about in chain(named, *map(_pictures, _picture_folders(config, files))):
        digest.update(f"{name}\0{about.st_size}\0{about.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _picture_folders(config: FilesConfig, files: Sequence[Path]) -> list[Path]:
    """Folders that the pictures of a source may lie in, none inside another."""
    if config.images is not None:
        return [config.images]
    folders = dict.fromkeys(path.parent.resolve() for path in files if any(end in _JSON for end in path.suffixes))
    return [folder for folder in folders if not any(parent in folders for parent in folder.parents)]


def _pictures(folder: Path, within: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """The pictures of a folder and the folders in it, by name, each with what the file system says of it."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # not there, or not to be read: told of where a picture is missed
        return
    for entry in entries:
        name = f"{within}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _pictures(Path(entry.path), f"{name}/")
        elif name.lower().endswith(_PICTURES) and entry.is_file():
            yield name, entry.stat()


def sources_of(
    words: Sequence[str], found_format: str | None = None, images: Path | None = None, text: str | None = None
) -> list[FilesConfig]:
    """Sources from words such as `NAME=PATH` and `PATH`: the paths of a name, or else of a format, are one source.

    Raises:
        UserError: a path that is not there, a name that is none, or a file of no known format.
    """
    named: dict[str, list[Path]] = {}
    unnamed: list[Path] = []
    for word in words:
        name, equals, path = word.partition("=")
        if equals and not Path(word).exists():
            named.setdefault(name, []).append(Path(path))
        else:
            unnamed.append(Path(word))
    files = files_of(unnamed)
    if unnamed and not files:
        raise UserError(f"{_names(unnamed)} holds no file that ends in {_endings()}")
    groups = {found_format: files} if found_format else {key.format: found for key, found in by_format(files).items()}
    for name, paths in groups.items():
        if paths:
            named.setdefault(name, []).extend(paths)
    rest = {"format": found_format, "images": images, "text": text}
    return [from_json(FilesConfig, {"name": name, "paths": paths, **rest}, "a source") for name, paths in named.items()]


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:3])) + (", …" if len(paths) > 3 else "")


def _endings() -> str:
    return f"{', '.join(SUFFIXES)} (also with {', '.join(_COMPRESSED)})"
