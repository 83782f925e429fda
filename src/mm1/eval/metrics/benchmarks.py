"""Scores of whole sets of answers: POPE's F1, MME's acc and acc+, MMBench's circular rule, the paper's meta-average.

    pope(["Yes, it is.", "no"], ["yes", "yes"]).f1            # 0.67: one of two found, nothing wrongly
    mme([("cat.jpg", right_1), ("cat.jpg", right_2), …])       # both questions about a picture for acc+
    circular([("7", True), ("7", False), ("8", True)])        # 0.5: right in every order, or not at all
    meta_average({"vqav2": 0.8}, {"vqav2": 0.7})              # 1.14: mean of ratios to a named baseline

Sources: Li et al. 2023 (POPE, arXiv 2305.10355) and its evaluate.py, Fu et al. 2023 (MME, arXiv 2306.13394) and its
calculation.py, Liu et al. 2023 (MMBench, arXiv 2307.06281); MM1, appendix C.3, for the meta-average. Where a paper and
its code differ, the code is followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from mm1.config import UserError

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
)  # fmt: skip
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
"""MME's tasks; each gives up to 200 points."""


def pope_answer(output: str) -> str:
    """No if the first sentence has the word No, no or not; yes otherwise, for an empty answer too."""
    words = output.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


@dataclass(frozen=True, slots=True)
class Pope:
    """POPE's set of figures, in [0, 1]; "yes" is what is to be found."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    yes: float
    """Share of questions answered yes: half of them should be."""


def pope(outputs: Sequence[str], labels: Sequence[str]) -> Pope:
    """The figures of one of POPE's three sets; papers print the mean F1 over the sets.

    Precision, recall and F1 are 0 where they are not defined (the official code divides by zero there).
    """
    said = [pope_answer(output) == "yes" for output in outputs]
    true = [_is_yes(label) for label in labels]
    pairs = list(zip(said, true, strict=True))
    found = sum(a and b for a, b in pairs)
    precision = found / sum(said) if any(said) else 0.0
    recall = found / sum(true) if any(true) else 0.0
    f1 = 2 * precision * recall / (precision + recall) if found else 0.0
    return Pope(fmean(a == b for a, b in pairs), precision, recall, f1, fmean(said))


def _is_yes(label: str) -> bool:
    word = label.strip().lower()
    if word not in ("yes", "no"):
        raise UserError(f"a label is '{label}', but the questions are answered yes or no: is it another file?")
    return word == "yes"


def mme_answer(output: str) -> str:
    """What the first four characters hold, yes or no; "other", which is always wrong, elsewhere."""
    beginning = output.strip().lower()[:4]
    return next((word for word in ("yes", "no") if word in beginning), "other")


def mme(answers: Sequence[tuple[str, bool]]) -> float:
    """Points of one of MME's tasks, 0 to 200: per cent of right answers, and of pictures with both right.

    Args:
        answers: the picture that each question is about, and whether it was answered rightly.

    Raises:
        UserError: a picture without exactly two questions, by which acc+ is defined.
    """
    pictures: dict[str, list[bool]] = {}
    for picture, right in answers:
        pictures.setdefault(picture, []).append(right)
    for picture, rights in pictures.items():
        if len(rights) != 2:
            raise UserError(f"MME asks 2 questions of each picture, but {len(rights)} of {picture}: give both")
    return 100 * fmean(right for _, right in answers) + 100 * fmean(all(rights) for rights in pictures.values())


def mme_totals(tasks: Mapping[str, float]) -> dict[str, float]:
    """The sums "perception" (of 2000) and "cognition" (of 800), as far as all of their tasks are there."""
    groups = {"perception": PERCEPTION, "cognition": COGNITION}
    return {
        name: sum(tasks[task] for task in group)
        for name, group in groups.items()
        if all(task in tasks for task in group)
    }


def choice_letter(output: str, choices: Mapping[str, str]) -> str | None:
    """The letter of the choice that an answer names: "B", "B.", "(B)", "B: a cat", or the choice's own text.

    None where it names none or several: nothing is guessed. LLaVA's prompts ask for the letter alone.
    """
    answer = output.strip()
    letters = "".join(choices)
    joined = r"(?:\s*[,/&]\s*|\s+(?:and|or)\s+)"
    if re.match(rf"\(?[{letters}][).:]*{joined}\(?[{letters}](?:\W*$|[).:]|{joined})", answer):
        return None
    start = re.match(rf"\(?([{letters}])(?:[).:,]|\s*$)", answer)
    if start is not None:
        return start[1]
    said = re.findall(rf"(?i:answer is|answer:|option|choice)\s*\(?([{letters}])\b(?!')", answer)
    if len(set(said)) == 1:
        return str(said[0])
    bare = answer.rstrip(".").lower()
    same = [letter for letter, text in choices.items() if text.strip().rstrip(".").lower() == bare]
    return same[0] if len(same) == 1 else None


def rotations(count: int) -> list[list[int]]:
    """The orders in which MMBench puts `count` choices: all that come of moving the first to the end."""
    return [[(place + shift) % count for place in range(count)] for shift in range(count)]


def circular(answers: Iterable[tuple[str, bool]]) -> float:
    """MMBench's accuracy: the share of questions (by id) that were answered rightly in every order of choices."""
    questions: dict[str, bool] = {}
    for question, right in answers:
        questions[question] = questions.get(question, True) and right
    return fmean(questions.values())


def meta_average(scores: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """The paper's mean, over metrics, of score by baseline: 1 is as good as the baseline.

    The paper's own baseline is a small MM1 at 224 pixels with 64 queries of attention pooling, 336 pixels in its
    figure 7b; whose scores are given is for the caller to name.

    Raises:
        UserError: the two do not have the same metrics, or a baseline's score is not above 0.
    """
    if missing := sorted(set(scores) ^ set(baseline)):
        raise UserError(
            f"{', '.join(missing)} stand on one side only: compare a model with a baseline of equal metrics"
        )
    for name, value in baseline.items():
        if value <= 0:
            raise UserError(f"the baseline's {name} is {value}, and a ratio to it means nothing: leave it out")
    return fmean(scores[name] / baseline[name] for name in scores)
