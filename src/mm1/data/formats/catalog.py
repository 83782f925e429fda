"""The formats that can be read, and which of them a file is in.

    recognise(Path("00000.tar"))        # Recognised("webdataset", "a tar archive")
    FORMATS["webdataset"].read(Path("00000.tar"), ReadOptions())        # Documents and Drops

A file is looked at, not its name: its first bytes, the columns of a table, the keys of a JSON object. A name that
promises one of them and does not keep it is a damaged file, not a text.
"""

from __future__ import annotations

import codecs
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mm1.config import UserError
from mm1.data.formats import (
    captions,
    cauldron,
    coco,
    document_tables,
    documents,
    image_folder,
    llava,
    mmc4,
    obelics,
    tables,
    text,
    vqa,
    webdataset,
)
from mm1.data.formats.reading import Drop, Item, ReadOptions
from mm1.data.formats.streams import Damaged, array_items, head, line_shares

_PROMISES = (".tar", ".tgz", ".parquet", ".json", ".jsonl", ".ndjson")
_HEAD, _JSON_HEAD = 1 << 16, 1 << 20


@dataclass(frozen=True, slots=True)
class Format:
    """A way of writing documents down."""

    about: str
    read: Callable[[Path, ReadOptions], Iterator[Item]]
    """What is in a file: documents and drops of documents make up all that was read. Tables are looked at when it is
    called, other files when the first item is asked for."""
    pages: bool = False
    """Whether a document is a page, which goes on without a picture that can not be decoded."""
    shares: Callable[[Path, int], list[range | None]] | None = None
    """Shares of about so many bytes of one file, for `ReadOptions.share`; None where one process reads all of it."""


FORMATS: dict[str, Format] = {
    "webdataset": Format("tars of captioned pictures, as img2dataset writes them", webdataset.read),
    "captions": Format("parquet with pictures and captions", captions.read, shares=tables.group_shares),
    "obelics": Format(
        "parquet of pages: `images` and `texts`, one of them null at each place",
        obelics.read,
        pages=True,
        shares=tables.group_shares,
    ),
    "mmc4": Format("JSONL of pages: `text_list` and `image_info`", mmc4.read, pages=True, shares=line_shares),
    "documents": Format("JSONL of mm1's own Documents: `segments`", documents.read, shares=line_shares),
    "documents-parquet": Format(
        "parquet of Documents, as `mm1 curate` writes them: `segments`",
        document_tables.read,
        shares=tables.group_shares,
    ),
    "llava": Format("JSON of chats: `conversations`, with a picture folder", llava.read, shares=line_shares),
    "cauldron": Format(
        "parquet of chats: `images`, and `texts` with user and assistant", cauldron.read, shares=tables.group_shares
    ),
    "coco": Format("COCO's captions as JSON, with a picture folder", coco.read),
    "vqa": Format("VQAv2's questions as JSON, annotations beside them, with a picture folder", vqa.read),
    "imagefolder": Format(
        "JSONL of captions: `file_name` and text, beside the pictures", image_folder.read, shares=line_shares
    ),
    "text": Format("plain text", text.read_plain, shares=line_shares),
    "text-json": Format("JSONL with a text", text.read_json, shares=line_shares),
    "text-parquet": Format("parquet with a column of text", text.read_table, shares=tables.group_shares),
}

_HOW = f"name its format with --format, one of {', '.join(FORMATS)}"


@dataclass(frozen=True, slots=True)
class Recognised:
    """A format's name and what it was recognised by."""

    format: str
    evidence: str


class DamagedFile(UserError):
    """A file of which not even the beginning, or a table's footer, can be read."""


