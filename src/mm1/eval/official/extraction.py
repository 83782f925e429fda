"""The answer in a raw output, after it was cut at the first stop string.

    short_answer(" cake Question: what")              # "cake"
    reasoned_answer("Two and two. The answer is 4.")   # "4"
    Stems.of(annotations)("riding waves")              # "ride wave", as OK-VQA writes its answers

Knows nothing of models or metrics.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_NEXT_TURN = re.compile("Question|Answer|Short")
_CONCLUSION = re.compile(r"(?i)\banswer\s*(?:is|:)\s*:?\s*")


def short_answer(output: str) -> str:
    """Up to the words Question, Answer or Short, then to the first comma with a space: OpenFlamingo's rule."""
    return _NEXT_TURN.split(output, maxsplit=1)[0].split(", ", 1)[0].strip()


def reasoned_answer(output: str) -> str:
    """What follows the last "answer is" or "answer:", without its full stop; nothing where there is none."""
    found = _CONCLUSION.split(output)
    if len(found) == 1:
        return ""
    return found[-1].strip().split("\n")[0].rstrip(". ").strip("\"'")


@dataclass(frozen=True)
class Stems:
    """OK-VQA's answers are stemmed ("riding" is "ride"), so an answer has to be as well.

    The official rule needs a tagger and a dictionary. The annotation files hold every answer both as it was given and
    stemmed, so the words that people used are looked up there, and only the others are stemmed here, by ending.
    """

    words: dict[str, str]
    __name__ = "Stems"

    @staticmethod
    def of(annotations: Iterable[Any]) -> Stems:
        """From the answers' `raw_answer` and `answer`, word by word where both have as many; the commonest stem."""
        seen: dict[str, Counter[str]] = {}
        for annotation in annotations:
            answers = annotation.get("answers") if isinstance(annotation, dict) else None
            for answer in filter(lambda value: isinstance(value, dict), answers if isinstance(answers, list) else ()):
                raw, stemmed = str(answer.get("raw_answer", "")).split(), str(answer.get("answer", "")).split()
                if len(raw) == len(stemmed):
                    for word, stem in zip(raw, stemmed, strict=True):
                        seen.setdefault(word.lower(), Counter())[stem] += 1
        return Stems({word: stems.most_common(1)[0][0] for word, stems in seen.items()})

    def __call__(self, output: str) -> str:
        """The short answer in `output`, stemmed."""
        answer = _NEXT_TURN.split(output, maxsplit=1)[0].split(", ", 1)[0]
        return " ".join(self.words.get(word) or _stem(word) for word in answer.lower().split())


def _stem(word: str) -> str:
    """Without the ending of a plural or of -ing; vowels and doubled letters as in running, riding, boxes, ponies."""
    if re.search(r"[aeiouy].*ing$", word) and len(word) > 5:
        root = word[:-3]
        if root[-1] == root[-2] and root[-1] not in "lsz":
            return root[:-1]
        return root + "e" if re.search(r"[^aeiouy][aeiouy][^aeiouywx]$", root) else root
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(s|x|z|ch|sh)es$", word):
        return word[:-2]
    return word[:-1] if re.search(r"[^su]s$", word) and not word.endswith("is") and len(word) > 3 else word
