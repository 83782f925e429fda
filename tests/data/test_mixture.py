"""Shares are what was declared, early and late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.config import ConfigError, from_json
from mm1.data.mixture import BLOCK, Deal, GroupConfig, MixtureConfig, SourceConfig, sum_of_floors


def mixture(**weights: float) -> MixtureConfig:
    groups = tuple(GroupConfig(name=name, weight=w, sources=(SourceConfig(name=name),)) for name, w in weights.items())
    return MixtureConfig(groups=groups)


PAPER = MixtureConfig(
    groups=(
        GroupConfig(name="interleaved", weight=0.45, sources=(SourceConfig(name="pages"),)),
        GroupConfig(
            name="image_text",
            weight=0.45,
            sources=(
                SourceConfig(name="captions", weight=2),
                SourceConfig(name="synthetic"),
                SourceConfig(name="none", weight=0),
            ),
        ),
        GroupConfig(name="text_only", weight=0.1, sources=(SourceConfig(name="text"),)),
    )
)


def test_shares_multiply_through_the_groups() -> None:
    assert PAPER.shares() == pytest.approx({"pages": 0.45, "captions": 0.3, "synthetic": 0.15, "text": 0.1})


@given(
    weights=st.lists(st.floats(0.0001, 1), min_size=1, max_size=7),
    seed=st.integers(0, 99),
    packs=st.integers(0, 5000),
)
def test_counts_follow_the_shares(weights: list[float], seed: int, packs: int) -> None:
    config = mixture(**{f"s{number}": weight for number, weight in enumerate(weights)})
    counts = Deal(config.shares(), seed).counts(packs)
    assert sum(counts.values()) == packs
    whole = Deal(config.shares(), seed).counts(packs - packs % BLOCK)
    for name, share in config.shares().items():
        assert abs(whole[name] - share * (packs - packs % BLOCK)) < 4


def test_realised_shares_are_within_half_a_point_over_a_thousand_packs() -> None:
    counts = Deal(PAPER.shares(), seed=1).counts(1000)
    assert all(abs(counts[name] / 1000 - share) < 0.005 for name, share in PAPER.shares().items())


def test_a_source_with_a_tiny_share_has_its_turn() -> None:
    counts = Deal(mixture(a=0.9997, b=0.0003).shares(), seed=0).counts(100_000)
    assert abs(counts["b"] - 30) <= 2


@given(numbers=st.lists(st.integers(0, 3000), min_size=1, max_size=5))
def test_packs_of_a_source_are_numbered_in_order(numbers: list[int]) -> None:
    reference = {}
    seen: dict[str, int] = {}
    deal = Deal(PAPER.shares(), seed=5)
    for number in range(3001):
        name, count = deal.pack(number)
        assert count == seen.get(name, 0)
        seen[name] = count + 1
        reference[number] = (name, count)
    fresh = Deal(PAPER.shares(), seed=5)
    assert [fresh.pack(number) for number in numbers] == [reference[number] for number in numbers]
    for number in numbers:
        earlier = [reference[other][0] for other in range(number)]
        assert fresh.counts(number) == {name: earlier.count(name) for name in PAPER.shares()}


def test_the_order_hangs_on_the_seed() -> None:
    first, second = (Deal(PAPER.shares(), seed) for seed in (0, 1))
    assert [first.pack(number) for number in range(200)] != [second.pack(number) for number in range(200)]


def test_mistakes() -> None:
    twice = {"groups": [{"name": "g", "sources": [{"name": "a"}, {"name": "a"}]}]}
    with pytest.raises(ConfigError, match="'a' stands in the mixture twice"):
        from_json(MixtureConfig, twice)
    with pytest.raises(ConfigError, match="every weight is 0"):
        from_json(MixtureConfig, {"groups": [{"name": "g", "weight": 0, "sources": [{"name": "a"}]}]})


@given(count=st.integers(0, 60), divisor=st.integers(1, 50), step=st.integers(0, 200), start=st.integers(0, 200))
def test_sums_of_floors(count: int, divisor: int, step: int, start: int) -> None:
    assert sum_of_floors(count, divisor, step, start) == sum((step * i + start) // divisor for i in range(count))


@pytest.mark.parametrize("first", [0, 10**6, 10**12 + 37])
def test_far_on_in_a_run_packs_are_dealt_as_at_its_beginning(first: int) -> None:
    """Each pack once, a source's packs in their order, and in every block each share exact to a pack."""
    deal, shares = Deal(PAPER.shares(), seed=3), PAPER.shares()
    before = deal.counts(first)
    assert sum(before.values()) == first
    for number in range(first, first + 3 * BLOCK):
        name, k = deal.pack(number)
        assert k == before[name]
        before[name] += 1
        assert all(abs(before[name] - share * (number + 1)) < 60 for name, share in shares.items())
    block = first - first % BLOCK
    low, high = deal.counts(block), deal.counts(block + BLOCK)
    assert all(abs(high[name] - low[name] - share * BLOCK) < 1 for name, share in shares.items())