def recognise(path: Path) -> Recognised:
    """The format of a file.

    Raises:
        DamagedFile: it can not be read.
        UserError: it is none of FORMATS; the sentence says what was found and how to name the format.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file: give files, or folders of them")
    try:
        start = head(path, _HEAD)
    except Damaged as error:
        raise DamagedFile(f"{path} can not be read, it is {error.reason}: copy it anew, or {_HOW}") from None
    if start.startswith(b"PAR1"):
        return _recognise_table(path)
    if _is_tar(start):
        return Recognised("webdataset", "a tar archive")
    if not start.strip():
        raise DamagedFile(f"{path} is empty: leave it out, or {_HOW}")
    bare = start.removeprefix(codecs.BOM_UTF8).lstrip()
    is_named_text = any(suffix in (".txt", ".md") for suffix in path.suffixes)
    if bare.startswith((b"{", b"[")) and not is_named_text:
        return _recognise_json(path)
    if promised := next((suffix for suffix in path.suffixes if suffix in _PROMISES), None):
        raise DamagedFile(f"{path} ends in {promised}, but does not begin like one: copy it anew, or {_HOW}")
    if b"\0" in start:
        raise UserError(f"{path} is neither a table, a tar, JSON nor text: {_HOW}")
    return Recognised("text", "neither a table, a tar nor JSON")


def _is_tar(start: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(start[: tarfile.BLOCKSIZE], "utf-8", "replace")
    except tarfile.HeaderError:
        return False
    return True


def _recognise_table(path: Path) -> Recognised:
    found = tables.columns(path)
    if found is None:
        raise DamagedFile(f"{path} can not be read, its parquet footer is missing or damaged: copy it anew, or {_HOW}")
    kinds = {name: tables.kind_of(kind) for name, kind in found.items()}

    def one_of(names: tuple[str, ...], wanted: str) -> str | None:
        return next((name for name in names if kinds.get(name) in wanted.split("|")), None)

    if one_of(("images",), obelics.IMAGES):
        if one_of(("texts",), "list of text"):
            return Recognised("obelics", "columns images and texts, lists side by side")
        if one_of(("texts",), "list of turns"):
            return Recognised("cauldron", "columns images and texts, the texts with user and assistant")
    if one_of(("segments",), document_tables.SEGMENTS):
        return Recognised("documents-parquet", "columns segments, with type, text and image")
    image, caption = one_of(captions.IMAGES, captions.HOLDS_IMAGE), one_of(captions.CAPTIONS, "text")
    if image and caption:
        return Recognised("captions", f"columns {image} ({kinds[image]}) and {caption} (text)")
    if name := one_of(text.NAMES, "text"):
        return Recognised("text-parquet", f"a column {name} (text)")
    there = ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "none"
    raise UserError(
        f"{path} has the columns {there}, where images and texts, {captions.IMAGES[0]} and {captions.CAPTIONS[0]}, or "
        f"{text.NAMES[0]} were looked for: {_HOW}"
    )


def _recognise_json(path: Path) -> Recognised:
    keys = _first_keys(path)
    for name, wanted in (
        ("documents", {"segments"}),
        ("mmc4", {"text_list", "image_info"}),
        ("llava", {"conversations"}),
        ("vqa", {"questions"}),
        ("coco", {"images", "annotations"}),
    ):
        if wanted <= keys:
            return Recognised(name, f"JSON with {' and '.join(sorted(wanted))}")
    if image_folder.NAME in keys and (key := next((key for key in captions.CAPTIONS if key in keys), None)):
        return Recognised("imagefolder", f"JSON with {image_folder.NAME} and {key}")
    for key in text.NAMES:
        if key in keys:
            return Recognised("text-json", f"JSON with {key}")
    there = ", ".join(sorted(keys)[:20]) or "none"
    raise UserError(f"{path} is JSON with the keys {there}, which are no known format's: {_HOW}")


def _first_keys(path: Path) -> set[str]:
    """The keys of the first object; of one that is longer than its first line, all keys that its beginning shows."""
    try:
        start = head(path, _JSON_HEAD).removeprefix(codecs.BOM_UTF8).lstrip()
    except Damaged as error:
        raise DamagedFile(f"{path} can not be read, it is {error.reason}: copy it anew, or {_HOW}") from None
    if start.startswith(b"["):
        _, value = next(array_items(path), ("", None))
        if isinstance(value, Drop):
            raise DamagedFile(f"{path} is a JSON array of which nothing can be read: {_HOW}")
    else:
        try:
            value = json.loads(start.partition(b"\n")[0])
        except (ValueError, RecursionError):
            value = dict.fromkeys(key.decode() for key in re.findall(rb'"([a-z_]+)"\s*:', start))
            if {"image_id", "caption"} <= value.keys():
                value |= dict.fromkeys(("images", "annotations"))  # whichever the file's beginning does not show
    return set(value) if isinstance(value, dict) else set()
