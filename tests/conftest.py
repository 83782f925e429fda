"""In tests, every public tensor signature of the models is checked against what it is called with."""

from importlib.util import find_spec

import pytest
from jaxtyping import install_import_hook

CHECKED = find_spec("beartype") is not None

if CHECKED:
    # Here and not in a hook of pytest's: the conftests of the rooms import models, and are read next.
    install_import_hook("mm1.models", "beartype.beartype")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where pytest-timeout is missing as well, its setting in pyproject.toml is no mistake."""
    if find_spec("pytest_timeout") is None:
        parser.addini("timeout", "seconds a test may take; without pytest-timeout nothing heeds it")


def pytest_configure(config: pytest.Config) -> None:
    """Machines with a GPU may lack beartype (`make gpu` installs nothing); nowhere else are the checks done without."""
    if not CHECKED and config.getoption("markexpr") != "gpu":
        raise pytest.UsageError("beartype is not installed, and only `pytest -m gpu` goes without: run `make test`")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes are named by their length: packed ones hold the time of day, and workers must agree on names."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > 16 else None
