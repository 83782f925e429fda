"""Which scores are kept: exact against sorting, whatever the parts."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.config import UserError, from_json
from mm1.curation.clip_score import ClipConfig, digest_of, folder_of, lowest_kept

SCORE = st.floats(-1, 1, width=32) | st.sampled_from([0.0, -0.0, math.nan, 0.25, 0.25 + 2**-25])


@given(st.lists(st.lists(SCORE, max_size=30), max_size=5), st.floats(0.001, 1))
def test_the_top_share_of_the_whole_is_kept(parts: list[list[float]], keep: float) -> None:
    arrays = [np.array(part, np.float32) for part in parts]
    lowest = lowest_kept(lambda: arrays, keep)
    scores = sorted((score for array in arrays for score in array.tolist() if not math.isnan(score)), reverse=True)
    if not scores:
        assert lowest == math.inf
        return
    wanted = math.ceil(keep * len(scores))
    assert lowest == scores[wanted - 1]
    kept = sum(score >= lowest for score in scores)
    assert kept >= wanted
    assert kept == wanted or scores[wanted] == lowest  # only equal scores are kept beyond the share


def test_the_parts_are_read_twice_and_one_at_a_time() -> None:
    calls = []

    def parts():
        calls.append(1)
        yield from (np.full(3, number, np.float32) / 10 for number in range(4))

    assert lowest_kept(parts, 0.5) == np.float32(0.2)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"keep": 0.3}, "need a model"), ({"model": "x"}, "needs one of"), ({"keep": 0, "model": "x"}, "keep"),
        ({"model": "x", "keep": 0.3, "threshold": 0.2}, "needs one of"), ({"model": "x", "threshold": 3}, "threshold"),
    ],
)  # fmt: skip
def test_settings_that_say_too_little_or_too_much_are_refused(values: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        from_json(ClipConfig, values)


def test_a_clip_is_known_by_what_it_is_not_by_where(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "encoder").mkdir(parents=True)
        (tmp_path / name / "encoder" / "config.json").write_text("{}")
        (tmp_path / name / "encoder" / "model.safetensors").write_text("weights")
        (tmp_path / name / "encoder" / "step.json").write_text(name)  # when it was trained
    assert folder_of(tmp_path / "a") == folder_of(tmp_path / "a" / "encoder")
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b" / "encoder")
    (tmp_path / "b" / "encoder" / "model.safetensors").write_text("weightz")
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "b")
    with pytest.raises(UserError, match=r"has no config\.json"):
        digest_of(tmp_path)
