"""A small sample of what every rule kept and dropped, the same on any runner and however the work was cut.

    samples = Samples()
    samples.offer("text rules", "too_short", page.id, lambda: Sample(page.url, ("Buy now", …), note="7 words"))
    samples.offer("interleaved", KEPT, page.id, lambda: …)      # the lambda is called only if the sample is taken
    both = samples + samples_of_another_part

Of the things under one step and outcome those with the smallest hashes of their names are kept: which ones depends on
nothing but the names. Knows nothing of how samples are shown.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

from mm1.data.image import BadImage, read_image

KEPT = ""
"""The outcome of what passed; other outcomes are reasons."""
MOST_TEXT, MOST_PICTURES = 2_400, 8
"""Characters and pictures of one sample."""
THUMBNAIL = 192
"""Pixels of its longer side."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a sample; without `thumbnail` (WebP) only its words are shown."""

    url: str
    alt: str = ""
    thumbnail: bytes = b""
    key: int | None = None
    """Under which its bytes are to be had, where it is to be drawn only if the sample is among the last (`drawn`)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is shown of one thing: its texts and pictures in their order."""

    url: str
    parts: tuple[str | Picture, ...]
    note: str = ""
    """What the rule saw: "34 % of lines are repeated"."""


def excerpt(url: str, parts: Iterable[str | Picture], note: str = "") -> Sample:
    """A sample of bounded size: the first MOST_TEXT characters and MOST_PICTURES pictures, and what was left out."""
    taken: list[str | Picture] = []
    text = pictures = 0
    for part in parts:
        if isinstance(part, Picture):
            pictures += 1
            if pictures <= MOST_PICTURES and text < MOST_TEXT:
                taken.append(_shortened(part))
        elif text < MOST_TEXT:
            taken.append(part[: MOST_TEXT - text])
            text += len(part)
            if text > MOST_TEXT:
                taken[-1] = f"{taken[-1]} …"
    return Sample(url[:MOST_TEXT], tuple(taken), note[:MOST_TEXT])


def _shortened(picture: Picture) -> Picture:
    """data: URIs may be megabytes."""
    return replace(picture, url=picture.url[:500], alt=picture.alt[:500])


def thumbnail(data: bytes) -> bytes:
    """A small WebP of a picture; empty where the bytes give none."""
    try:
        image = read_image(data, THUMBNAIL)
    except BadImage:
        return b""
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    made = io.BytesIO()
    image.save(made, "WEBP", quality=70)
    return made.getvalue()


Taken: TypeAlias = dict[bytes, tuple[str, Sample]]
"""By the hash of the name."""


@dataclass(slots=True)
class Samples:
    """Up to `most` samples for each (step, outcome)."""

    most: int = 6
    _taken: dict[tuple[str, str], Taken] = field(default_factory=dict)

    def offer(self, step: str, outcome: str, name: str, make: Callable[[], Sample]) -> None:
        """Takes the thing called `name` if its hash is among the smallest; `outcome` is KEPT or a reason."""
        taken = self._taken.setdefault((step, outcome), {})
        rank = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if rank in taken or (len(taken) == self.most and rank > max(taken)):
            return
        taken[rank] = (name, make())
        if len(taken) > self.most:
            del taken[max(taken)]

    def of(self, step: str, outcome: str) -> list[tuple[str, Sample]]:
        """The (name, sample) under a step and outcome, in the order of their hashes."""
        taken = self._taken.get((step, outcome), {})
        return [taken[rank] for rank in sorted(taken)]

    def outcomes(self, step: str) -> list[str]:
        """What there are samples of in a step: KEPT first."""
        return sorted(outcome for name, outcome in self._taken if name == step)

    def __add__(self, other: Samples) -> Samples:
        assert self.most == other.most, "samples of one size are merged"
        merged = Samples(self.most)
        for key in self._taken.keys() | other._taken.keys():
            both = self._taken.get(key, {}) | other._taken.get(key, {})
            merged._taken[key] = {rank: both[rank] for rank in sorted(both)[: self.most]}
        return merged

    def drawn(self, look_up: Callable[[int], bytes | None]) -> Samples:
        """The same samples, each picture that has a key with a thumbnail of the bytes that `look_up` has under it."""
        made = Samples(self.most)
        for group, taken in self._taken.items():
            made._taken[group] = {rank: (name, _drawn(sample, look_up)) for rank, (name, sample) in taken.items()}
        return made

    def to_json(self) -> dict[str, Any]:
        """Plain values, in an order that depends on nothing but the samples."""
        groups = [
            {"step": step, "outcome": outcome, "samples": [_to_json(*item) for item in self.of(step, outcome)]}
            for step, outcome in sorted(self._taken)
        ]
        return {"most": self.most, "groups": groups}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Samples:
        """What `to_json` gave."""
        samples = Samples(value["most"])
        for group in value["groups"]:
            for item in group["samples"]:
                samples.offer(group["step"], group["outcome"], item["name"], partial(_from_json, item))
        return samples


def _drawn(sample: Sample, look_up: Callable[[int], bytes | None]) -> Sample:
    return replace(sample, parts=tuple(_pictured(part, look_up) for part in sample.parts))


def _pictured(part: str | Picture, look_up: Callable[[int], bytes | None]) -> str | Picture:
    if isinstance(part, str) or part.key is None or (data := look_up(part.key)) is None:
        return part
    return Picture(part.url, part.alt, thumbnail(data))


def _to_json(name: str, sample: Sample) -> dict[str, Any]:
    parts = [
        part if isinstance(part, str) else {**asdict(part), "thumbnail": base64.b64encode(part.thumbnail).decode()}
        for part in sample.parts
    ]
    return {"name": name, "url": sample.url, "parts": parts, "note": sample.note}


def _from_json(value: Mapping[str, Any]) -> Sample:
    parts = tuple(
        part if isinstance(part, str) else Picture(**{**part, "thumbnail": base64.b64decode(part["thumbnail"])})
        for part in value["parts"]
    )
    return Sample(value["url"], parts, value["note"])
