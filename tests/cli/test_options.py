"""Options that are wrong are refused before any work."""

from pathlib import Path

import pytest

from mm1.cli.options import check_out
from mm1.config import UserError


def test_a_file_needs_a_folder_that_is_there(tmp_path: Path) -> None:
    check_out(tmp_path / "out.json")
    check_out(None)
    with pytest.raises(UserError, match=f"there is no folder {tmp_path}/none: make it first"):
        check_out(tmp_path / "none" / "out.json")
