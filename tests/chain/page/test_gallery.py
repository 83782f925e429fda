"""Which questions the report shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from mm1.chain.page.gallery import Pictures, choose, verdict


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
