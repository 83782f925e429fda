"""What the README tells people to type is what the program takes."""

import re
import shlex
from pathlib import Path

import pytest

from mm1.cli.main import parser
from mm1.config import override
from mm1.recipes.catalog import load_recipe
from mm1.recipes.studies import load_study

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    command.strip().removeprefix("mm1 ")
    for line in README.splitlines()
    if line.startswith("    mm1 ")
    for command in line.partition("#")[0].split("·")
]


def test_there_are_commands_to_check():
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses_and_its_recipe_and_keys_exist(command, tmp_path, monkeypatch):
    arguments = parser().parse_args(shlex.split(command))
    if arguments.command == "ablate":
        load_study(arguments.study)
    recipe = getattr(arguments, "recipe", None)
    if recipe and not recipe.endswith(".py"):
        override(load_recipe(recipe), arguments.overrides)


def test_the_users_own_file_works(tmp_path):
    block = re.search(r"    # my_run\.py\n((?:    .*\n|\n)+?)\n    mm1 run my_run\.py", README)
    assert block
    path = tmp_path / "my_run.py"
    path.write_text("\n".join(line[4:] for line in block[1].splitlines()) + "\n")
    recipe = load_recipe(str(path))
    assert recipe.pretrain.model.num_image_tokens == recipe.sft.model.num_image_tokens == 9


def test_make_targets_and_files_it_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)", README):
        assert f"\n{target}:" in makefile
    for path in re.findall(r"\]\(([^)#]+)\)|`(src/[^`]+)`", README):
        assert (ROOT / "".join(path)).exists()
