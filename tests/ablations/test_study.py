"""Studies: variants are overrides, seeds are spread, the table says what was measured."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from mm1.ablations.study import Study, collect, markdown, run_study
from mm1.config import UserError
from mm1.recipes.studies import load_study, tiny_mixtures
from mm1.recipes.tiny import tiny


def study(**changes):
    values = {"name": "s", "question": "Which?", "base": tiny(), "variants": {"a": (), "b": ("pretrain.steps=3",)}}
    return Study(**{**values, "seeds": (0, 1), **changes})


def test_a_variant_is_the_base_with_its_overrides_and_seed():
    recipe = study().recipe("b", 1)
    assert (recipe.pretrain.steps, recipe.seed, recipe.name) == (3, 1, "s/b-1")
    assert study().recipe("a", 0).pretrain == tiny().pretrain


@pytest.mark.parametrize("jobs", [0, -1])
def test_a_study_needs_a_job_at_a_time(tmp_path, jobs):
    with pytest.raises(UserError, match=rf"^{jobs} variants.*--jobs 1"):
        run_study(study(), tmp_path / "study", jobs)
    assert not (tmp_path / "study").exists()


def test_mean_and_deviation_are_over_the_seeds(tmp_path):
    scores = {"a": (0.2, 0.4), "b": (0.5, 0.5)}
    for label, values in scores.items():
        for seed, score in enumerate(values):
            folder = tmp_path / f"{label}-{seed}"
            folder.mkdir()
            (folder / "summary.json").write_text(json.dumps({"eval": {"vqa": {"0": {"score": score}}}}))
    results = collect(study(), tmp_path)
    assert results["a"]["vqa"]["0"]["mean"] == pytest.approx(0.3)
    assert results["a"]["vqa"]["0"]["deviation"] == pytest.approx(0.2 / 2**0.5)
    table = markdown(study(), results)
    assert "| vqa | 0 | 0.300 ± 0.141 | 0.500 ± 0.000 |" in table
    assert table.startswith("Which? Mean ± standard deviation over seeds 0, 1.")


def test_one_seed_says_nothing_of_a_deviation(tmp_path):
    for label in ("a", "b"):
        (tmp_path / f"{label}-7").mkdir()
        (tmp_path / f"{label}-7" / "summary.json").write_text('{"eval": {"vqa": {"0": {"score": 0.5}}}}')
    alone = study(seeds=(7,))
    table = markdown(alone, collect(alone, tmp_path))
    assert "| vqa | 0 | 0.500 | 0.500 |" in table
    assert "±" not in table
    assert table.startswith("Which? Seed 7 alone.")


class Threads(ThreadPoolExecutor):
    """In place of processes; what runs when the pool is told to end runs on until it has cancelled what waits."""

    def __init__(self, jobs, mp_context):
        super().__init__(jobs)
        self.told = threading.Event()

    def submit(self, work, *arguments):
        return super().submit(work, *arguments, self.told)

    def shutdown(self, wait=True, *, cancel_futures=False):
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        self.told.set()
        super().shutdown(wait=wait)


@pytest.mark.parametrize(
    ("error", "said"),
    [(UserError("a-0 can not be run"), "^a-0 can not be run$"), (BrokenProcessPool(), "from outside.*fewer --jobs")],
)
def test_what_waits_is_not_begun_once_a_variant_has_failed(tmp_path, monkeypatch, error, said):
    begun = []

    def run(recipe, folder, store, told):
        begun.append(folder.name)
        if len(begun) == 1:
            raise error
        told.wait()
        return 0.0

    monkeypatch.setattr("mm1.ablations.study.ProcessPoolExecutor", Threads)
    monkeypatch.setattr("mm1.ablations.study._run_variant", run)
    with pytest.raises(UserError, match=said):
        run_study(study(seeds=(0, 1, 2, 3)), tmp_path)
    assert begun[0] == "a-0"
    assert len(begun) <= 2, "of eight, the one at work is waited for"
    assert not (tmp_path / "table.md").exists()


def test_leaving_groups_out_leaves_their_sources_out():
    shares = {
        label: set(tiny_mixtures().recipe(label, 0).pretrain.data.mixture.shares())
        for label in tiny_mixtures().variants
    }
    assert shares["captions"] == {"captions", "alt_texts", "pictures"}
    assert not shares["interleaved"] & shares["captions"]
    assert shares["mixture"] > shares["captions"] | shares["interleaved"]


def test_an_unknown_study_is_met_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'tiny-connectors'"):
        load_study("tiny-conectors")
