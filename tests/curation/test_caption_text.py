"""Texts that tell of an image are told from those that name a file, a role or the page."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.curation.caption_text import CaptionTextRules, clean, text_reason
from mm1.curation.text.language import identify

RULES = CaptionTextRules()
SOME_RULES = st.builds(
    CaptionTextRules,
    min_words=st.integers(1, 4),
    max_words=st.integers(1, 4),
    max_characters=st.integers(1, 40),
    min_letters=st.integers(0, 12),
    min_letter_share=st.floats(0, 1),
    max_repeated_words=st.floats(0, 1),
    languages=st.lists(st.sampled_from(["en", "de"]), max_size=2).map(tuple),
    max_other_language=st.floats(0, 1),
)


def english(text: str) -> tuple[str, float]:
    return "en", 0.9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cat &amp; a dog", "A cat & a dog"),
        ("A <b>big</b> cat<br/>on a mat", "A big cat on a mat"),
        ("  A\n\tcat\0 sits  ", "A cat sits"),
        ("Figure 3.1: A cat", "A cat"),
        ("Fig. 2b – A cat", "A cat"),
        ("Figure 2", "Figure 2"),
        ("Figure skating at night", "Figure skating at night"),
        ("if a < b and c > d", "if a < b and c > d"),
        ("Table 4. Results of 3 runs", "Results of 3 runs"),
    ],
)
def test_left_overs_are_cleaned(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cat and a dog", None),
        ("Eiffel Tower, 1889 (colourised)", None),
        ("The .jpg format compared with the PNG format", None),
        ("Two-tone car parked", None),
        ("Sunset at 20:45. Photo by J. Doe", None),
        ("", "no_text"),
        ("IMG_1234.jpg", "file_name"),
        ("my holiday photo 12.JPEG", "file_name"),
        ("DSC_0042", "file_name"),
        ("Screenshot 2024-01-02 10", "file_name"),
        ("red-shoe_final-2", "file_name"),
        ("3f2a9bc0-4d5e-6f77-88aa", "file_name"),
        ("image", "generic"),
        ("Click here to view larger image", "generic"),
        ("logo", "generic"),
        ("Photo of the day 3 of 9 more", None),
        ("https://a.example/x and more", "address"),
        ("write to joe@a.example about it", "address"),
        ('cat" onclick="go() of it', "markup"),
        ("{{ item.title }} for sale", "markup"),
        ("[caption id=3 align=left] a cat", "markup"),
        ("a%20cat%20on a mat", "markup"),
        ("two words", "too_few_words"),
        ("1920 x 1080 (2) 16:9", "generic"),
        ("f/2.8 1/250 s ISO 400", "too_few_letters"),
        ("a b c", "too_few_letters"),
        ("shoes cheap shoes shoes shoes", "repeated_words"),
        ("word " * 257, "too_many_words"),
        ("a cat on " + "m" * 5_000, "too_long"),
    ],
)
def test_reasons(text: str, expected: str | None) -> None:
    assert text_reason(text, RULES, english) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cat & a dog", None),
        ("Mona Lisa by Leonardo da Vinci", None),
        ("Zwei Hunde spielen am Strand", "language"),
        ("chat noir sur une table", "language"),
        ("Кошка спит на диване", "language"),
    ],
)
def test_short_texts_are_refused_only_for_another_language(text: str, expected: str | None) -> None:
    assert text_reason(text, RULES, identify) == expected
    assert text_reason(text, RULES.replace(languages=()), identify) is None


def test_the_language_is_asked_for_last() -> None:
    def never(text: str) -> tuple[str, float]:
        raise AssertionError(text)

    assert text_reason("logo", RULES, never) == "generic"


def test_limits_belong_to_what_they_allow() -> None:
    def reason(text: str) -> str | None:
        return text_reason(text, RULES, lambda _: ("en", 1.0))

    for words, expected in ((2, "too_few_words"), (3, None), (256, None), (257, "too_many_words")):
        assert reason(" ".join(f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(words))) == expected
    for letters, expected in ((5, "too_few_letters"), (6, None)):
        assert reason(f"a b {'c' * (letters - 2)}") == expected
    for characters, expected in ((5_000, None), (5_001, "too_long")):
        assert reason(f"A boat {'x' * (characters - 7)}") == expected
    for digits, expected in ((80, None), (81, "too_few_letters")):  # among 120 letters
        assert reason(f"a b {'c' * 118} {'1' * digits}") == expected
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(50)]
    for fresh, expected in ((50, None), (49, "repeated_words")):  # of 100
        assert reason(" ".join([*words[:fresh], *(100 - fresh) * words[:1]])) == expected
    for score, expected in ((0.5, "language"), (0.49, None)):
        assert text_reason("A cat asleep", RULES, lambda _, score=score: ("de", score)) == expected


def test_characters_are_words_where_there_are_no_spaces() -> None:
    assert text_reason("桌子上的一只黑猫", RULES.replace(languages=(), min_letters=4), english) is None


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_is_fit_or_has_a_reason(text: str) -> None:
    cleaned = clean(text)
    assert "\n" not in cleaned
    reason = text_reason(cleaned, RULES, english)
    assert reason is None or reason.islower()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "part", ["a", "-a", "<a", "&amp;", "img 1", "a.", "{{", "fig. 1", "\0", "é", "0-", "a/", ".jpg", "@", "a@"]
)
def test_long_texts_come_to_an_end(part: str) -> None:
    text = clean(part * 300_000 + " b")
    assert text_reason(text, RULES.replace(max_characters=10_000_000), english)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [('"A cat."', "A cat."), ("“A cat.”", "A cat."), ('"A" is not "B"', '"A" is not "B"'), ('"', '"'), ('" "', "")],
)
def test_quotation_marks_around_all_of_a_text_are_the_authors_habit(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@settings(max_examples=300, deadline=None)
@given(
    one=SOME_RULES,
    other=SOME_RULES,
    text=st.lists(st.sampled_from(["boat", "lake", "red", "1234"]), min_size=1, max_size=5).map(" ".join),
    said=st.tuples(st.sampled_from(["en", "de", "fr"]), st.floats(0, 1)),
)
def test_what_keeps_either_rules_keeps_both_in_one(
    one: CaptionTextRules, other: CaptionTextRules, text: str, said: tuple[str, float]
) -> None:
    if None in (text_reason(text, rules, lambda _: said) for rules in (one, other)):
        assert text_reason(text, one.or_of(other), lambda _: said) is None


def test_rules_for_any_language_or_for_one_take_any() -> None:
    for one, other in ((("en",), ()), ((), ("en",)), ((), ())):
        assert RULES.replace(languages=one).or_of(RULES.replace(languages=other)).languages == ()
    assert RULES.or_of(RULES.replace(languages=("de", "en"))).languages == ("en", "de")
