"""Small chat benchmarks in their authors' file formats: four questions each, of red and green pictures."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

COLOURS = ("red", "green")


def picture(number: int) -> bytes:
    """Red for even numbers, green for odd ones; no two are equal."""
    pixels = np.zeros((12, 12, 3), np.uint8)
    pixels[..., number % 2] = 255 - number
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def put(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def scienceqa(folder: Path) -> None:
    problems = {}
    for n in range(4):
        problems[str(n)] = {
            "question": "Which colour?",
            "choices": list(COLOURS),
            "answer": n % 2,
            "image": "image.png",
            "hint": "Look\nclosely." if n else "",
            "subject": "natural science",
            "split": "test",
        }
        put(folder / "test" / str(n) / "image.png", picture(n))
    problems["9"] = {**problems["0"], "image": None}
    put(folder / "problems.json", json.dumps(problems))
    put(folder / "pid_splits.json", json.dumps({"test": [*problems], "train": []}))


def mmmu(folder: Path) -> None:
    rows: list[dict[str, Any]] = []
    for n in range(4):
        row = {f"image_{i}": None for i in range(1, 8)}
        row |= {"image_1": {"bytes": picture(n), "path": "1.png"}, "id": f"validation_Art_{n}"}
        if n < 3:
            row |= {"question": "<image 1> Which colour is it?", "options": "['red', 'green']", "answer": "AB"[n % 2]}
        else:
            row |= {"question": "Which colour has <image 1>?", "options": "[]", "answer": "green"}
        rows.append(row)
    (folder / "Art").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "Art" / "validation-00000-of-00001.parquet")


def mathvista(folder: Path) -> None:
    rows = []
    for n in range(4):
        about = (
            {"choices": list(COLOURS), "answer": COLOURS[n % 2], "answer_type": "text", "precision": None}
            if n < 2
            else {"choices": None, "answer": ["4", "1.25"][n - 2], "answer_type": ["integer", "float"][n - 2],
                  "precision": [None, 2.0][n - 2]}
        )  # fmt: skip
        rows.append({"pid": str(n), "query": f"Hint: answer.\nQuestion: which, {n}?", "metadata": {"task": "figure"},
                     "decoded_image": {"bytes": picture(n), "path": "x"}, **about})  # fmt: skip
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "testmini-00000-of-00001-abc.parquet")


def mme(folder: Path) -> None:
    for task, place in (("color", ""), ("existence", "questions_answers_YN/")):
        for n in range(2):
            lines = "".join(
                f"Is it {colour}? Please answer yes or no.\t{'Yes' if colour == COLOURS[n % 2] else 'No'}\n"
                for colour in COLOURS
            )
            put(folder / task / f"{place}{n:04d}.txt", lines)
            put(folder / task / ("images/" if place else "") / f"{n:04d}.png", picture(n))
    put(folder / "readme.txt", "not a question\tyes\n")


def mmbench(folder: Path) -> None:
    names = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image"]
    rows = []
    for n in range(4):
        image = base64.b64encode(picture(n)).decode() if n < 3 else "1"
        rows.append([n, "Which colour?", "nan" if n else "Look.", *COLOURS, *(("blue", "") if n else ("", "")),
                     "AB"[n % 2], "colour" if n else "hue", image])  # fmt: skip
    rows.append([1_000_001, *rows[1][1:]])
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t")
    writer.writerows([names, *rows])
    put(folder / "mmbench_dev_20230712.tsv", file.getvalue())


def seed_bench(folder: Path) -> None:
    questions = []
    for n in range(4):
        is_image = n < 3
        choices = dict(zip(("choice_a", "choice_b", "choice_c", "choice_d"), (*COLOURS, "c", "d"), strict=True))
        questions.append({"answer": "AB"[n % 2], **choices,
                          "data_id": f"1454426_{n}" if is_image else f"v{n}.mp4", "question_id": f"q{n}",
                          "data_type": "image" if is_image else "video", "question": "Which colour?",
                          "question_type_id": 1 if is_image else 10})  # fmt: skip
        where = f"SEED-Bench-image/1454426_{n}" if is_image else f"SEED-Bench-video-image/q{n}.png"
        put(folder / where, picture(n))
    whole = {"question_type": {"Scene Understanding": 1, "Action Recognition": 10}, "questions": questions}
    put(folder / "SEED-Bench.json", json.dumps(whole))


def pope(folder: Path) -> None:
    for name in ("random", "adversarial"):
        lines = ""
        for n in range(4):
            asked = COLOURS[n // 2]
            label = "yes" if asked == COLOURS[n % 2] else "no"
            entry = {"question_id": n, "image": f"COCO_{n}.png", "text": f"Is it {asked}?", "label": label}
            lines += json.dumps(entry) + "\n"
            put(folder / "val2014" / f"COCO_{n}.png", picture(n))
        put(folder / f"coco_pope_{name}.json", lines)


WRITERS: dict[str, Callable[[Path], None]] = {
    writer.__name__: writer for writer in (scienceqa, mmmu, mathvista, mme, mmbench, seed_bench, pope)
}
