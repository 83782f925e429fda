"""What is read of a page, feature by feature, and real pages against the element that holds their content."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from re import findall

import pytest
from selectolax.lexbor import LexborHTMLParser

from mm1.curation.html import extract, walk
from mm1.curation.page import Block, Dropped, ImageRef, Paragraph

PAGES = Path(__file__).parents[1] / "pages"
MAIN = {"scikit-image": "[role=main]", "opencv": "div.contents", "scipy": "main"}
PROSE = "The cat sat on the mat, and the dog looked at it for a long while before it went away again. " * 3


def read(body: str) -> list[Block]:
    return list(extract(f"<!doctype html><html><body>{body}</body></html>".encode(), "https://x.org/d/p.html").blocks)


def shown(body: str) -> list[str]:
    """Text as it is, images as their file's name with a star."""
    return [block.text if isinstance(block, Paragraph) else "*" + block.url.split("/")[-1] for block in read(body)]


def kinds(body: str) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in read(body) if isinstance(block, Paragraph)]


def reason(html: bytes, **limits: int) -> str:
    with pytest.raises(Dropped) as caught:
        extract(html, "https://x.org/", **limits)
    return caught.value.reason


def test_kinds_of_paragraphs() -> None:
    body = (
        "<h1>Cats</h1><p>One  \n <b>bold</b> cat.</p><ul><li>first<li><p>second</p></ul><blockquote><p>said</p>"
        "</blockquote><pre>\n  a\n\n    b  \n</pre><table><tr><th>Name<th>Legs<tr><td><p>Tom</p><td>4</table>"
    )
    assert kinds(body) == [
        ("heading", "Cats"),
        ("paragraph", "One bold cat."),
        ("list", "first"),
        ("list", "second"),
        ("quote", "said"),
        ("code", "  a\n\n    b"),
        ("table", "Name | Legs"),
        ("table", "Tom | 4"),
    ]


def test_lines_of_code_in_elements() -> None:
    assert kinds("<pre><div>a</div><div>  b</div>c<br>d<script>no()</script></pre>") == [("code", "a\n  b\nc\nd")]
    assert shown("<pre>a<img src=1.png>b</pre>") == ["ab", "*1.png"]
    assert kinds("<pre>a\r\n\tb\x07</pre>") == [("code", "a\n\tb")]


def test_a_table_for_the_layout_is_no_row() -> None:
    assert shown("<table><tr><td><p>one<p>two<td>three</table>") == ["one", "two", "three"]
    assert shown("<table><tr><td>a<td><img src=1.png><td>b<td>c</table>") == ["a", "*1.png", "b | c"]


def test_line_breaks() -> None:
    assert shown("<p>one<br>two<br>\n<br>three</p>four<hr>five") == ["one two", "three", "four", "five"]


def test_text_is_as_it_came_but_for_spaces_and_control_characters() -> None:
    assert shown("<p>e\u0301\u00a0\u3000 ﬁ\u200bx &#1;&#x7f;\u00ad&amp;lt;\ufeff</p>") == ["e\u0301 ﬁ\u200bx &lt;"]


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>no</script>",
        "<style>no</style>",
        "<template><p>no</p></template>",
        "<noscript>no</noscript>",
        "<!-- no -->",
        "<p hidden>no</p>",
        '<div style="color:red; DISPLAY : none">no</div>',
        '<span style="visibility:hidden">no</span>',
        '<span class="sr-only">no</span>',
        '<span class="is visually-hidden">no</span>',
        "<span aria-hidden=true>no</span>",
        "<button>no</button>",
        "<select><option>no</select>",
        "<textarea>no</textarea>",
        "<label>no</label>",
        "<svg><text>no</text></svg>",
        "<iframe>no</iframe>",
        "<a href=#here>¶</a>",
        "<img src=no.png hidden>",
        "<dialog>no</dialog>",
    ],
)
def test_what_nobody_sees_is_not_read(hidden: str) -> None:
    assert " ".join(shown(f"<p>{PROSE}</p><div>before {hidden} after</div>")[1:]).split() == ["before", "after"]


def test_what_is_not_hidden_is_read() -> None:
    body = "<p hidden=until-found>one</p><details><summary>two</summary>three</details><form>four</form>"
    assert shown(body) == ["one", "two", "three", "four"]
    assert shown('<a href="#n">[1]</a> <a href="/">→</a>') == ["[1] →"]
    assert shown("<math alttext='x^2'><mi>x</mi></math> <ruby>漢<rt>かん</rt></ruby>") == ["x^2 漢"]


