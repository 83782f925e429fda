"""The tiny recipe, shrunk, with its documents: what the bench measures, without the measuring."""

import pytest

from mm1.bench.contestant import Contestant
from mm1.bench.documents import Workload, make_workload
from mm1.bench.train import make_contestants
from mm1.chain.recipe import RecipeConfig
from mm1.distributed.mesh import World
from mm1.recipes.smoke import smoke
from mm1.recipes.tiny import tiny


@pytest.fixture(scope="session")
def recipe() -> RecipeConfig:
    return smoke(tiny())


@pytest.fixture(scope="session")
def workload(recipe, tmp_path_factory) -> Workload:
    return make_workload(recipe, steps=12, folder=tmp_path_factory.mktemp("tokenizer"), documents_per_source=40)


@pytest.fixture(scope="session")
def contestants(recipe, workload) -> dict[str, Contestant]:
    return make_contestants(recipe, workload, World())
