"""Small benchmarks in their authors' file formats: made-up words for two kinds of picture, four of each to a split.

    write("vqav2", folder)      # files as published, pictures in their folders

A red picture is "dax", a green one "wug", whatever its shade: only examples can tell.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

WORDS = ("dax", "wug")
EACH = 4


def picture(number: int, word: str, size: int = 12) -> bytes:
    """Red or green, its shade the number, on which no two have the same pattern."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[..., WORDS.index(word)] = 255 - number
    pixels[1:, 1:, 2] = np.random.default_rng(number).integers(0, 256, (size - 1, size - 1))
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def word(number: int) -> str:
    return WORDS[number % 2]


def rows(split: str) -> list[int]:
    """Numbers of a split's pictures; no number is in two."""
    first = {"val": 0, "train": 100, "test": 0, "restval": 200}[split]
    return list(range(first, first + 2 * EACH))


def put(folder: Path, name: str, number: int) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(number, word(number)))


def put_json(folder: Path, name: str, value: Any) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value))


def write(name: str, folder: Path) -> Path:
    """Writes the benchmark `name` into `folder`."""
    WRITERS[name](folder)
    return folder


def coco_captions(folder: Path) -> None:
    images = []
    for split, place in (("test", "val2014"), ("train", "train2014"), ("restval", "val2014")):
        for number in rows(split):
            file = f"COCO_{place}_{number:012d}.jpg"
            put(folder, f"{place}/{file}", number)
            sentences = [{"raw": f"{word(number)}\n", "tokens": [word(number)]}, {"raw": word(number)}]
            images.append({"filepath": place, "filename": file, "cocoid": number, "split": split, "imgid": 0,
                           "sentences": sentences, "sentids": [1, 2]})  # fmt: skip
    put_json(folder, "dataset_coco.json", {"images": images, "dataset": "coco"})


def coco_captions_val(folder: Path) -> None:
    for split in ("val", "train"):
        for number in rows(split):
            put(folder, f"{split}2014/COCO_{split}2014_{number:012d}.jpg", number)
        value = _coco(split, lambda n, s=split: f"COCO_{s}2014_{n:012d}.jpg")
        put_json(folder, f"annotations/captions_{split}2014.json", value)


def _coco(split: str, file: Callable[[int], str], **more: Any) -> dict[str, Any]:
    return {
        "info": {},
        "images": [{"id": n, "file_name": file(n), "height": 12, "width": 12, **more} for n in rows(split)],
        "annotations": [{"id": 10 * n + i, "image_id": n, "caption": word(n)} for n in rows(split) for i in range(2)],
    }


def nocaps(folder: Path) -> None:
    for number in rows("val"):
        put(folder, f"images/{number:016x}.jpg", number)
    value = _coco("val", lambda n: f"{n:016x}.jpg", domain="near-domain", open_images_id="x")
    put_json(folder, "nocaps_val_4500_captions.json", value)


def textcaps(folder: Path) -> None:
    for split in ("val", "train"):
        entries = []
        for number in rows(split):
            put(folder, f"train_images/{number:016x}.jpg", number)
            for i in range(2):
                entries.append({"image_id": f"{number:016x}", "caption_id": 10 * number + i, "set_name": split,
                                "caption_str": word(number), "reference_strs": [word(number)] * 2})  # fmt: skip
        put_json(folder, f"TextCaps_0.1_{split}.json", {"dataset_name": "textcaps", "data": entries})


def _coco_questions(folder: Path, questions: str, annotations: str) -> None:
    for split in ("val", "train"):
        asked, answered = [], []
        for n in rows(split):
            put(folder, f"{split}2014/COCO_{split}2014_{n:012d}.jpg", n)
            asked.append({"question_id": 10 * n, "image_id": n, "question": "What is it?"})
            said = [{"answer": word(n), "raw_answer": f"{word(n)}", "answer_id": i} for i in range(9)]
            answered.append({"question_id": 10 * n, "image_id": n, "answer_type": "other", "question_type": "one",
                             "answers": [*said, {"answer": "thing", "answer_id": 10}]})  # fmt: skip
        subtype = {"data_subtype": f"{split}2014"}
        put_json(folder, questions.format(split), {**subtype, "questions": asked})
        put_json(folder, annotations.format(split), {**subtype, "annotations": answered})


