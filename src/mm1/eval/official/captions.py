"""Caption benchmarks from their own files: COCO (Karpathy's splits and plain ones), NoCaps, TextCaps.

    dataset_coco.json                 {"images": [{"filepath", "filename", "cocoid", "split", "sentences": [{"raw"}]}]}
    captions_val2014.json             {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
    nocaps_val_4500_captions.json     the same, with a "domain" for each image
    TextCaps_0.1_val.json             {"data": [{"image_id", "caption_str"}]}, one entry a caption

A question is a picture with all its captions; as an example it shows its first one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mm1.config import UserError
from mm1.eval.official.rows import Folder, Material, Row, apart, collect, first, load, part, texts


def coco_karpathy(folder: Folder) -> Material:
    """Karpathy's test split; examples come from train and restval, which together are the usual training set."""
    path = folder.file("dataset_coco.json")
    images = part(path, load(path, dict), "images")
    splits: dict[str, list[Any]] = {}
    for image in images:
        splits.setdefault(str(image.get("split")) if isinstance(image, dict) else "", []).append(image)
    if "test" not in splits or "train" not in splits:
        raise UserError(
            f"{path} has the splits {', '.join(splits)}, but test and train are needed: is it another file?"
        )

    def make(image: Any) -> Row:
        captions = texts(sentence["raw"] for sentence in image["sentences"])
        names = (f"{image['filepath']}/{image['filename']}", image["filename"])
        return Row(id=str(image["cocoid"]), picture=names, answers=captions, shown=first(captions))

    questions, missing = collect(splits["test"], make)
    pool, _ = collect([*splits["train"], *splits.get("restval", [])], make)
    return Material(questions, pool, "Karpathy test; examples of train and restval", (path,), missing)


def coco_plain(folder: Folder) -> Material:
    """The validation set of 2014 or 2017; examples come from the training set of the same year."""
    questions = folder.file("captions_val2014.json", "captions_val2017.json")
    year = questions.stem[-4:]
    pool = folder.file(f"captions_train{year}.json")
    rows, missing = _coco(questions, f"val{year}")
    examples, _ = _coco(pool, f"train{year}")
    apart(rows, examples, (questions, pool))
    return Material(rows, examples, f"val{year}; examples of train{year}", (questions, pool), missing)


def nocaps(folder: Folder) -> Material:
    """The validation set, by domain; it has no training set, so examples are other pictures of the same set."""
    path = folder.file("nocaps_val_4500_captions.json")
    rows, missing = _coco(path, "val")
    return Material(rows, rows, "val; examples of val", (path,), missing)


def _coco(path: Any, subfolder: str) -> tuple[tuple[Row, ...], dict[str, int]]:
    """A file of COCO's form; pictures stand in `subfolder`, in `images`, or beside the file."""
    whole = load(path, dict)
    captions = _grouped(part(path, whole, "annotations"), "image_id", "caption")

    def make(image: Any) -> Row:
        found = texts(captions.get(image["id"], ()))
        names = (f"{subfolder}/{image['file_name']}", image["file_name"])
        kind = str(image.get("domain", "all"))
        return Row(id=str(image["id"]), picture=names, answers=found, shown=first(found), kind=kind)

    rows = collect(part(path, whole, "images"), make)
    if not rows[0]:
        raise UserError(f"{path} has no caption for any of its pictures: is it of another year or split?")
    return rows


def textcaps(folder: Folder) -> Material:
    """The validation set; examples come from the training set."""
    paths = folder.file("TextCaps_0.1_val.json"), folder.file("TextCaps_0.1_train.json")

    def read(path: Any) -> tuple[tuple[Row, ...], dict[str, int]]:
        captions = _grouped(part(path, load(path, dict), "data"), "image_id", "caption_str")

        def make(image: Any) -> Row:
            found = texts(captions[image])
            names = (f"train_images/{image}.jpg", f"{image}.jpg")
            return Row(id=str(image), picture=names, answers=found, shown=first(found))

        return collect(captions, make)

    questions, missing = read(paths[0])
    pool, _ = read(paths[1])
    apart(questions, pool, paths)
    return Material(questions, pool, "val; examples of train", paths, missing)


def _grouped(entries: Iterable[Any], key: str, value: str) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get(key), str | int):
            groups.setdefault(entry[key], []).append(entry.get(value))
    return groups
