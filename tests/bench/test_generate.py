"""The measurement of generation, made small: both sides say the same, and the ratio is that of the medians."""

import json

import pytest

from mm1.bench import generate_figures
from mm1.bench.contestant import Timing
from mm1.bench.generate import bench_generate
from mm1.bench.generate_figures import Figures, GenerateBenchConfig, Round
from mm1.generate.statistics import Statistics

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def figures() -> Figures:
    config = GenerateBenchConfig(
        model="tiny", repetitions=2, questions=5, shots=2, new_tokens=4, batches=(2,), device="cpu"
    )
    said: list[str] = []
    measured = bench_generate(config, said.append)
    assert said[-1].startswith("repetition 2 of 2: mm1 ")
    return measured


def test_both_say_the_same_of_the_same_prompts(figures: Figures) -> None:
    (peer,) = figures.peers
    assert figures.equal_texts(peer) == 1
    assert {len(rounds) for rounds in figures.rounds.values()} == {2}
    assert len(set(figures.rounds["mm1"][0].texts)) > 1


def test_shots_are_encoded_once_by_mm1_and_every_time_by_the_peer(figures: Figures) -> None:
    (peer,) = figures.peers
    assert [one.images_encoded for one in figures.rounds["mm1"]] == [2 + 5] * 2  # every repetition from nothing
    assert [one.images_encoded for one in figures.rounds[peer]] == [3 * 5] * 2


def test_figures_are_shown_and_are_json(figures: Figures) -> None:
    values = json.loads(json.dumps(generate_figures.to_json(figures)))
    assert values["contestants"]["mm1"]["images_encoded"] == 7
    assert 0 < values["prefix_hit_share"] < 1
    assert generate_figures.table(figures).row_count == 7
    assert "times as fast" in generate_figures.lines(figures)[0]


def test_the_ratio_is_to_the_faster_peer() -> None:
    def rounds(*seconds: float) -> list[Round]:
        timings = [Timing(seconds=value, cpu_seconds=value, data_seconds=value / 4) for value in seconds]
        return [Round(timing=one, texts=(), new_tokens=1, images_encoded=1, statistics=Statistics()) for one in timings]

    figures = Figures(
        config=GenerateBenchConfig(),
        device="cpu",
        environment={},
        parameters=1,
        prompt_positions=1,
        rounds={"mm1": rounds(1, 2, 9), "slow": rounds(40, 40, 40), "fast": rounds(30, 12, 1)},
    )
    assert figures.ratio(figures.seconds) == 6
    assert figures.generating("mm1") == 1.5
