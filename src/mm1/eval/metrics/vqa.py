"""VQA accuracy as the official scorer computes it, quirks included, because published numbers include them.

    vqa_accuracy("2 dogs", ["two dogs", "2 dogs", "dogs", …])    # in [0, 1], over ten human answers

What differs from "min(agreeing / 3, 1) of normalised answers", each worth points on real data:

- answers are normalised only where the people disagree (not all answers equal to the letter);
- the score is the mean over leaving out each human answer in turn;
- a comma between two digits makes ALL punctuation vanish, where it would otherwise become a space;
- at most 32 full stops are removed (a flag was passed where the count belongs);
- number words, and "none", become digits; articles go; apostrophes missing from contractions come back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_MAX_FULL_STOPS = 32
_ARTICLES = {"a", "an", "the"}
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _without_one_apostrophe(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i, letter in enumerate(word) if letter == "'"]


# The official table mends exactly one missing apostrophe; its one entry the wrong way round is kept.
_MENDED = {broken: word for word in _CONTRACTIONS.split() for broken in _without_one_apostrophe(word)}
_MENDED["somebody'd"] = "somebodyd"


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """The official accuracy of `answer` against the human answers, in [0, 1]."""
    answer, references = _clean(answer), [_clean(reference) for reference in references]
    if len(set(references)) > 1:
        answer, references = normalise(answer), [normalise(reference) for reference in references]
    agreeing = sum(reference == answer for reference in references)
    left_out = [min(1.0, (agreeing - (reference == answer)) / 3) for reference in references]
    return sum(left_out) / len(left_out)


def normalise(answer: str) -> str:
    """An answer without punctuation, articles, capitals and number words, as the official scorer compares it."""
    words = [_DIGITS.get(word, word) for word in strip_punctuation(answer).lower().split()]
    return " ".join(_MENDED.get(word, word) for word in words if word not in _ARTICLES)


def strip_punctuation(answer: str) -> str:
    """The first half of `normalise`: punctuation removed, or replaced by a space where it stands inside a word."""
    stripped = answer
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in answer or f" {mark}" in answer
        stripped = stripped.replace(mark, "" if beside_space or _DIGIT_COMMA.search(answer) else " ")
    return _FULL_STOP.sub("", stripped, count=_MAX_FULL_STOPS)


def _clean(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()
