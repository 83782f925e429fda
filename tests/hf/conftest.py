"""transformers without notes and progress bars."""

import pytest
import transformers

from tests.hf.exported import Variant, variants


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """Tiny multimodal models by the names of `tests.hf.exported.VARIANTS`."""
    return variants(tmp_path_factory)
