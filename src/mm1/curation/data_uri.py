"""Images that stand in a page itself: data: URIs (RFC 2397).

    read_data_uri("data:image/png;base64,iVBORw0…")     # the bytes
    read_data_uri("data:image/svg+xml,%3Csvg…")         # likewise

What kind of image it says it is counts for nothing: the bytes are looked at later.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from mm1.curation.page import Dropped


def read_data_uri(url: str) -> bytes:
    """The bytes of a data: URI.

    Raises:
        Dropped: bad_data_uri, what has no comma or is no base64 where it says so.
    """
    assert url[:5].lower() == "data:", url[:20]
    head, comma, body = url[5:].partition(",")
    if not comma:
        raise Dropped("bad_data_uri")
    data = unquote_to_bytes(body)
    if not head.lower().replace(" ", "").endswith(";base64"):
        return data
    try:
        # Browsers take it without its padding, and with line ends in it.
        plain = b"".join(data.split()).rstrip(b"=")
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        raise Dropped("bad_data_uri") from None
