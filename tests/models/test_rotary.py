"""Rotary positions, and their scalings against transformers' own."""

import torch

from mm1.models.rotary import Rotary


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