def test_images_stand_where_they_stand() -> None:
    assert shown("<p>One.<img src=1.png>Two.</p><img src=2.png><p>Three</p>") == [
        "One.", "*1.png", "Two.", "*2.png", "Three",
    ]  # fmt: skip
    assert shown("<p>a</p><a href=/big.png><img src=1.png></a><p>b</p>") == ["a", "*1.png", "b"]
    assert shown("<p>a<br><img src=1.png><br>b</p>") == ["a", "*1.png", "b"]
    assert shown("<ul><li>a <img src=1.png><li><img src=2.png> b</ul>") == ["a", "*1.png", "*2.png", "b"]


def test_an_image_does_not_cut_a_sentence() -> None:
    assert shown("<p>press <img src=1.png> or <img src=2.png> now. <img src=3.png> And then</p>") == [
        "press or now.", "*1.png", "*2.png", "*3.png", "And then",
    ]  # fmt: skip


def test_the_same_image_twice_stays_twice() -> None:
    assert shown("<p>a</p><img src=1.png><img src=1.png>") == ["a", "*1.png", "*1.png"]


def test_pictures_and_lazy_images() -> None:
    assert shown("<picture><source srcset='l.jpg 900w'><img src=s.jpg></picture><img src=1.png>") == [
        "*l.jpg",
        "*1.png",
    ]
    assert shown("<img src=grey.gif data-src=1.png><noscript><img src=1.png></noscript>a") == ["*1.png", "a"]
    assert shown("<noscript><img src=1.png></noscript><img data-src=1.png>a") == ["*1.png", "a"]
    assert shown("<p>a</p><noscript><p><img src=1.png></p></noscript>") == ["a", "*1.png"]
    assert shown("<p>a</p><noscript><img src=t.gif width=1 height=1></noscript>") == ["a"]


def test_a_placeholder_becomes_what_stands_in_noscript() -> None:
    body = "<img src='data:image/gif;base64,R0lGOD' alt='A cat'><noscript><img src=1.png></noscript>"
    assert read(body) == [ImageRef("https://x.org/d/1.png", alt="A cat")]


def test_a_base_in_the_page() -> None:
    html = b"<head><base target=x><base href=/root/></head><img src=a.png>"
    assert extract(html, "https://x.org/d/p.html").images == (ImageRef("https://x.org/root/a.png"),)


def test_a_local_page() -> None:
    html = b"<p>a</p><img src=../img/a%20b.png width=20><img src=../../../etc/passwd><img src=file:///etc/passwd>"
    assert [image.url for image in extract(html, "local:docs/a/p.html").images] == [
        "local:docs/img/a%20b.png",
        "local:etc/passwd",
    ]


@pytest.mark.parametrize(
    "figure",
    [
        "<figure><a href=/1><img src=1.png></a><figcaption>A <b>cat</b>.</figcaption></figure>",
        "<figure><figcaption><p>A cat.</p></figcaption><div><img src=1.png></div></figure>",
        "<div class=figure><img src=1.png><p class=caption>A cat.</p></div>",
        "<div class='wp-caption-box'><img src=1.png></div>".replace("wp-caption-box", "box")
        + "<p class=wp-caption-text>A cat.</p>",
        "<p class=caption>A cat.</p><img src=1.png>",
        "<table><tr><td><img src=1.png></table><div class=img-caption>A cat.</div>",
    ],
)
def test_a_caption_goes_with_its_image(figure: str) -> None:
    assert read(f"<p>before</p>{figure}<p>after</p>") == [
        Paragraph("before"),
        ImageRef("https://x.org/d/1.png", caption="A cat."),
        Paragraph("after"),
    ]


def test_captions_of_several_images() -> None:
    one = read("<figure><img src=1.png><p>x</p><img src=2.png><figcaption>Both.</figcaption></figure>")
    assert [block.caption for block in one if isinstance(block, ImageRef)] == ["Both.", "Both."]
    nested = read(
        "<figure><figure><img src=1.png><figcaption>A</figcaption></figure>"
        "<figure><img src=2.png><figcaption>B</figcaption></figure><figcaption>All</figcaption></figure>"
    )
    assert [block.caption for block in nested if isinstance(block, ImageRef)] == ["A", "B"]
    assert [block.text for block in nested if isinstance(block, Paragraph)] == ["All"]
    row = read("<div><img src=1.png><p class=caption>A</p><img src=2.png><p class=caption>B</p></div>")
    assert [block.caption for block in row if isinstance(block, ImageRef)] == ["A", "B"]


