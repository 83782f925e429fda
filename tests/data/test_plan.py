"""Rows are a pure function of the step; adding a source disturbs no other."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mm1.config import UserError
from mm1.data.loader import Loader
from mm1.data.plan import DataConfig, GroupConfig, MixtureConfig, Plan, Row, SourceConfig, build_plan, load_plan
from mm1.data.sources import ListSource, MeasuredSource
from mm1.data.sub_images import FixedGridConfig, SubImagesConfig
from mm1.types import IGNORE, Document, Text


def config(seed: int = 0, rows: int = 4, **weights: float) -> DataConfig:
    weights = weights or {"captions": 0.45, "web": 0.45, "text": 0.1}
    groups = tuple(GroupConfig(name=name, weight=w, sources=(SourceConfig(name=name),)) for name, w in weights.items())
    return DataConfig(
        mixture=MixtureConfig(groups=groups), seq_len=64, rows=rows, max_images=4, image_size=8, seed=seed
    )


def read(plan: Plan, steps: int) -> list[Row]:
    return [row for step in range(steps) for row in plan.rows(step)]


def test_steps_may_be_asked_for_in_any_order(sources) -> None:
    plan = build_plan(config(), sources, num_image_tokens=4)
    forward = [plan.rows(step) for step in range(60)]
    other = pickle.loads(pickle.dumps(build_plan(config(), sources, num_image_tokens=4)))
    assert [other.rows(step) for step in reversed(range(60))] == forward[::-1]


def test_the_global_batch_is_cut_differently_but_is_the_same_sequence(sources) -> None:
    small, large = (build_plan(config(rows=rows), sources, 4) for rows in (2, 8))
    assert read(small, 40) == read(large, 10)


def test_each_row_is_of_one_source_within_its_budgets(sources) -> None:
    for row in read(build_plan(config(), sources, 4), 100):
        assert len({unit.source for unit in row}) == 1
        assert sum(len(unit) for unit in row) <= 64
        assert sum(unit.num_images for unit in row) <= 4


def test_adding_a_source_leaves_the_others_in_their_order(sources) -> None:
    def of_captions(plan: Plan) -> list[Row]:
        return [row for row in read(plan, 100) if row[0].source == "captions"][:100]

    before = build_plan(config(captions=1, text=1), sources, 4)
    after = build_plan(config(web=1, captions=1, text=1), sources, 4)
    assert of_captions(before) == of_captions(after)


def test_the_seed_changes_the_order(sources) -> None:
    first, second = (build_plan(config(seed=seed), sources, 4).rows(0) for seed in (0, 1))
    assert first != second


def test_declared_and_realised_shares(sources) -> None:
    plan = build_plan(config(), sources, 4)
    rows = read(plan, 250)
    counted = {name: sum(row[0].source == name for row in rows) / 1000 for name in plan.source_names}
    assert plan.realised(250) == counted
    assert plan.declared == pytest.approx({"captions": 0.45, "web": 0.45, "text": 0.1})
    assert all(abs(counted[name] - plan.declared[name]) < 0.005 for name in plan.source_names)


def chats(make, encoder) -> MeasuredSource:
    """Long prompts with short answers: full sequences of few targets."""
    documents = [
        Document(f"{n}", (Text("red blue " * (n % 9 + 5), target=False), Text("star", target=True))) for n in range(250)
    ]
    return MeasuredSource(ListSource("chats", documents), encoder)


def test_weights_may_be_shares_of_target_tokens(sources, make, encoder) -> None:
    """What is counted in real batches is what was declared, within half a point over 1,000 packs, and is said so."""
    sources = {**sources, "chats": chats(make, encoder)}
    asked = config(captions=0.3, web=0.3, text=0.1, chats=0.3)
    asked = asked.replace(mixture=asked.mixture.replace(measure="target_tokens"))
    plan = build_plan(asked, sources, 4)
    loader = Loader(plan, encoder, sources)
    counted = Counter()
    for step in range(250):
        batch = loader.batch(step)
        numbers = batch.source_ids[batch.targets != IGNORE]
        counted.update({plan.source_names[n]: int((numbers == n).sum()) for n in range(len(plan.source_names))})
    shares = {name: count / counted.total() for name, count in counted.items()}
    assert plan.realised(250) == pytest.approx(shares)
    assert plan.declared == pytest.approx({"captions": 0.3, "web": 0.3, "text": 0.1, "chats": 0.3})
    assert all(abs(shares[name] - share) < 0.005 for name, share in plan.declared.items())
    assert plan.sequence_shares["chats"] > 0.6  # which are not the shares of sequences
    assert build_plan(config(), sources, 4).sequence_shares == build_plan(config(), sources, 4).declared
    account = plan.account(250)
    assert account["measure"] == "target_tokens"
    assert account["realised"] == plan.realised(250)
    assert account["source_documents"]["chats"] == 250


def test_what_has_no_targets_can_have_no_share_of_them(sources, encoder) -> None:
    asked = config(captions=0.5, pictures=0.5)
    asked = asked.replace(mixture=asked.mixture.replace(measure="target_tokens"))
    silent = [
        Document(str(n), (Text("red", target=False), sources["captions"].document(0).images[0])) for n in range(3)
    ]

    class Unended(MeasuredSource):
        """Without even ends."""

        def target_tokens(self, indices):
            return -np.ones(len(indices), np.int64), np.zeros(len(indices), bool)

    with pytest.raises(UserError, match=r"source 'pictures' has no token that is predicted"):
        build_plan(asked, {**sources, "pictures": Unended(ListSource("pictures", silent), encoder)}, 4)
    with pytest.raises(UserError, match=r"shares of target tokens, but training on pairs predicts none"):
        build_plan(asked, sources, 0, pairs=True)


def test_fill_and_epochs_are_those_of_the_rows(sources) -> None:
    plan = build_plan(config(), sources, 4)
    rows = read(plan, 77)
    assert plan.fill(77) == pytest.approx(sum(len(unit) for row in rows for unit in row) / (77 * 4 * 64))
    for name, epochs in plan.epochs(77).items():
        documents = sum(unit.stop == unit.document_len for row in rows for unit in row if row[0].source == name)
        assert epochs == pytest.approx(documents / len(sources[name]), abs=0.06)
    assert (plan.fill(0), set(plan.epochs(0).values())) == (0, {0.0})


def test_a_saved_plan_is_the_same_plan(sources, tmp_path: Path) -> None:
    plan = build_plan(config(), sources, 4)
    rows = read(plan, 50)
    plan.save(tmp_path)
    assert read(load_plan(tmp_path, sources), 50) == rows


def test_a_saved_plan_keeps_what_is_cut_and_how_documents_begin(sources, tmp_path: Path) -> None:
    cut = config().replace(sub_images=SubImagesConfig(grid=FixedGridConfig(rows=1, columns=2)))
    plan = build_plan(cut, sources, 4, bos=True)
    rows = read(plan, 20)
    assert rows != read(build_plan(config(), sources, 4), 20)
    plan.save(tmp_path)
    again = load_plan(tmp_path, sources)
    assert (again.config.sub_images, again.bos) == (cut.sub_images, True)
    assert read(again, 20) == rows


def test_a_plan_is_not_laid_over_changed_data(sources, tmp_path: Path) -> None:
    plan = build_plan(config(), sources, 4)
    read(plan, 1)
    plan.save(tmp_path)
    with pytest.raises(UserError, match=r"'captions' has 150 documents where .* 300: the data changed"):
        load_plan(tmp_path, {**sources, "captions": sources["text"]})
    with pytest.raises(UserError, match=r"has no plan.json"):
        load_plan(tmp_path / "elsewhere", sources)


def test_mistakes(sources) -> None:
    with pytest.raises(UserError, match=r"reads 'books', which is not among the sources \['captions', 'text', 'web'\]"):
        build_plan(config(books=1), sources, 4)
    with pytest.raises(UserError, match=r"seq_len 64 has no room for an image of 64 tokens .* at least 65"):
        build_plan(config(), sources, 64)
    with pytest.raises(UserError, match=r"seq_len 64 has no room .* at least 65"):
        build_plan(config(), sources, 63, bos=True)
    cut = config().replace(sub_images=SubImagesConfig.for_resolution(16, 8))
    with pytest.raises(UserError, match=r"max_images 4 has no room for a picture of 5 sub-images: make it at least 5"):
        build_plan(cut, sources, 4)
    with pytest.raises(UserError, match=r"no room for a picture of 5 x 16 tokens and its text: make it at least 81"):
        build_plan(cut.replace(max_images=5), sources, 16)
    with pytest.raises(UserError, match=r"cuts a picture into 5, but training on pairs compares whole pictures"):
        build_plan(cut.replace(max_images=5), sources, 0, pairs=True)
