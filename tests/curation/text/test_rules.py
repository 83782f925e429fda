"""Each rule drops what it is there for and keeps an article that is nearly so."""

from __future__ import annotations

import random

import pytest

from mm1.curation.text.rules import TextRules, reason
from mm1.curation.text.words import STOP_WORDS

RULES = TextRules()

ARTICLE = """The harbour of the old town

Ships have come to this bay for more than nine hundred years, and most of them brought salt, wool or grain. The first
quay was built of oak, which lasted until a storm broke it in the winter of 1362.

What you see today is younger. Its walls were laid by masons from the south who were paid in fish, as the accounts of
the council tell, and who stayed when the work was done because nobody had the money to send them home.

Visitors are welcome on the eastern side. Please keep to the path: the stones are wet, and the tide is quick."""

_draw = random.Random(5)
_PLENTY = [
    "".join(_draw.choice("bcdfglmnprst") + _draw.choice("aeiou") for _ in range(_draw.randint(2, 4)))
    for _ in range(900)
]


def _sentences(count: int, extra: str = "", length: int = 12) -> str:
    """Sentences of invented words and two stop words, no two alike."""
    words = random.Random(3)
    lines = [" ".join(words.choices(_PLENTY, k=length)) + " and the end" for _ in range(count)]
    return "\n\n".join(f"{line}{extra}." for line in lines)


@pytest.mark.parametrize("language", ["en", "", "xx"])
def test_an_article_is_kept(language: str) -> None:
    assert reason(ARTICLE, RULES, language) is None
    assert reason(_sentences(9), RULES, language) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ARTICLE[:299], "too_short"),
        ("a" * 1_000_001, "too_long"),
        (("wordwordwo " * 49)[:400], "too_few_words"),
        ("word " * 100_001, "too_many_words"),
        (_sentences(9, " 1 2 3 4 5 6 7"), "words_without_letters"),
        ("a be to of in it is by " * 20, "word_length"),
        ("incomprehensibilities " * 50, "word_length"),
        (_sentences(12, " ab1234567890123456789012345678901234567890"), "digits"),
        (_sentences(12, " + = { } [ ]" * 7), "symbols"),
        ("\n".join(f"• {line}" for line in _sentences(20).split("\n\n")), "bullets"),
        ("\n\n".join(line.rstrip(".") + "…" for line in _sentences(20).split("\n\n")), "ellipses"),
        (_sentences(20).replace(".", ""), "unpunctuated"),
        ("\n".join([*_sentences(10).split("\n\n"), *["Read more about this here."] * 7]), "repeated_lines"),
        ("\n".join([*_sentences(10).split("\n\n"), *[_sentences(1, length=30)] * 3]), "repeated_lines"),
        (" ".join(f"{word} buy now" for word in _PLENTY[:60]) + " and the end.", "top_ngrams"),
        (" ".join([*_sentences(9).split("\n\n"), *_sentences(9).split("\n\n")[:3]]), "repeated_ngrams"),
        (_sentences(9, " fucking pussy"), "flagged_words"),
        (ARTICLE + "\n\nLorem ipsum dolor sit amet, consectetur.", "lorem_ipsum"),
        (ARTICLE[:200] + "\n\n" + "We use cookies to make this site better for you and for us. " * 3, "notices"),
        (ARTICLE[:210] + "\n\nPlease enable JavaScript in your browser to see what this page has to tell you.\n\n"
         "Without JavaScript there is nothing to see.", "notices"),
    ],
)  # fmt: skip
def test_what_a_rule_is_there_for(text: str, expected: str) -> None:
    assert reason(text, RULES, "en") == expected


def test_repeated_paragraphs_are_told_from_lines() -> None:
    block = "\n".join(_sentences(2).split("\n\n"))
    text = "\n\n".join([*_sentences(12).split("\n\n"), block, block])
    loose = RULES.replace(max_repeated_lines=1, max_repeated_line_characters=1, max_repeated_ngrams=(1,))
    assert reason(text, loose, "en") is None
    lines = RULES.replace(max_repeated_line_characters=0.12)
    assert reason(text, lines, "en") == "repeated_lines"


def test_long_runs_may_be_repeated_less_than_short_ones() -> None:
    lines = _sentences(8).split("\n\n")
    text = " ".join([*lines, lines[0]])  # a ninth of the text was there before, in one run
    assert reason(text, RULES, "en") == "repeated_ngrams"
    assert reason(text, RULES.replace(max_repeated_ngrams=(0.15, 0.14, 0.13)), "en") is None


def test_stop_words_are_of_the_language_that_is_told() -> None:
    text = _sentences(9).replace(" and the end", "")
    assert reason(text, RULES, "en") == "stop_words"
    assert reason(text, RULES, "") is None
    assert reason(text + "\n\nder die das.", RULES, "de") is None
    assert reason(text + "\n\nthe the the the.", RULES, "en") == "stop_words"


def test_flagged_words_are_of_the_language_that_is_told() -> None:
    text = _sentences(9, " och slut", length=18).replace("and the end", "att är")  # "and end" in Swedish
    assert reason(text, RULES.replace(min_stop_words=0), "en") == "flagged_words"
    assert reason(text, RULES, "sv") is None


def test_names_that_hold_a_flagged_word_are_kept() -> None:
    text = _sentences(9, " of Scunthorpe, Cockburn and Penistone")
    assert reason(text, RULES.replace(max_top_ngrams=(1,), max_repeated_ngrams=(1,)), "en") is None


def test_an_article_about_cookies_and_javascript_is_kept() -> None:
    text = ARTICLE + "\n\nJavaScript was written in ten days. Cookies are kept by the browser; bakers use cookies too."
    assert reason(text, RULES, "en") is None


def test_scripts_without_spaces_have_no_length_of_words() -> None:
    draw = random.Random(1)
    chinese = "".join("".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(20)) + "的是。" for _ in range(20))
    assert reason(chinese, RULES, "zh") is None
    thai = "\n\n".join("".join(chr(draw.randrange(0x0E01, 0x0E2F)) for _ in range(40)) for _ in range(20))
    assert reason(thai, RULES, "th") is None
    assert reason(thai, RULES, "xx") == "unpunctuated"


def test_two_characters_count_as_a_word_where_none_are_spaced() -> None:
    draw = random.Random(1)
    phrases = ["".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(5)) for _ in range(30)]
    text = "。\n".join(
        phrase + "".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(9)) for phrase in phrases * 2
    )
    assert reason(text + "。的是", RULES, "zh") is None  # five characters that come again are two or three words


@pytest.mark.parametrize("text", ["", "\n\n\n" * 200, "\ud800" * 400, "\0" * 400, "​" * 400, "...\n" * 200])
def test_nothing_at_all_has_a_reason(text: str) -> None:
    loose = RULES.replace(min_characters=0, min_words=0)
    assert reason(text, loose) == "too_few_words"


def test_every_list_of_stop_words_can_be_satisfied() -> None:
    for language, words in STOP_WORDS.items():
        text = _sentences(9).replace(" and the end", "") + "\n\n" + " ".join(sorted(words)) + "."
        assert reason(text, RULES.replace(min_word_len=0), language) is None, language
