"""`local:` addresses, which name files of the folder that a page came from.

    local_url("guide/a%20b.png")               # "local:guide/a%20b.png"
    local_name("local:guide/a%20b.png")        # "guide/a%20b.png", percent-encoded as the walk over a folder spells it
    is_local("https://a.example/")             # False

They count within one source: the same address in two folders is two files. Only a page of a folder has or names one.
Knows nothing of files.
"""

from __future__ import annotations

_SCHEME = "local:"


def local_url(name: str) -> str:
    """The address of the file of that percent-encoded path within its folder."""
    return _SCHEME + name


def is_local(url: str) -> bool:
    """Whether an address is one of these, as mm1 spells them."""
    return url.startswith(_SCHEME)


def local_name(url: str) -> str:
    """The percent-encoded path that such an address names."""
    assert is_local(url), url
    return url[len(_SCHEME) :]
