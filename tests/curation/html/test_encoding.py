"""Encodings are found as browsers find them."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.html.encoding import decode

TEXT = "Größe — 大きさ"


def page(charset: str, text: str) -> str:
    return f"<html><head><meta charset={charset}></head><body>{text}</body></html>"


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_a_byte_order_mark_wins_over_server_and_page(mark: bytes) -> None:
    codec = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}[mark]
    html = page("windows-1251", TEXT)
    assert decode(mark + html.encode(codec), "koi8-r") == html


@pytest.mark.parametrize("declared", ["utf-8", " UTF8 ", "text/html; charset=utf-8", 'text/html;charset="UTF-8"; a=b'])
def test_the_server_wins_over_the_page(declared: str) -> None:
    html = page("windows-1251", TEXT)
    assert decode(html.encode(), declared) == html


@pytest.mark.parametrize(
    ("declared", "codec", "text"),
    [
        ("windows-1251", "cp1251", "Привет"),
        ("koi8-r", "koi8-r", "Привет"),
        ("shift_jis", "cp932", "日本語①"),
        ("EUC-JP", "euc-jp", "日本語"),
        ("gb2312", "gb18030", "简体中文"),
        ("big5", "big5hkscs", "繁體中文"),
        ("ks_c_5601-1987", "cp949", "한국어"),
        ("iso-8859-1", "cp1252", "“curly” €"),
        ("iso-8859-9", "cp1254", "ığüş"),
    ],
)
def test_the_page_itself_declares(declared: str, codec: str, text: str) -> None:
    html = page(declared, text)
    assert decode(html.encode(codec)) == html
    old = f'<META HTTP-EQUIV="Content-Type" CONTENT="text/html; charset={declared}">{text}'
    assert decode(old.encode(codec)) == old


def test_a_declaration_counts_neither_in_a_comment_nor_after_the_first_kilobyte() -> None:
    commented = f"<!-- <meta charset=koi8-r> --><meta charset=utf-8>{TEXT}"
    assert decode(commented.encode()) == commented
    late = " " * 1024 + "<meta charset=koi8-r>" + TEXT
    assert decode(late.encode()) == late


def test_without_a_word_valid_utf_8_and_otherwise_windows_1252() -> None:
    assert decode(TEXT.encode()) == TEXT
    assert decode("naïve “café” €".encode("cp1252")) == "naïve “café” €"


def test_utf_16_that_does_not_say_so_and_a_page_that_wrongly_does() -> None:
    assert decode("<p>Größe</p>".encode("utf-16-le")) == "<p>Größe</p>"
    assert decode("<p>Größe</p>".encode("utf-16-be")) == "<p>Größe</p>"
    wrong = page("utf-16", TEXT)
    assert decode(wrong.encode()) == wrong


@pytest.mark.parametrize(
    "label", ["base64", "rot13", "idna", "unicode_escape", "zlib", "utf-7", "hex", "nothing", "💥"]
)
def test_a_label_that_is_none_of_the_webs_is_ignored(label: str) -> None:
    html = page(label, TEXT)
    assert decode(html.encode(), label) == html


def test_nulls_are_dropped_and_wrong_bytes_replaced() -> None:
    assert decode(b"<p>a\0b\xffc", "utf-8") == "<p>ab\ufffdc"


@given(st.binary(max_size=200), st.text(max_size=30))
def test_any_bytes_with_any_declaration(data: bytes, declared: str) -> None:
    text = decode(data, declared)
    assert "\0" not in text
    text.encode()
