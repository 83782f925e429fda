"""Recipes: what they resolve to is on record, they shrink, they are found by name or in a file."""

import pytest

from mm1.chain.recipe import STAGES
from mm1.config import ConfigError, UserError, diff, from_json, override, to_json
from mm1.recipes.catalog import RECIPES, load_recipe
from mm1.recipes.smoke import smoke
from mm1.recipes.studies import STUDIES
from tests.recipes.make_golden import GOLDEN, collapsed, golden_files


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_the_golden_one(name):
    """After a wanted change: `python tests/recipes/make_golden.py`, and read the diff."""
    for file, content in golden_files(name, load_recipe(name)).items():
        assert (GOLDEN / file).read_text() == content, file


def test_there_are_no_golden_files_of_what_is_gone():
    expected = {file for name in RECIPES for file in golden_files(name, load_recipe(name))}
    assert {path.name for path in GOLDEN.iterdir()} == expected


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json_and_shrinks(name):
    recipe = load_recipe(name)
    assert from_json(type(recipe), to_json(recipe)) == recipe
    small = smoke(recipe)
    assert {source.name for source in small.prepare.sources} == {source.name for source in recipe.prepare.sources}
    assert small.pretrain.data.mixture == recipe.pretrain.data.mixture
    assert small.pretrain.steps < 10


def test_the_mixture_is_the_papers_and_real_data_has_its_share():
    shares = {group.name: group for group in load_recipe("tiny").pretrain.data.mixture.groups}
    assert [shares[name].weight for name in ("interleaved", "captions", "text")] == [0.45, 0.45, 0.10]
    for group, real, least in (("captions", {"pictures"}, 1 / 3), ("interleaved", {"pages", "picture_galleries"}, 0.1)):
        weights = {source.name: source.weight for source in shares[group].sources}
        assert sum(weights[name] for name in real) / sum(weights.values()) >= least


def test_every_stage_draws_only_from_prepared_sources_and_from_stages_before_it():
    for name in RECIPES:
        recipe = load_recipe(name)
        prepared = {source.name for source in recipe.prepare.sources}
        for number, stage in enumerate(recipe.stages):
            config = recipe.stage(stage)
            assert set(config.data.mixture.shares()) <= prepared
            assert set(config.init.values()) & set(STAGES) <= set(recipe.stages[:number])


def test_variants_differ_from_tiny_in_the_connector_alone():
    for name in ("tiny-avgpool", "tiny-c-abstractor"):
        keys = diff(load_recipe("tiny"), load_recipe(name))
        assert {key for key in keys if key != "name" and ".connector." not in key} == set()
        assert "pretrain.model.connector.kind" in keys


def test_like_blocks_share_a_line_of_a_golden_file():
    rows = [(f"decoder.blocks.{layer}.mlp.weight", "dense" if layer % 2 else "sparse") for layer in range(6)]
    assert [line.split() for line in collapsed([("decoder.norm", "1"), *rows, ("decoder.blocks.9.odd", "x")])] == [
        ["decoder.norm", "1"],
        ["decoder.blocks.0-4:2.mlp.weight", "sparse"],
        ["decoder.blocks.1-5:2.mlp.weight", "dense"],
        ["decoder.blocks.9.odd", "x"],
    ]


def test_studies_vary_what_they_say():
    for make in STUDIES.values():
        study = make()
        recipes = {label: study.recipe(label, seed=1) for label in study.variants}
        assert all(recipe.seed == 1 for recipe in recipes.values())
        assert len({recipe.replace(name="").model_dump_json() for recipe in recipes.values()}) == len(recipes)
        assert len({recipe.prepare.model_dump_json() for recipe in recipes.values()}) == 1


def test_names_and_keys_that_do_not_exist_are_met_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'tiny'"):
        load_recipe("tinny")
    with pytest.raises(ConfigError, match=r"did you mean 'pretrain\.steps'"):
        override(load_recipe("tiny"), ["pretrain.stepz=3"])
    with pytest.raises(UserError, match="no file"):
        load_recipe("mine.py:run")


def test_a_stages_own_seed_is_refused_because_the_recipes_counts():
    for key in ("pretrain.seed", "encoder.data.seed"):
        with pytest.raises(ConfigError, match="set the recipe's seed instead"):
            override(load_recipe("tiny"), [f"{key}=5"])
    assert override(load_recipe("tiny"), ["seed=5"]).stage("pretrain").data.seed == 5


def test_a_recipe_from_a_users_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from mm1.config import override\nfrom mm1.recipes.tiny import tiny\n"
        "def short():\n    return override(tiny(), ['pretrain.steps=7'])\n"
        "def wrong():\n    return 3\n"
    )
    assert load_recipe(f"{path}:short").pretrain.steps == 7
    with pytest.raises(UserError, match="returned a int"):
        load_recipe(f"{path}:wrong")
    with pytest.raises(UserError, match="no function 'none'"):
        load_recipe(f"{path}:none")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("x = 1\ndef run(:\n", r"mine\.py:2 ends in SyntaxError"),
        ("x = 1 / 0\n", r"mine\.py:1 ends in ZeroDivisionError \(division by zero\)"),
        ("def run():\n    return {}['a\\nb']\n", r"mine\.py:2 ends in KeyError"),
        ("def run(seed):\n    return seed\n", r"mine\.py ends in TypeError \(run\(\) missing 1 required"),
        ("import nowhere\n", r"mine\.py:1 ends in ModuleNotFoundError \(No module named 'nowhere'\)"),
    ],
)
def test_a_mistake_in_a_users_file_is_one_line_with_its_place(tmp_path, program, said):
    path = tmp_path / "mine.py"
    path.write_text(program)
    with pytest.raises(UserError, match=said) as error:
        load_recipe(f"{path}:run")
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("mend it (--debug shows where)")
    assert error.value.__cause__ is not None


def test_a_config_that_does_not_fit_in_a_users_file_is_one_line_that_names_the_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from mm1.data.plan import SourceConfig\nfrom mm1.recipes.tiny import tiny\n"
        "def built():\n    return SourceConfig(name=3, nme='x')\n"
        "def replaced():\n    return tiny().replace(seed='one')\n"
    )
    with pytest.raises(ConfigError, match=r"mine\.py: SourceConfig: 'name' is 3.*; unknown key 'nme'") as error:
        load_recipe(f"{path}:built")
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"^'seed' is 'one'"):
        load_recipe(f"{path}:replaced")
