"""Rotary positions, and their scalings against transformers' own."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from mm1.models.rotary import LinearScaling, Llama3Scaling, Rotary, YarnScaling


def test_rotary_scores_depend_on_distance_alone_and_position_0_is_the_identity():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 16)

    def score(query_position, key_position):
        turned = [
            Rotary.from_positions(torch.tensor([[position]]), 16, 10_000.0).rotate(x)
            for x, position in ((q, query_position), (k, key_position))
        ]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(score(7, 3), score(104, 100), atol=1e-5, rtol=1e-5)
    assert abs(score(7, 3) - score(7, 6)) > 1e-1
    assert torch.equal(Rotary.from_positions(torch.zeros(1, 1, dtype=torch.long), 16, 1e4).rotate(q), q)


factors = st.floats(1, 64)
lengths = st.integers(64, 131072)
SCALINGS = st.one_of(
    st.builds(LinearScaling, factor=factors),
    st.builds(
        Llama3Scaling,
        factor=factors,
        original_len=lengths,
        low_freq_factor=st.floats(0.5, 2),
        high_freq_factor=st.floats(2.5, 8),
    ),
    st.builds(
        YarnScaling,
        factor=factors,
        original_len=lengths,
        beta_fast=st.floats(8, 64),
        beta_slow=st.floats(0.5, 4),
        attention_factor=st.none() | st.floats(0.5, 2),
        truncate=st.booleans(),
    ),
)


@settings(max_examples=60, deadline=None)
@given(scaling=SCALINGS, theta=st.sampled_from([500.0, 1e4, 5e5, 1e6]), head_dim=st.sampled_from([16, 64, 80, 128]))
@example(YarnScaling(factor=4, original_len=4096, beta_fast=2, beta_slow=2, truncate=False), 1e4, 64)
@example(YarnScaling(factor=4, original_len=131072, beta_slow=0.5), 500.0, 64)
def test_scaled_frequencies_and_amplitude_equal_transformers(scaling, theta, head_dim):
    given_there = {key: value for key, value in scaling.model_dump(exclude={"kind"}).items() if value is not None}
    if "original_len" in given_there:
        given_there["original_max_position_embeddings"] = given_there.pop("original_len")
    config = LlamaConfig(head_dim=head_dim, max_position_embeddings=65536)
    config.rope_parameters = {"rope_type": scaling.kind, "rope_theta": theta, **given_there}
    expected, amplitude = ROPE_INIT_FUNCTIONS[scaling.kind](config, torch.device("cpu"))
    frequencies = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    torch.testing.assert_close(scaling.scale(frequencies, theta), expected, rtol=2e-6, atol=0)
    assert scaling.amplitude == pytest.approx(amplitude, rel=1e-12)


def test_the_amplitude_is_in_what_is_rotated():
    x = torch.randn(1, 3, 2, 16)
    plain, louder = (
        Rotary.from_positions(torch.arange(3)[None], 16, 1e4, scaling).rotate(x)
        for scaling in (
            YarnScaling(factor=4, original_len=64, attention_factor=1.0),
            YarnScaling(factor=4, original_len=64, attention_factor=1.5),
        )
    )
    torch.testing.assert_close(louder, 1.5 * plain)


def test_bounds_of_llama3_that_leave_nothing_between_them_are_refused():
    with pytest.raises(ValidationError, match=r"low_freq_factor 4\.0 is not below high_freq_factor 2\.0"):
        Llama3Scaling(factor=8, original_len=64, low_freq_factor=4.0, high_freq_factor=2.0)
