r"""robots.txt as RFC 9309 has it: which paths of a site a crawler may ask for.

    robots = parse_robots(b"User-agent: *\nDisallow: /private\nAllow: /private/*.png$", ["mm1"])
    robots.allows("/private/cat.png")    # True: the longest pattern decides, and Allow where two are equally long

Groups for our name count together; those for `*` only where there is none. Beyond the RFC: names may hold digits;
Crawl-delay is read; and the groups of further names bind us too (FetchConfig's `also_obey`), unless one names us.

Knows nothing of how the file is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

MAX_BYTES = 512_000
"""Read at most; RFC 9309 asks for 500 KiB."""

_KEY = re.compile(r"(user[- ]?agent|allow|disallow|crawl-delay)(?=[:\s])", re.I)
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(slots=True)
class _Group:
    """The rules for one name, in no order: how long a pattern is decides."""

    rules: list[tuple[str, bool]] = field(default_factory=list)
    """Normalised pattern and whether it allows."""
    delay: float = 0.0

    def allows(self, path: str) -> bool:
        fitting = [(len(pattern), allow) for pattern, allow in self.rules if _fits(pattern, path)]
        return max(fitting, default=(0, True))[1]


@dataclass(frozen=True, slots=True)
class Robots:
    """What a site's robots.txt says to us."""

    groups: tuple[_Group, ...] = ()
    """All of them must allow; () allows everything."""

    def allows(self, path: str) -> bool:
        """Whether a path, with its query, may be asked for."""
        normalised = _normalised(path).replace("*", "%2A").replace("$", "%24")
        return all(group.allows(normalised) for group in self.groups)

    @property
    def crawl_delay(self) -> float:
        """Seconds that it wants between two requests."""
        return max((group.delay for group in self.groups), default=0.0)


def parse_robots(text: bytes, names: Sequence[str]) -> Robots:
    """What `text` says to a crawler.

    Args:
        text: the file; no content is an error.
        names: its own name, and then those whose groups bind it as well.
    """
    own, *others = [name.lower() for name in names]
    groups = _parse_groups(text[:MAX_BYTES].decode("utf-8", "replace"), {"*", own, *others})
    if own in groups:
        return Robots((groups[own],))
    return Robots(tuple(groups[name] for name in ["*", *others] if name in groups))


def _parse_groups(text: str, names: Collection[str]) -> dict[str, _Group]:
    """The group of each of `names` that has one; groups that name the same crawler are one.

    Others are not kept: each of 20,000 names could have each of 20,000 rules.
    """
    groups: dict[str, _Group] = {}
    current: dict[str, _Group] = {}
    naming = False
    for line in re.split(r"[\r\n]+", text.removeprefix("\ufeff")):
        line = line.partition("#")[0].strip()
        match = _KEY.match(line)
        if match is None:
            continue
        key, value = match[1].lower(), line[match.end() :].strip().removeprefix(":").strip()
        if key.startswith("user"):
            if not naming:
                current = {}
            naming = True
            if (name := _name(value)) in names:
                current[name] = groups.setdefault(name, _Group())
            continue
        if key == "crawl-delay":  # not of the RFC, so it ends no list of names
            for group in current.values():
                group.delay = max(group.delay, _seconds(value))
            continue
        naming = False
        if value:  # an empty Disallow forbids nothing
            for group in current.values():
                group.rules.append((_pattern(value), key == "allow"))
    return groups


def _name(value: str) -> str:
    if value.startswith("*"):
        return "*"
    match = re.match(r"[A-Za-z0-9_-]+", value)
    return match[0].lower() if match else ""


def _seconds(value: str) -> float:
    return float(value) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", value) else 0.0


def _pattern(value: str) -> str:
    """Normalised; a `$` that does not stand at the end is a letter like any other."""
    body, end = (value[:-1], "$") if value.endswith("$") else (value, "")
    return re.sub(r"\*+", "*", _normalised(body).replace("$", "%24")) + end


def _normalised(text: str) -> str:
    """Percent signs where they are needed and only there, so that two writings of a path compare equal."""
    raw = text.encode("utf-8", "replace")

    def spelt(match: re.Match[bytes]) -> bytes:
        octet = int(match[1], 16) if match[1] else match[0][0]
        return bytes([octet]) if octet in _UNRESERVED else b"%%%02X" % octet

    return re.sub(rb"%([0-9A-Fa-f]{2})|[^!-~]", spelt, raw).decode("ascii")


def _fits(pattern: str, path: str) -> bool:
    """Whether `pattern` fits the beginning of `path`; the leftmost fit of each piece is enough, so none is retried."""
    first, *rest = pattern.removesuffix("$").split("*")
    ends = pattern.endswith("$")
    if not path.startswith(first):
        return False
    if not rest:
        return not ends or path == first
    position = len(first)
    for piece in rest[:-1]:
        position = path.find(piece, position)
        if position < 0:
            return False
        position += len(piece)
    if ends:
        return path.endswith(rest[-1]) and len(path) - len(rest[-1]) >= position
    return path.find(rest[-1], position) >= 0