def test_figures_within_figures_do_not_all_look_through_what_is_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    attach = walk.attach_captions
    monkeypatch.setattr(
        walk, "attach_captions", lambda *all, figure: (looked.append(figure), attach(*all, figure=figure))
    )
    depth = 300
    found = read("<figure>" * depth + "<p>x</p><img src=1.png>" + "<figcaption>A cat.</figcaption></figure>" * depth)
    assert [block.caption for block in found if isinstance(block, ImageRef)] == ["A cat."]
    assert looked.count(True) <= 100


def test_a_caption_without_an_image_is_a_paragraph() -> None:
    assert kinds("<figure><pre>code</pre><figcaption>Listing 1</figcaption></figure>") == [
        ("code", "code"),
        ("paragraph", "Listing 1"),
    ]


def test_title_and_language() -> None:
    page = extract(b"<html lang=en-GB><head><title> A \n cat </title></head><svg><title>no</title></svg><p>x")
    assert (page.title, page.language) == ("A cat", "en")
    assert extract(b"<html xml:lang=DE><p>x").language == "de"
    for none in (b"<html lang=''><p>x", b"<html lang=english><p>x", b"<html><p>x", b"<html lang=1><p>x"):
        assert extract(none).language == ""


@pytest.mark.parametrize(
    "around",
    [
        "<nav>{}</nav>",
        "<footer>{}</footer>",
        "<header>{}</header>",
        "<aside>{}</aside>",
        "<div role=navigation>{}</div>",
        "<div role=contentinfo>{}</div>",
        "<div class='left-menu2'>{}</div>",
        "<div class=mainSidebar>{}</div>",
        "<ul class=bread_crumbs>{}</ul>",
        "<div id=cookie-consent>{}</div>",
        "<table><tr><td class=navbar>{}</table>",
        "<div class='related posts'>{}</div>",
        "<div class=pagination>{}</div>",
    ],
)
def test_what_stands_around_the_content_is_left_out(around: str) -> None:
    noise = around.format("<a href=/a>Home page</a> <a href=/b><img src=logo.png></a> <a href=/c>Contact us</a>")
    content = f"<h1>Cats</h1><p>{PROSE}</p><img src=1.png><p>{PROSE}</p>"
    expected = ["Cats", PROSE.strip(), "*1.png", PROSE.strip()]
    assert shown(noise + content + noise) == expected
    assert shown(f"{noise}<div class=content>{content}{noise}</div>{noise}") == expected
    assert shown(f"{noise}<main>{noise}{content}</main>{noise}") == expected


def test_the_page_says_what_is_main() -> None:
    beside = f"<div><p>{PROSE}</p></div>"
    assert shown(f"{beside}<main><p>short</p></main>{beside}") == ["short"]
    assert shown(f"{beside}<div role=main><p>short</p></div>") == ["short"]
    assert shown(f"<p>Written by me</p><article><p>{PROSE}</p></article><p>Bye</p>") == [PROSE.strip()]


def test_a_name_alone_hides_no_content() -> None:
    assert shown(f"<div class=sidebar><p>{PROSE}</p></div>") == [PROSE.strip()]
    note = f"<div class=sidebar><p>{PROSE}</p></div>"
    assert shown(f"<main><p>{PROSE * 3}</p>{note}</main>")[1:] == [PROSE.strip()]
    search = f"<div id=menus><h2>Search</h2><p>{PROSE}</p></div>"
    assert shown(f"<main><p>{PROSE * 3}</p>{search}</main>")[1:] == ["Search", PROSE.strip()]
    assert shown(f"<main><h2 class=menu>Menus</h2><p id=menu>{PROSE}</p></main>") == ["Menus", PROSE.strip()]
    assert (
        shown(f"<main><table><tr class=header><th>a<th>b<tr class=ad8f0><td>{PROSE}<td>c</table></main>")[0] == "a | b"
    )


