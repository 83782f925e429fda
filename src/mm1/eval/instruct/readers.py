"""Benchmarks whose files are JSON or text, with the pictures beside them: ScienceQA, MME, SEED-Bench, POPE.

    problems.json, pid_splits.json, test/{id}/image.png        ScienceQA
    existence/000000006040.txt, existence/000000006040.jpg      MME: two lines, a question, a tab and Yes or No
    SEED-Bench.json, SEED-Bench-image/, SEED-Bench-video-image/  SEED-Bench; of a video one frame, named by the question
    coco_pope_random.json, …_popular.json, …_adversarial.json    POPE, a JSON object a line; COCO's pictures of val2014

Knows nothing of prompts' tokens or of scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm1.config import UserError
from mm1.eval.instruct.questions import LETTER, LETTERS, SHORT, Question
from mm1.eval.official.rows import Folder, Unfit, collect, line, load, part

PICTURES = (".jpg", ".png", ".jpeg")


@dataclass(frozen=True, slots=True)
class Questions:
    """What a benchmark's folder gives."""

    questions: tuple[Question, ...]
    split: str
    files: tuple[Path, ...]
    missing: Mapping[str, int] = field(default_factory=dict)
    """Entries that are no questions, by reason."""


def right_letter(answer: object, count: int) -> str:
    """The letter of the right choice, from its letter or its number from 0.

    Raises:
        Unfit: there is no such choice.
    """
    place = LETTERS.find(answer) if isinstance(answer, str) and len(answer) == 1 else answer
    if not isinstance(place, int) or not 0 <= place < min(count, len(LETTERS)):
        raise Unfit("no answer")
    return LETTERS[place]


def science_qa(folder: Folder) -> Questions:
    """The test questions that have a picture, by subject."""
    paths = folder.file("problems.json"), folder.file("pid_splits.json")
    problems, splits = (load(path, dict) for path in paths)

    def make(number: str) -> Question:
        entry = problems[number]
        hint = line(entry.get("hint"))
        choices = tuple(map(line, entry["choices"]))
        return Question(
            id=str(number),
            text="\n".join(filter(None, [f"Context: {hint}" if hint else "", entry["question"].strip()])),
            choices=choices,
            references=(right_letter(entry["answer"], len(choices)),),
            kind=str(entry.get("subject", "all")),
            pictures=((f"test/{number}/{entry['image']}", f"images/test/{number}/{entry['image']}"),),
            instruction=LETTER,
        )

    with_picture = [n for n in part(paths[1], splits, "test") if (problems.get(n) or {"image": "?"}).get("image")]
    questions, missing = collect(with_picture, make)
    return Questions(questions, "test, with a picture", paths, missing)


def mme(folder: Folder) -> Questions:
    """Both questions of each picture, by task; LLaVA's line stands for "Please answer yes or no."."""
    files = sorted(path for path in folder.path.rglob("*.txt") if _mme_task(folder.path, path))

    def make(item: tuple[Path, int, str]) -> Question:
        path, number, text = item
        asked, tab, label = text.rpartition("\t")
        if not tab or label.strip().lower() not in ("yes", "no"):
            raise Unfit("no answer")
        task = _mme_task(folder.path, path)
        place = f"{task}/{path.stem}"
        names = [f"{task}/{sub}{path.stem}{end}" for sub in ("", "images/") for end in PICTURES]
        return Question(
            id=f"{place}/{number}",
            text=asked.replace("Please answer yes or no.", "").strip(),
            references=(label.strip().lower(),),
            kind=task,
            chance=0.5,
            group=place,
            pictures=(tuple(names),),
            instruction=SHORT,
        )

    lines = [
        (path, number, text)
        for path in files
        for number, text in enumerate(filter(str.strip, path.read_text(errors="replace").split("\n")))
    ]
    if not lines:
        raise UserError(f"{folder.path} has no TASK/*.txt with questions: give MME's folder, a folder a task")
    questions, missing = collect(lines, make)
    return Questions(questions, "the whole", tuple(files), missing)


def _mme_task(root: Path, path: Path) -> str:
    """The task's folder; empty for a text that lies elsewhere."""
    parts = path.relative_to(root).parts
    is_question = len(parts) == 2 or (len(parts) == 3 and parts[1] == "questions_answers_YN")
    return parts[0] if is_question else ""


def seed_bench(folder: Folder) -> Questions:
    """All questions, by type; those of videos show the frame that stands beside."""
    path = folder.file("SEED-Bench.json")
    whole = load(path, dict)
    names = {value: name for name, value in (whole.get("question_type") or {}).items()}

    def make(entry: Mapping[str, Any]) -> Question:
        choices = tuple(line(entry[f"choice_{letter}"]) for letter in "abcd")
        is_image = entry["data_type"] == "image"
        data, number = str(entry["data_id"]), str(entry["question_id"])
        frames = [f"SEED-Bench-video-image/{name}{end}" for name in (number, data) for end in (".png", ".jpg")]
        shown = (f"SEED-Bench-image/{data}", data, *(f"SEED-Bench-image/{data}{end}" for end in PICTURES))
        return Question(
            id=number,
            text=entry["question"].strip(),
            choices=choices,
            references=(right_letter(entry["answer"], len(choices)),),
            kind=str(names.get(entry["question_type_id"], entry["question_type_id"])),
            part="image" if is_image else "video",
            pictures=(shown if is_image else tuple(frames),),
            instruction=LETTER,
        )

    questions, missing = collect(part(path, whole, "questions"), make)
    return Questions(questions, "the whole", (path,), missing)


def pope(folder: Folder) -> Questions:
    """The three sets, as far as they are there."""
    sets = {name: folder.find(f"coco_pope_{name}.json") for name in ("random", "popular", "adversarial")}
    there = {name: path for name, path in sets.items() if path is not None}
    if not there:
        folder.file("coco_pope_random.json", "coco_pope_popular.json", "coco_pope_adversarial.json")

    def make(item: tuple[str, str]) -> Question:
        name, text = item
        entry = json.loads(text)
        label = entry["label"].strip().lower()
        if label not in ("yes", "no"):
            raise Unfit("no answer")
        return Question(
            id=f"{name}/{entry['question_id']}",
            text=entry["text"].strip(),
            references=(label,),
            kind=name,
            chance=0.5,
            pictures=((f"val2014/{entry['image']}", entry["image"]),),
            instruction=SHORT,
        )

    lines = [
        (name, text) for name, path in there.items() for text in path.read_text(errors="replace").split("\n") if text
    ]
    questions, missing = collect(lines, make)
    return Questions(questions, ", ".join(there), tuple(there.values()), missing)