def vqav2(folder: Path) -> None:
    _coco_questions(folder, "v2_OpenEnded_mscoco_{}2014_questions.json", "v2_mscoco_{}2014_annotations.json")


def ok_vqa(folder: Path) -> None:
    _coco_questions(folder, "OpenEnded_mscoco_{}2014_questions.json", "mscoco_{}2014_annotations.json")


def textvqa(folder: Path) -> None:
    for split in ("val", "train"):
        entries = []
        for n in rows(split):
            put(folder, f"train_images/{n:016x}.jpg", n)
            entries.append({"question_id": n, "image_id": f"{n:016x}", "question": "what is it?", "set_name": split,
                            "answers": [word(n)] * 10})  # fmt: skip
        put_json(folder, f"TextVQA_0.5.1_{split}.json", {"dataset_name": "textvqa", "data": entries})


def vizwiz(folder: Path) -> None:
    for split in ("val", "train"):
        entries = []
        for n in rows(split):
            put(folder, f"{split}/VizWiz_{split}_{n:08d}.jpg", n)
            said = [{"answer": word(n), "answer_confidence": "yes"} for _ in range(10)]
            entries.append({"image": f"VizWiz_{split}_{n:08d}.jpg", "question": "What is this?", "answers": said,
                            "answer_type": "other", "answerable": 1})  # fmt: skip
        put_json(folder, f"Annotations/{split}.json", entries)


def gqa(folder: Path) -> None:
    for split, file in (("val", "testdev"), ("train", "train")):
        entries = {}
        for n in rows(split):
            put(folder, f"images/n{n}.jpg", n)
            entries[f"2{n:07d}"] = {"imageId": f"n{n}", "question": "What is it?", "answer": word(n),
                                    "fullAnswer": f"It is a {word(n)}.", "types": {"structural": "query"}}  # fmt: skip
        put_json(folder, f"questions/{file}_balanced_questions.json", entries)


def _jsonl(folder: Path, entry: Callable[[int], dict[str, Any]]) -> None:
    for split in ("test", "train"):
        for n in rows(split):
            put(folder, f"images/{n}.png", n)
        lines = [json.dumps({"image": f"{n}.png", **entry(n)}) for n in rows(split)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def captions(folder: Path) -> None:
    _jsonl(folder, lambda n: {"captions": [word(n), word(n)]})


def vqa(folder: Path) -> None:
    _jsonl(folder, lambda n: {"question": "What is it?", "answers": [word(n)] * 10, "rationale": "It is as it is."})


def multiple_choice(folder: Path) -> None:
    _jsonl(folder, lambda n: {"question": "What is it?", "choices": list(WORDS), "answer": WORDS.index(word(n))})


def classification(folder: Path) -> None:
    _jsonl(folder, lambda n: {"label": word(n)})


def omniglot(folder: Path) -> None:
    """Three alphabets of two characters, told by hue."""
    for number in range(6):
        for drawer in range(5):
            pixels = np.full((12, 12, 3), (40 * number, 255 - 40 * number, 0), np.uint8)
            pixels[1:, 1:, 2] = np.random.default_rng([number, drawer]).integers(0, 256, (11, 11))
            path = (
                folder / f"images_evaluation/Alphabet{number // 2}/character{number % 2:02d}/{number:04d}_{drawer}.png"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(pixels).save(path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "coco_captions": coco_captions, "coco_captions_val": coco_captions_val, "nocaps": nocaps, "textcaps": textcaps,
    "vqav2": vqav2, "ok_vqa": ok_vqa, "textvqa": textvqa, "vizwiz": vizwiz, "gqa": gqa, "captions": captions,
    "vqa": vqa, "vqa_exact": vqa, "vqa_anls": vqa, "vqa_relaxed": vqa, "multiple_choice": multiple_choice,
    "classification": classification, "omniglot": omniglot,
}  # fmt: skip
