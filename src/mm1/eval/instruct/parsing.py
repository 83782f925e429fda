r"""Answers out of free text, as MMMU's and MathVista's scorers find them by rule.

    open_answer_is_right("So the current is 1,200.0 A.", ["1200"])        # True
    mathvista_answer("The answer is (B)", ("3", "4"), "text", None)       # "4"

MathVista's authors let a language model find the answer; here it is what the file's own quick rule finds, or the last
number. That differs from published figures, and the task says so. Knows nothing of questions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mm1.eval.metrics.text import edit_distance

_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)?\.?\d+(?:[eE][+-]?\d+)?")
_QUOTED = re.compile(r'(?i)the answer is "(.*)"')
_LETTER = re.compile(r"^\s*\(?([A-Z])\)?[.:]?\s*$")


def open_answer_is_right(answer: str, references: Sequence[str]) -> bool:
    """MMMU's rule for open questions: a reference stands in what the answer concludes, or is one of its numbers."""
    said = _conclusions(answer)
    texts = [f" {one} " if len(one) == 1 else one for one in (part.strip().lower() for part in said)]
    numbers = {round(number, 2) for part in said for number in _numbers(part)}
    for reference in references:
        value = _number(reference)
        if value is not None and round(value, 2) in numbers:
            return True
        wanted = reference.strip().lower()
        wanted = f" {wanted} " if len(wanted) == 1 else wanted
        if value is None and wanted and any(wanted in text for text in texts):
            return True
    return False


def _conclusions(answer: str) -> list[str]:
    """What follows the last sign of a conclusion in each sentence; the whole answer where there is no sign."""
    found = []
    sentences = re.split(r"\.\s(?=[A-Z])|\n", answer.strip().rstrip("."))
    for number, sentence in enumerate(map(str.lower, sentences)):
        signs = (*_INDICATORS, "=") if number == len(sentences) - 1 else _INDICATORS
        ends = [sentence.rpartition(sign)[2].strip() for sign in signs if sign in sentence]
        if ends := [end for end in ends if end not in (":", ",", ".", "!", "?", ";", "")]:
            found.append(min(ends, key=len))
    return found or [answer]


def _numbers(text: str) -> list[float]:
    return [value for word in _NUMBER.findall(text) if (value := _number(word)) is not None]


def _number(text: str) -> float | None:
    try:
        return float(text.strip().replace(",", ""))
    except ValueError:
        return None


def mathvista_answer(answer: str, choices: Sequence[str], answer_type: str, precision: str | None) -> str:
    """The answer as MathVista compares it with the file's: a choice, a whole number, a rounded one, a list; or ""."""
    quoted = _QUOTED.search(answer)
    found = quoted[1] if quoted else answer.strip()
    if choices:
        return _choice(found, choices)
    if answer_type == "list":
        lists = re.findall(r"\[[^\[\]]*\]", found)
        return lists[-1] if lists else ""
    if answer_type in ("integer", "float"):
        numbers = _numbers(found)
        if not numbers:
            return ""
        value = numbers[-1]
        return str(int(value)) if answer_type == "integer" else str(round(value, int(float(precision or 1))))
    return found


def _choice(found: str, choices: Sequence[str]) -> str:
    letter = _LETTER.match(found) or re.search(r"\(([A-Z])\)", found)
    if letter and ord(letter[1]) - ord("A") < len(choices):
        return choices[ord(letter[1]) - ord("A")]
    if found in choices:
        return found
    # As the official code: the choice that is most like what was said.
    return min(choices, key=lambda choice: edit_distance(found, choice)) if found else ""
