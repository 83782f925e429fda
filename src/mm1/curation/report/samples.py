"""Samples as cards: what every step kept, and what it dropped for each reason.

    ▾ text rules
      kept · 871            ┌ a.example/b ─────────┐
                            │ Once upon a time     │
      too short · 209       │ ‹img› a cat          │
                            └──────────────────────┘

Which things are shown follows from hashes of their names, so that they are typical of nothing but chance. Everything in
a card came from the web: texts are escaped, pictures are thumbnails that were drawn anew, and an address is a link only
if it begins with http:// or https://.
"""

from __future__ import annotations

import base64
from collections import Counter

from mm1.curation.funnel import Funnel
from mm1.curation.report.passage import spoken
from mm1.curation.samples import KEPT, Picture, Sample, Samples
from mm1.report.markup import Markup, exact, tag, together

_SHOWN_KEPT, _SHOWN_DROPPED = 6, 3
"""Cards of one outcome."""
_ADDRESS = 300
"""Characters shown of an address."""
_END = 28
"""Of them at its end, which are always seen."""


def gallery(funnel: Funnel, samples: Samples) -> Markup:
    """A block for each step of which there are samples."""
    note = (
        "A few of each, chosen by hashes of their names: the same in every run, neither the best nor the worst. "
        "What was kept is open; each reason opens with a click."
    )
    blocks = [_step(name, funnel, samples) for name in dict.fromkeys(step.name for step in funnel.steps)]
    if not any(blocks):
        return tag("p", "No samples were kept.", class_="missing")
    return together([tag("p", note, class_="note"), *blocks])


def _step(name: str, funnel: Funnel, samples: Samples) -> Markup:
    """Empty if there is no sample of the step."""
    kept, dropped = 0, Counter[str]()
    for step in funnel.steps:
        if step.name == name:
            kept += step.counts.kept
            dropped += step.counts.dropped
    groups = [_group("kept", kept, samples.of(name, KEPT)[:_SHOWN_KEPT], "kept")]
    known = dict.fromkeys([*(reason for reason, _ in dropped.most_common()), *samples.outcomes(name)])
    for reason in known:
        if reason != KEPT:
            found = samples.of(name, reason)[:_SHOWN_DROPPED]
            groups.append(_group(spoken(reason), dropped[reason], found, "dropped"))
    return tag("section", tag("h3", name), *groups, class_="step") if any(groups) else Markup()


def _group(title: str, number: int, samples: list[tuple[str, Sample]], class_: str) -> Markup:
    if not samples:
        return Markup()
    summary = tag("summary", title, " ", tag("small", exact(number) if number else ""))
    cards = tag("div", *(_card(name, sample) for name, sample in samples), class_="cards")
    return tag("details", summary, cards, class_=class_, open="" if class_ == "kept" else None)


def _card(name: str, sample: Sample) -> Markup:
    top = tag("header", address(sample.url or name), class_="where", title=name[:_ADDRESS])
    note = tag("p", sample.note, class_="saw") if sample.note else ""
    body = [shown for part in sample.parts for shown in _shown(part, sample)]
    return tag("article", top, note, tag("div", *body, class_="content") if body else "", class_="card")


def _shown(part: str | Picture, sample: Sample) -> list[Markup]:
    """A text as its paragraphs; a picture with its alt text, unless that is told as a text beside it."""
    if isinstance(part, str):
        return [tag("p", paragraph) for paragraph in part.split("\n\n") if paragraph.strip()]
    told = any(isinstance(text, str) and text.strip() == part.alt.strip() for text in sample.parts)
    return [_picture(part, "" if told else part.alt)]


def _picture(picture: Picture, caption: str) -> Markup:
    words = [tag("figcaption", caption)] if caption else []
    if not picture.thumbnail:
        return tag("figure", tag("span", address(picture.url), class_="unseen"), *words)
    source = f"data:image/webp;base64,{base64.b64encode(picture.thumbnail).decode()}"
    return tag("figure", tag("img", src=source, alt=picture.alt, title=picture.url[:_ADDRESS]), *words)


def address(url: str) -> Markup:
    """The address, shortened in its middle; a link if it is one of the web, else text.

    In two pieces, of which a narrow card cuts the first off: an address says most at its end.
    """
    shown = url if len(url) <= _ADDRESS else f"{url[: _ADDRESS - 60]} … {url[-50:]}"
    is_link = url.lower().startswith(("http://", "https://"))
    shown = shown.split("://", 1)[1] if is_link else shown
    pieces = [tag("span", piece) for piece in (shown[:-_END], shown[-_END:]) if piece]
    return tag("a", *pieces, href=url, rel="noreferrer noopener nofollow") if is_link else tag("span", *pieces)
