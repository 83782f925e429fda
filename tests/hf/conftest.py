"""transformers without notes and progress bars."""

import pytest
import transformers


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