def test_a_table_of_contents_is_content_where_there_is_little_else() -> None:
    toc = "<div class=toc>" + "".join(f"<p><a href=/{at}>Chapter {at}</a></p>" for at in range(20)) + "</div>"
    assert len(shown(f"<h1>Cats</h1>{toc}<div><p>Few words more.</p></div>")) == 22
    assert shown(f"<h1>Cats</h1>{toc}<p>{PROSE * 2}</p>") == ["Cats", (PROSE * 2).strip()]


def test_a_title_above_the_content_belongs_to_it() -> None:
    body = (
        f"<div><a href=/>Home</a></div><h1>Cats</h1><p>by Tom</p><div class=content><p>{PROSE}</p><p>{PROSE}</p></div>"
    )
    assert shown(body)[0] == "Cats"
    assert "Home" not in shown(body)


def test_drops() -> None:
    assert reason(b"") == reason(b" \n ") == reason(b"\xef\xbb\xbf") == reason(b"<html><body></body></html>") == "empty"
    assert reason(b"<p><script>x</script>") == "empty"
    assert reason(b"<p>" + b"x" * 100, max_bytes=50) == "too_large"
    assert reason(b"<p>" + b"x" * 50_000_000) == "too_large"
    assert reason(b"<div>" * 30_000 + b"x") == "too_deep"
    assert reason(b"<div></span>" * 30_000 + b"x") == "too_deep"
    assert reason(b"<div " + b" ".join(b"a%d=1" % at for at in range(30_000)) + b">x") == "too_many_attributes"
    assert reason("<meta charset=utf-8><p>大きさはどのくらいですか".encode("cp932") * 9) == "undecodable"


@pytest.mark.parametrize(
    "data",
    [
        json.dumps({"html": "<html><p>x</p></html>"}).encode(),
        b"[" + json.dumps("<p>x</p>").encode() + b"]",
        b"Dear all,\nif a < b then so be it.\n",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
        b"%PDF-1.7\n" + bytes(range(256)) * 20,
        b"PK\x03\x04" + bytes(range(256)),
        b"<?xml version='1.0'?><rss><channel><title>x</title></channel></rss>",
        b"<?xml version='1.0'?><!-- <p> --><svg xmlns='http://www.w3.org/2000/svg'><text>x</text></svg>",
        b"body { color: red }",
        b"x" * 100_000,
        b"<!----" * 10_000,
    ],
)
def test_what_is_no_html(data: bytes) -> None:
    assert reason(data) == "not_html"


@pytest.mark.parametrize(
    "data",
    [
        b"<p>x",
        b"\n<!-- a --><!-- <svg> --><div>x</div>",
        b"<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0 Strict//EN' 'x'><html><p>x</p></html>",
        b"Warning: mysql_connect() in line 3 <html><body><p>x</p></body></html>",
        b"<center><font color=red>x</font></center>",
        b"<TITLE>a</TITLE>x",
    ],
)
def test_what_is_html(data: bytes) -> None:
    assert extract(data).text.endswith("x") or "x" in extract(data).text


def test_many_elements_side_by_side_are_not_deep() -> None:
    page = extract(b"<table>" + b"<tr><td>x<p>y" * 20_000)
    assert len(page.blocks) == 40_000
    assert len(extract(b"<a name=x>z" * 20_000).text) >= 20_000


def test_real_pages_against_the_element_of_their_content() -> None:
    """A bag of words, F1; and every image of it."""
    for path in sorted(PAGES.rglob("*.html")):
        folder = path.relative_to(PAGES).parts[0]
        data = path.read_bytes()
        tree = LexborHTMLParser(data)
        tree.strip_tags(["script", "style"])
        element = tree.css_first(MAIN[folder])
        assert element is not None
        page = extract(data, f"local:{path.relative_to(PAGES)}")
        wanted = Counter(findall(r"\w+", element.text(separator=" ")))
        found = Counter(findall(r"\w+", page.text + " ".join(image.caption for image in page.images)))
        f1 = 2 * (wanted & found).total() / (wanted.total() + found.total())
        assert f1 >= 0.9, (path, f1)
        names = [(node.attributes["src"] or "").rpartition("/")[2] for node in element.css("img")]
        assert [image.url.rpartition("/")[2] for image in page.images] == names, path
        assert all((PAGES / image.url.removeprefix("local:")).is_file() for image in page.images)
