"""That a CLIP keeps the same pairs on CUDA as on the CPU: scores agree far below what separates pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mm1.curation.clip_models import open_scorer
from tests.curation.clips import TEXTS, own_clip
from tests.curation.site import picture


def test_scores_agree_with_those_of_the_cpu(device: torch.device, tmp_path: Path) -> None:
    run = own_clip(tmp_path / "run")
    pairs = [(picture(number, 60, 60), text) for number, text in enumerate(TEXTS * 4)]
    here, there = open_scorer(run, device).score(pairs), open_scorer(run, torch.device("cpu")).score(pairs)
    np.testing.assert_allclose(here, there, atol=1e-4)
