"""MM1's learning-rate law: the peak rate that suits a decoder of a given size.

    learning_rate(9e6)      # 6.75e-4
    learning_rate(30e9)     # 2.21e-5

The paper fits it, linearly in the logarithms, to grid searches at 9M, 85M, 302M and 1.2B parameters. Its final models
were trained at rounded values (6e-5, 4e-5, 2e-5 for 3B, 7B, 30B). Knows nothing of recipes.
"""

from __future__ import annotations

import math

SLOPE = -0.4214
INTERCEPT = -0.5535


def learning_rate(num_parameters: float) -> float:
    """η = exp(-0.4214 ln N - 0.5535) for a decoder of N = `num_parameters`, embeddings not counted (McKinzie et al.
    2024, arXiv 2403.09611, figure 6). Weight decay follows it: λ = 0.1 η.
    """
    assert num_parameters > 0
    return math.exp(SLOPE * math.log(num_parameters) + INTERCEPT)
