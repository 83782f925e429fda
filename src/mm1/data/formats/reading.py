"""What every reader shares: what it yields, how a row that is no document is dropped, where pictures come from.

    row  →  Document                            or, where the row can not be one, Drop("missing image", "a.jsonl:17")
            Drop(…, what="image") before it     for each picture that a page goes without

So the documents and the drops of documents make up all that was read. Pictures are kept as the bytes they came as;
whether those can be decoded is seen later. Nothing here trusts a row: a name leads out of no folder that was given for
it, nor does a link in the folder, only regular files are opened, and a file that is too large is dropped without being
read. Knows no format.
"""

from __future__ import annotations

import base64
import binascii
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import unquote_to_bytes

from mm1.types import Document, Image, Segment, Text

MAX_IMAGE_BYTES = 128 << 20
"""Encoded; a larger file is dropped unread."""

MAX_DOCUMENT_BYTES = 512 << 20
"""Of a document's pictures and characters of its text together: memory, and a column of Arrow's, end not far above."""

MAX_TEXT = 32 << 20
"""Characters of a document: tokenising takes some hundred times their memory."""

T = TypeVar("T")
S = TypeVar("S", bound=Segment)


@dataclass(frozen=True, slots=True)
class Drop:
    """What was read and is no document, or a picture that a page had to go without."""

    reason: str
    """One of a few fixed phrases, fit for counting."""
    where: str
    """File and place in it."""
    count: int = 1
    """Documents lost at once, as with a damaged part of a file whose number of rows is known."""
    what: Literal["document", "image"] = "document"
    id: str = ""
    """The row's own, where it has one."""


Item: TypeAlias = Document | Drop


class Unusable(Exception):
    """A row, or a picture of it, that can not be taken; `reason` as in `Drop`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the files do not say themselves."""

    images: Path | None = None
    """The folder of the pictures that rows name; None is the folder of the file itself."""
    text: str | None = None
    """The column or key of the text or caption, where it has none of the usual names."""
    share: range | None = None
    """What to read of a file that several processes share: the lines that begin in these bytes, or the row groups of
    these numbers. None is all of it."""


Located: TypeAlias = tuple[str, T]
"""A thing with the place where it was read."""


def each(rows: Iterable[Located[T | Drop]], make: Callable[[str, T], Item | Iterator[Item]]) -> Iterator[Item]:
    """What `make(where, row)` gives for each row, a Drop where it raises Unusable; drops among the rows pass."""
    for where, row in rows:
        if isinstance(row, Drop):
            yield row
            continue
        try:
            made = make(where, row)
            if isinstance(made, Document | Drop):
                yield made
            else:
                yield from made
        except Unusable as error:
            yield Drop(error.reason, where, id=_id(row))


def _id(row: object) -> str:
    name = row.get("id") if isinstance(row, dict) else None
    return printable(str(name)) if isinstance(name, str | int) else ""


def document(name: str, segments: Iterable[Segment]) -> Document:
    """The document, if there is something in it and all its text is text.

    Raises:
        Unusable: "empty document", "invalid UTF-8" (bytes that were decoded with `surrogateescape`, or half of a
            surrogate pair that JSON spelled out), or as `bounded`.
    """
    made = Document(id=printable(name), segments=tuple(bounded(segments)))
    texts = [part.text for part in made.segments if isinstance(part, Text)]
    if not made.images and not any(text.strip() for text in texts):
        raise Unusable("empty document")
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unusable("invalid UTF-8") from None
    return made


def bounded(segments: Iterable[S]) -> list[S]:
    """The segments of one document, taken one by one: a short row may name a large picture many times.

    Raises:
        Unusable: "document too large", "text too long".
    """
    taken: list[S] = []
    size = text = 0
    for segment in segments:
        taken.append(segment)
        size += len(segment.text if isinstance(segment, Text) else segment.data)
        text += len(segment.text) if isinstance(segment, Text) else 0
        if size > MAX_DOCUMENT_BYTES:
            raise Unusable("document too large")
        if text > MAX_TEXT:
            raise Unusable("text too long")
    return taken


