"""Options that are wrong are refused before any work."""

from pathlib import Path

import pytest

from mm1.cli.options import check_out, check_out_folder, prompt_of
from mm1.config import UserError


def test_a_file_needs_a_folder_that_is_there(tmp_path: Path) -> None:
    check_out(tmp_path / "out.json")
    check_out(None)
    with pytest.raises(UserError, match=f"there is no folder {tmp_path}/none: make it first"):
        check_out(tmp_path / "none" / "out.json")
    with pytest.raises(UserError, match=f"--out is {tmp_path}, which is a folder: name a file in it"):
        check_out(tmp_path)


def test_a_folder_can_not_be_made_where_a_file_stands(tmp_path: Path) -> None:
    check_out_folder(tmp_path)
    check_out_folder(tmp_path / "new" / "below")
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "below"):
        with pytest.raises(UserError, match=f"--out is {out}, but {file} is a file: name a folder"):
            check_out_folder(out)


def test_a_prompt_is_text_and_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    assert prompt_of(None, "--judge-prompt") is None
    path.write_text(" Mark it.\n")
    assert prompt_of(path, "--judge-prompt") == "Mark it."
    for content, complaint in ((b" \n", "which is empty"), (b"\xff\xfe", "which is no text in UTF-8")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"--judge-prompt is {path}, {complaint}"):
            prompt_of(path, "--judge-prompt")
