"""Sampling against Hugging Face's own cuts, and against the distribution it should follow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from mm1.config import ConfigError, from_json
from mm1.generate.sampling import SamplingConfig, candidates, choose

configs = st.builds(
    SamplingConfig,
    temperature=st.floats(0.1, 3.0),
    top_k=st.none() | st.integers(1, 40),
    top_p=st.floats(0.05, 1.0),
    min_p=st.floats(0.0, 0.9),
)
seeds = st.integers(0, 1000)


def _logits(rows: int, seed: int, vocab: int = 30) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 2


@settings(max_examples=50, deadline=None)
@given(configs, seeds)
def test_the_cuts_keep_what_hugging_face_keeps(config: SamplingConfig, seed: int) -> None:
    logits = _logits(1, seed)
    ids = torch.zeros(1, 1, dtype=torch.long)
    expected = TemperatureLogitsWarper(config.temperature)(ids, logits)
    if config.top_k is not None:
        expected = TopKLogitsWarper(config.top_k)(ids, expected)
    expected = TopPLogitsWarper(config.top_p)(ids, expected)
    expected = MinPLogitsWarper(config.min_p)(ids, expected).softmax(-1)[0]
    probabilities, order, kept = candidates(logits, [config])
    ours = torch.zeros_like(expected)
    ours[order[0, : kept[0]]] = probabilities[0, : kept[0]] / probabilities[0, : kept[0]].sum()
    torch.testing.assert_close(ours, expected)


@settings(max_examples=50, deadline=None)
@given(configs, seeds)
def test_draws_follow_the_distribution(config: SamplingConfig, seed: int) -> None:
    count = 2000
    logits = _logits(1, seed)
    probabilities, order, kept = candidates(logits, [config])
    expected = torch.zeros(logits.shape[-1])
    expected[order[0, : kept[0]]] = probabilities[0, : kept[0]] / probabilities[0, : kept[0]].sum()
    grid = ((np.arange(count) + 0.5) / count).tolist()
    drawn = choose(logits.expand(count, -1), [config] * count, grid)
    shares = torch.bincount(drawn, minlength=logits.shape[-1]) / count
    assert (shares - expected).abs().max() <= 1.5 / count


@settings(max_examples=50, deadline=None)
@given(st.lists(st.just(SamplingConfig()) | configs, min_size=1, max_size=6), seeds)
def test_a_row_does_not_depend_on_the_others(mixed: list[SamplingConfig], seed: int) -> None:
    logits = _logits(len(mixed), seed)
    uniforms = np.random.default_rng(seed).random(len(mixed)).tolist()
    together = choose(logits, mixed, uniforms).tolist()
    alone = [int(choose(logits[i : i + 1], mixed[i : i + 1], uniforms[i : i + 1])) for i in range(len(mixed))]
    assert together == alone


@settings(max_examples=50, deadline=None)
@given(configs, st.floats(0, 1, exclude_max=True))
def test_an_impossible_token_is_never_drawn(config: SamplingConfig, uniform: float) -> None:
    logits = torch.full((1, 8), float("-inf"))
    logits[0, [2, 5]] = torch.tensor([0.3, -4.0])
    assert int(choose(logits, [config], [uniform])) in (2, 5)


def test_the_largest_uniform_draws_a_kept_token() -> None:
    config = SamplingConfig(temperature=1.0, top_k=3)
    for seed in range(50):
        logits = _logits(1, seed)
        assert int(choose(logits, [config], [float(np.nextafter(1, 0))])) in logits[0].topk(3).indices.tolist()


def test_each_token_owns_a_half_open_interval() -> None:
    even = torch.tensor([[0.0, float("-inf"), 0.0]]).expand(4, -1)
    drawn = choose(even, [SamplingConfig(temperature=1.0)] * 4, [0.0, 0.499, 0.5, 0.999])
    assert drawn.tolist() == [0, 0, 2, 2]


def test_zero_temperature_is_greedy() -> None:
    logits = _logits(5, 0)
    assert choose(logits, [SamplingConfig()] * 5, [0.9] * 5).tolist() == logits.argmax(-1).tolist()


@pytest.mark.parametrize("bad", [{"temperature": -1}, {"top_k": 0}, {"top_p": 0}, {"min_p": 2}, {"heat": 1}])
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        from_json(SamplingConfig, bad)


@pytest.mark.parametrize("temperature", [1e-4, 1e-40, 1e-300])
def test_the_lowest_temperatures_are_greedy(temperature: float) -> None:
    logits = torch.tensor([[-3.0, 80.0, 79.0, float("-inf")]])
    assert choose(logits, [SamplingConfig(temperature=temperature)], [0.999]).tolist() == [1]
