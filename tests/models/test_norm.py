"""RMSNorm against its formula, and in the precision of its weight."""

import pytest
import torch

from mm1.models.norm import RMSNorm


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weight", [torch.float32, torch.bfloat16])
def test_it_computes_in_the_precision_of_its_weight(given, weight):
    torch.manual_seed(0)
    norm = RMSNorm(64, 1e-6).to(weight)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 64).to(given)
    result = norm(x)
    exact = x.double() * (x.double().square().mean(-1, keepdim=True) + 1e-6).rsqrt() * norm.weight.double()
    assert result.dtype == weight
    tolerance = 1e-6 if weight == torch.float32 else 2e-2
    torch.testing.assert_close(result.double(), exact, atol=tolerance, rtol=tolerance)
