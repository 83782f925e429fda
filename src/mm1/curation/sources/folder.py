"""A folder of HTML with its pictures beside it, and `local:` addresses, which name files of it.

    local:guide/a%20b.png   →  FOLDER/guide/a b.png        and never anything outside FOLDER

The walk is in one order everywhere and follows no link to a folder; a link to a file is followed while it stays in the
folder. Knows nothing of parts.
"""

from __future__ import annotations

import mimetypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from mm1.curation.html.sniffing import SNIFFED, begins_as_html
from mm1.curation.local import local_name, local_url
from mm1.curation.page import Dropped, Page
from mm1.data.formats.reading import MAX_IMAGE_BYTES

_SUFFIXES = (".html", ".htm", ".xhtml", ".xht", ".shtml")


def walk(root: Path) -> Iterator[str]:
    """The paths within `root` of its regular files, percent-encoded, in order of their bytes; hidden ones are left out.

    Links to folders are not entered: they may lead out or round in a ring.
    """
    pending = [b""]
    while pending:
        folder = pending.pop()
        with os.scandir(os.path.join(os.fsencode(root), folder)) as entries:
            found = sorted(
                (entry for entry in entries if not entry.name.startswith(b".")), key=lambda entry: entry.name
            )
        for entry in found:
            if _is_file(entry):
                yield quote(os.path.join(folder, entry.name))
        pending += reversed(
            [os.path.join(folder, entry.name) for entry in found if entry.is_dir(follow_symlinks=False)]
        )


def _is_file(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads round in a ring
        return False


def is_page(root: Path, name: str) -> bool:
    """Whether a file of the folder is a page: by its suffix, or by its beginning where the suffix tells no type."""
    path = Path(os.fsdecode(unquote_to_bytes(name)))
    if path.suffix.lower() in _SUFFIXES:
        return True
    if mimetypes.guess_type(path.name)[0] is not None:
        return False
    try:
        return begins_as_html(_read(root, name, SNIFFED, whole=False))
    except Dropped:
        return False


def read_folder(root: Path, names: tuple[str, ...], source: str, max_bytes: int) -> Iterator[Page | Dropped]:
    """The pages `names` of the folder: too_large, missing and outside_folder are drops."""
    for name in names:
        try:
            html = _read(root, name, max_bytes)
        except Dropped as drop:
            yield drop
        else:
            yield Page(id=f"{source}/{name}", url=local_url(name), html=html)


def read_local(root: Path, url: str, max_bytes: int = MAX_IMAGE_BYTES) -> bytes:
    """The bytes of the file that a `local:` address names within the folder; a query or fragment is left out.

    Raises:
        Dropped: outside_folder (also through "..", however it is encoded, or through a link), missing (no regular file
            that may be read), too_large.
    """
    return _read(root, local_name(url).partition("#")[0].partition("?")[0], max_bytes)


def _read(root: Path, name: str, max_bytes: int, whole: bool = True) -> bytes:
    """At most `max_bytes` of the file; a longer one is too_large, unless its beginning will do."""
    inner = unquote_to_bytes(name)
    if inner.startswith(b"/") or b".." in inner.split(b"/") or b"\0" in inner:
        raise Dropped("outside_folder")
    base = os.path.realpath(os.fsencode(root))
    path = os.path.realpath(os.path.join(base, inner))
    if os.path.commonpath([base, path]) != base:
        raise Dropped("outside_folder")
    try:
        # Not followed again: a link that appears between the check and now is refused. Not waited for: a pipe.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Dropped("missing")
            data = file.read(max_bytes + whole)
    except OSError:
        raise Dropped("missing") from None
    if whole and len(data) > max_bytes:
        raise Dropped("too_large")
    return data
