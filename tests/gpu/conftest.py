"""Tests here run on CUDA with `make gpu`, and but for one also on the CPU in the ordinary suite, to rehearse them.

Nothing but torch, pytest and the package's own requirements is needed: no beartype, no network.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

ON_CUDA = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
    # CUDA's libraries warn of what their versions lack; pytest lists it, and the test goes on.
    pytest.mark.filterwarnings("default"),
)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=ON_CUDA)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=[pytest.param("cuda", marks=ON_CUDA)])
def cuda(request: pytest.FixtureRequest) -> torch.device:
    """For what has no counterpart on the CPU."""
    return torch.device(request.param)


@pytest.fixture
def whole_float32() -> Iterator[None]:
    """Convolutions on CUDA round their inputs to 10 bits of mantissa (TF32) unless told not to."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """tests/train/tiny.py: a stage of seconds over documents in memory."""
    spec = importlib.util.spec_from_file_location("tiny_stage", Path(__file__).parents[1] / "train" / "tiny.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_stage"] = module
    spec.loader.exec_module(module)
    return module
