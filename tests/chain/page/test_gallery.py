"""Which questions the report shows."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from mm1.chain.page.gallery import Pictures, choose, gallery, verdict
from mm1.chain.page.results import read_run


def test_chosen_samples_are_balanced_and_do_not_depend_on_the_file_order() -> None:
    samples = [
        {
            "id": f"q{n}",
            "shots": 4,
            "score": float(n % 10 > 0),
            "verdict": "right" if n % 10 else "wrong",
            "kind": n % 3,
        }
        for n in range(60)
    ]
    chosen = choose(samples, 4)
    assert [sample["verdict"] for sample in chosen] == ["right", "right", "wrong", "wrong"]
    assert len({sample["kind"] for sample in chosen}) == 3
    assert choose(samples[::-1], 4) == chosen
    assert choose([{**sample, "shots": 8} for sample in samples], 4)[0]["id"] != chosen[0]["id"]


@pytest.mark.parametrize(
    ("score", "metric", "expected"),
    [(1.0, "exact match", "right"), (0.0, "exact match", "wrong"), (0.3, "anls", "partly"), (3.1, "cider", "partly")],
)
def test_verdicts(score: float, metric: str, expected: str) -> None:
    assert verdict(score, metric) == expected


def test_a_sample_whose_pictures_were_not_kept_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    pictures = Pictures(tmp_path)
    assert pictures.has_all({"images": ["a.png"], "image_sha256": ["a"]})
    assert pictures.has_all({"images": [], "image_sha256": []}), "a question of text alone"
    assert not pictures.has_all({"images": [], "image_sha256": ["a"]}), "past the samples kept with pictures"
    assert not pictures.has_all({"images": ["gone.png"], "image_sha256": ["a"]})


SAMPLE = {"id": "q", "shots": 0, "score": 1.0, "prompt": "‹image 0› what?", "output": "red", "images": ["images/a.png"]}


def _run(folder: Path, samples: str, task: str = "naming") -> Path:
    """A run of one task; the samples are written where the task's name leads."""
    (folder / "eval/images").mkdir(parents=True)
    result = {"task": task, "shots": 0, "score": 0.5, "low": 0.4, "high": 0.6, "n": 1}
    (folder / "eval/naming-0shot.json").write_text(json.dumps(result))
    (folder / "eval" / f"{task}-0shot.samples.jsonl").write_text(samples)
    PillowImage.new("RGB", (9, 9), "red").save(folder / "eval/images/a.png")
    PillowImage.new("RGB", (9, 9), "blue").save(folder / "secret.png")
    (folder / "eval/images/link.png").symlink_to(folder / "secret.png")
    return folder


def _torn_png(width: int, height: int) -> bytes:
    """A PNG of any size whose pixels are not there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")


def _gif(frames: int) -> bytes:
    file = io.BytesIO()
    made = [PillowImage.new("RGB", (9, 9), (80 * frame, 0, 0)) for frame in range(frames)]
    made[0].save(file, "GIF", save_all=True, append_images=made[1:])
    return file.getvalue()


def test_lines_that_are_no_samples_are_counted_and_left_out(tmp_path: Path) -> None:
    others = [3, None, [], "x", {}, {**SAMPLE, "score": "1"}, {**SAMPLE, "output": None}, {**SAMPLE, "images": 7}]
    others += [{key: value for key, value in SAMPLE.items() if key != "prompt"}, {**SAMPLE, "kind": []}]
    lines = [json.dumps(line) for line in [*others, SAMPLE]] + ['{"id": "q', "[" * 100_000]
    page = gallery(read_run(_run(tmp_path, "\n".join(lines))))
    assert f"{len(others) + 2} line(s) of its samples cannot be read" in page
    assert page.count("<article") == 1


@pytest.mark.parametrize("file", ["../secret.png", "images/../../secret.png", "images/link.png", "{folder}/secret.png"])
def test_pictures_outside_the_evaluation_are_not_shown(tmp_path: Path, file: str) -> None:
    sample = {**SAMPLE, "images": [file.format(folder=tmp_path)]}
    page = gallery(read_run(_run(tmp_path, json.dumps(sample))))
    assert "<article" not in page
    assert "data:image" not in Pictures(tmp_path / "eval").show(sample["images"][0], large=True)


@pytest.mark.parametrize("file", [3, None, "a\0b", "a" * 5000])
def test_what_names_no_file_is_not_shown(tmp_path: Path, file: object) -> None:
    page = gallery(read_run(_run(tmp_path, json.dumps({**SAMPLE, "images": [file]}))))
    assert "<article" not in page


def test_a_task_does_not_lead_to_samples_outside_the_evaluation(tmp_path: Path) -> None:
    page = gallery(read_run(_run(tmp_path, json.dumps(SAMPLE), task="../naming")))
    assert (tmp_path / "naming-0shot.samples.jsonl").is_file()
    assert "<article" not in page


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG, but torn", _torn_png(9, 9), _torn_png(60_000, 60_000), _torn_png(9_000, 9_000), _gif(3)]
)
def test_hostile_pictures_become_words(tmp_path: Path, data: bytes) -> None:
    run = _run(tmp_path, json.dumps(SAMPLE))
    (run / "eval/images/a.png").write_bytes(data)
    assert "(a picture that cannot be read)" in gallery(read_run(run))