def room_after(image: Image, room: int = MAX_DOCUMENT_BYTES) -> int:
    """The bytes that a document has room for after `image`, of `room`.

    Raises:
        Unusable: "document too large".
    """
    if len(image.data) > room:
        raise Unusable("document too large")
    return room - len(image.data)


def printable(name: str) -> str:
    """A name for people, with what is not UTF-8 in it replaced."""
    return name.encode("utf-8", "replace").decode()


def take(row: object, key: str, kind: type[T]) -> T:
    """`row[key]`, if there is one of that kind.

    Raises:
        Unusable: "no KEY".
    """
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, kind):
        raise Unusable(f"no {key}")
    return value


def caption(value: object) -> str:
    """A caption without the spaces around it.

    Raises:
        Unusable: "no caption".
    """
    if not isinstance(value, str) or not value.strip():
        raise Unusable("no caption")
    return value.strip()


def page(parts: Sequence[Segment], separator: str) -> Iterator[Segment]:
    """A page's parts, texts with nothing between them (or a picture that was lost) joined by `separator`."""
    texts: list[str] = []
    for part in parts:
        if isinstance(part, Text):
            texts.append(part.text)
            continue
        if texts:
            yield Text(separator.join(texts))
        texts = []
        yield part
    if texts:
        yield Text(separator.join(texts))


def picture(value: object, images: Path | None) -> Image:
    """A picture as tables hold it: bytes, {"bytes", "path"}, a data: URI, or a name in the folder `images`.

    Raises:
        Unusable: "image without bytes" (a URL, a null, a path where no folder is known), or as `read_picture`.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str) and value.startswith("data:"):
        return from_data_uri(value)
    if isinstance(value, str) and images is not None and "://" not in value:
        return picture_inside(images, value)
    if not isinstance(value, bytes) or not value:
        raise Unusable("image without bytes")
    return _sized(value)


def picture_inside(folder: Path, name: str) -> Image:
    """The picture file `name` of `folder`.

    Raises:
        Unusable: "image outside its folder" (an absolute name, one with "..", or one that a link leads out), or as
            `read_picture`.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise Unusable("image outside its folder")
    try:
        path = (folder / name).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle
        raise Unusable("missing image") from None
    if not path.is_relative_to(folder.resolve()):
        raise Unusable("image outside its folder")
    return read_picture(path)


def read_picture(path: Path) -> Image:
    """The bytes of a picture file.

    Raises:
        Unusable: "missing image" (no regular file, or none that may be read), "image too large".
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe would wait for ever, a device never end
            raise Unusable("missing image")
        if about.st_size > MAX_IMAGE_BYTES:
            raise Unusable("image too large")
        return Image(path.read_bytes())
    except (OSError, ValueError):  # ValueError: a name with a NUL in it
        raise Unusable("missing image") from None


def from_data_uri(uri: str) -> Image:
    """The picture inside a `data:image/png;base64,…` (RFC 2397; the type is not believed, the bytes tell).

    Raises:
        Unusable: "broken data: URI", "image too large".
    """
    head, comma, body = uri.partition(",")
    if not comma:
        raise Unusable("broken data: URI")
    if head.endswith(";base64"):
        return from_base64(body, "broken data: URI")
    return _sized(unquote_to_bytes(body))


def from_base64(text: str, reason: str = "broken base64") -> Image:
    """The picture whose bytes are spelled in `text`.

    Raises:
        Unusable: `reason`, or "image too large".
    """
    try:
        return _sized(base64.b64decode(re.sub(r"\s", "", text), validate=True))
    except (binascii.Error, ValueError):
        raise Unusable(reason) from None


def _sized(data: bytes) -> Image:
    if len(data) > MAX_IMAGE_BYTES:
        raise Unusable("image too large")
    return Image(data)
