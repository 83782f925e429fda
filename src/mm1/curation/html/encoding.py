"""Bytes of a page to text, as browsers decide it: byte order mark, server, page, UTF-8, windows-1252.

    "café" in Latin-1, with nothing declared: no valid UTF-8, so windows-1252

Labels are those of the WHATWG Encoding Standard and no others: a page can not choose a codec that is no text encoding.
Bytes that are wrong in the encoding become U+FFFD. Knows nothing of what stands in the text.
"""

from __future__ import annotations

import codecs
import re

PRESCAN = 1024
"""Bytes in which a page may declare its encoding (HTML Standard, 13.2.3.2)."""

_CODECS = {
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
    "cp866": "ibm866 866 cp866 csibm866",
    "iso8859-2": "iso-8859-2 iso8859-2 iso88592 iso_8859-2 latin2 l2 csisolatin2",
    "iso8859-3": "iso-8859-3 iso8859-3 iso88593 iso_8859-3 latin3 l3 csisolatin3",
    "iso8859-4": "iso-8859-4 iso8859-4 iso88594 iso_8859-4 latin4 l4 csisolatin4",
    "iso8859-5": "iso-8859-5 iso8859-5 iso88595 iso_8859-5 cyrillic csisolatincyrillic",
    "iso8859-6": "iso-8859-6 iso8859-6 iso88596 iso_8859-6 arabic ecma-114 asmo-708 csisolatinarabic",
    "iso8859-7": "iso-8859-7 iso8859-7 iso88597 iso_8859-7 greek greek8 ecma-118 elot_928 csisolatingreek sun_eu_greek",
    "iso8859-8": "iso-8859-8 iso8859-8 iso88598 iso_8859-8 iso-8859-8-i iso-8859-8-e hebrew visual logical",
    "iso8859-10": "iso-8859-10 iso8859-10 iso885910 latin6 l6 csisolatin6",
    "iso8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859-15": "iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9 csisolatin9",
    "iso8859-16": "iso-8859-16",
    "koi8-r": "koi8-r koi8_r koi8 koi cskoi8r",
    "koi8-u": "koi8-u koi8-ru",
    "mac-roman": "macintosh mac x-mac-roman csmacintosh",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "cp874": "windows-874 dos-874 iso-8859-11 iso8859-11 iso885911 tis-620",
    "cp1250": "windows-1250 cp1250 x-cp1250",
    "cp1251": "windows-1251 cp1251 x-cp1251",
    "cp1252": "windows-1252 cp1252 x-cp1252 iso-8859-1 iso8859-1 iso88591 iso_8859-1 latin1 l1 ascii us-ascii "
    "ansi_x3.4-1968 cp819 ibm819 iso-ir-100 csisolatin1 iso_8859-1:1987 x-user-defined",
    "cp1253": "windows-1253 cp1253 x-cp1253",
    "cp1254": "windows-1254 cp1254 x-cp1254 iso-8859-9 iso8859-9 iso88599 iso_8859-9 latin5 l5 csisolatin5",
    "cp1255": "windows-1255 cp1255 x-cp1255",
    "cp1256": "windows-1256 cp1256 x-cp1256",
    "cp1257": "windows-1257 cp1257 x-cp1257",
    "cp1258": "windows-1258 cp1258 x-cp1258",
    "gb18030": "gb18030 gbk gb2312 gb_2312 gb_2312-80 x-gbk chinese csgb2312 csiso58gb231280 iso-ir-58",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc-jp": "euc-jp x-euc-jp cseucpkdfmtjapanese",
    "iso2022-jp": "iso-2022-jp csiso2022jp",
    "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji ms932 windows-31j csshiftjis",
    "cp949": "euc-kr korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 ks-c-5601 windows-949 cseuckr iso-ir-149",
    "utf-16-le": "utf-16 utf-16le ucs-2 iso-10646-ucs-2 unicode csunicode unicodefeff",
    "utf-16-be": "utf-16be unicodefffe",
}
_LABELS = {label: codec for codec, labels in _CODECS.items() for label in labels.split()}

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_UNMARKED = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
"""How a page begins that is UTF-16 and does not say so; as any other encoding it would be half nulls."""

_META = re.compile(rb"<meta[\s/][^>]*?charset\s*=\s*[\"']?\s*([^\s\"'/>;]+)", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)


def decode(data: bytes, declared: str = "") -> str:
    """The text of a page, without byte order mark and nulls.

    Args:
        data: the page.
        declared: what the server said: a label (`utf-8`) or a whole Content-Type (`text/html; charset=utf-8`).
    """
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return _read(data[len(mark) :], codec)
    codec = _LABELS.get(_label(declared), "") or _unmarked(data) or _declared_inside(data)
    if codec:
        return _read(data, codec)
    try:
        return data.decode().replace("\0", "")
    except UnicodeDecodeError:
        return _read(data, "cp1252")


def _read(data: bytes, codec: str) -> str:
    return data.decode(codec, "replace").replace("\0", "")


def _label(declared: str) -> str:
    _, found, charset = declared.lower().partition("charset=")
    label = charset.partition(";")[0] if found else declared.lower()
    return label.strip(" \t\r\n\f\"'")


def _unmarked(data: bytes) -> str:
    return next((codec for start, codec in _UNMARKED if data.startswith(start)), "")


def _declared_inside(data: bytes) -> str:
    """What a <meta> says. One that can be read as ASCII is not UTF-16, whatever it says (as in the standard)."""
    head = data[:PRESCAN]
    if b"<!--" in head:
        head = _COMMENT.sub(b"", head)
    found = _META.search(head)
    codec = _LABELS.get(found.group(1).decode("ascii", "replace").lower(), "") if found else ""
    return "utf-8" if codec.startswith("utf-16") else codec
