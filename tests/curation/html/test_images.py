"""Which picture an element shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.html.images import LAZY, LAZY_SETS, candidates, read_image
from mm1.curation.page import ImageRef

BASE = "https://x.org/d/p.html"


def url(*sources: dict[str, str | None], **attributes: str) -> str:
    image = read_image({key.replace("_", "-"): value for key, value in attributes.items()}, sources, BASE)
    return image.url.removeprefix("https://x.org/d/") if image is not None else ""


@pytest.mark.parametrize(
    ("srcset", "expected"),
    [
        ("a.jpg", [("a.jpg", 1, "x")]),
        ("a.jpg 1x, b.jpg 2x", [("a.jpg", 1, "x"), ("b.jpg", 2, "x")]),
        ("a.jpg 480w,b.jpg 1.5x", [("a.jpg", 480, "w"), ("b.jpg", 1.5, "x")]),
        (" , a.jpg, b.jpg 10w 20h", [("a.jpg", 1, "x"), ("b.jpg", 10, "w")]),
        (
            "r/w_300,h_200/a.jpg 300w, r/w_600,h_400/a.jpg 600w",
            [("r/w_300,h_200/a.jpg", 300, "w"), ("r/w_600,h_400/a.jpg", 600, "w")],
        ),
        ("data:image/png;base64,AA== 1x, b.jpg 2x", [("data:image/png;base64,AA==", 1, "x"), ("b.jpg", 2, "x")]),
        ("a.jpg (x, y) 3x, b.jpg", [("a.jpg", 3, "x"), ("b.jpg", 1, "x")]),
        ("a.jpg wx", [("a.jpg", 1, "x")]),
        ("", []),
        (" ,, ", []),
    ],
)
def test_srcset(srcset: str, expected: list[tuple[str, float, str]]) -> None:
    assert list(candidates(srcset)) == expected


@given(st.text(alphabet="ab ,()12wx.\n", max_size=40))
def test_any_srcset_comes_to_an_end(srcset: str) -> None:
    assert all(address and address.strip(" ,\n") for address, _, _ in candidates(srcset))


def test_the_largest_candidate_is_shown() -> None:
    assert url(src="s.jpg", srcset="m.jpg 800w, l.jpg 1600w, k.jpg 400w") == "l.jpg"
    assert url(src="s.jpg", srcset="m.jpg, l.jpg 2x") == "l.jpg"
    assert url(src="s.jpg", srcset="") == "s.jpg"


@pytest.mark.parametrize("name", LAZY)
def test_what_a_script_would_load_wins_over_the_placeholder(name: str) -> None:
    assert url(**{"src": "grey.gif", name: "cat.jpg"}) == "cat.jpg"
    assert url(**{"src": "data:image/gif;base64,R0lGOD", name: "cat.jpg"}) == "cat.jpg"


@pytest.mark.parametrize("name", LAZY_SETS)
def test_a_set_that_a_script_would_load(name: str) -> None:
    assert url(**{"src": "grey.gif", "data-src": "m.jpg", name: "m.jpg 800w, l.jpg 1600w"}) == "l.jpg"


def test_a_lazy_attribute_that_is_no_address_leaves_the_picture() -> None:
    assert url(src="cat.jpg", data_src="javascript:load()") == "cat.jpg"
    assert url(src="cat.jpg", data_src="") == "cat.jpg"


def test_the_sources_of_a_picture() -> None:
    large: dict[str, str | None] = {"srcset": "l.webp 1600w, m.webp 800w", "type": "image/webp"}
    avif: dict[str, str | None] = {"srcset": "x.avif 3200w", "type": "image/avif"}
    assert url(avif, large, src="s.jpg") == "l.webp"
    assert url(avif, src="s.jpg") == "s.jpg"
    assert url({"data-srcset": "z.jpg"}, src="grey.gif") == "z.jpg"


@pytest.mark.parametrize(
    ("attributes", "width", "height"),
    [
        ({"width": "640", "height": "480"}, 640, 480),
        ({"width": " 640px ", "height": "479.6"}, 640, 480),
        ({"width": "50%", "height": "auto"}, None, None),
        ({"style": "max-width: 9px; width: 120px;height:80.4PX"}, 120, 80),
        ({"width": "640", "style": "width: 32px"}, 32, None),
        ({"style": "border-width: 3px; width: 50%", "width": "7"}, 7, None),
        ({"width": "-1", "height": ""}, None, None),
        ({"width": "9" * 400, "height": "0"}, None, 0),
        ({"width": "٣"}, 3, None),
    ],
)
def test_declared_sizes(attributes: dict[str, str], width: int | None, height: int | None) -> None:
    image = read_image({"src": "a.png", **attributes}, (), BASE)
    assert image is not None
    assert (image.width, image.height) == (width, height)


def test_what_it_shows_in_words() -> None:
    def alt(**attributes: str | None) -> str:
        image = read_image({"src": "a.png", **attributes}, (), BASE)
        assert image is not None
        return image.alt

    assert alt(alt=" A \n cat ", title="no") == "A cat"
    assert alt(alt="", title="A cat") == "A cat"
    assert alt(alt=None) == ""
    assert alt(**{"aria-label": "A cat"}) == "A cat"


def test_no_address_is_no_image() -> None:
    assert read_image({}, (), BASE) is None
    assert read_image({"src": None}, (), BASE) is None
    assert read_image({"src": "a.png"}, (), "") is None
    assert read_image({"src": "a.png"}, (), "local:d/p.html") == ImageRef("local:d/a.png")
