"""A whole report: one HTML file that opens without a network.

    document("tiny: mm1 run report", header, [("scores", "Scores", score_table), …], sheet)

Style and drawings are inline, pictures are `data:` addresses, and there is no script. Knows nothing of what is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from mm1.report.markup import Markup, tag, together

NO_NETWORK = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The browser's own guarantee, even should a text find a way into the markup: nothing is fetched, nothing runs."""


def document(title: str, header: Markup, sections: Sequence[tuple[str, str, Markup]], style: str = "") -> Markup:
    """The file.

    Args:
        title: Of the window.
        header: What stands on top.
        sections: (name for links, title, content) each.
        style: Rules of CSS beside those that all reports share.
    """
    links = tag("nav", *(tag("a", title, href=f"#{name}") for name, title, _ in sections))
    body = [tag("section", tag("h2", title), content, id=name) for name, title, content in sections]
    shared = files("mm1.report").joinpath("style.css").read_text()
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=NO_NETWORK),
        tag("title", title),
        tag("style", Markup(shared + style)),
    )
    main = tag("main", header, links, *body)
    return together([Markup("<!doctype html>\n"), tag("html", head, tag("body", main), lang="en"), Markup("\n")])
