"""Batches are bit-equal for any number of workers and ranks; bad images are replaced, counted, and limited."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from mm1.config import UserError
from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.data.shards import write_shards
from mm1.data.sources import ListSource, MeasuredSource
from mm1.types import Batch, Document, Image, Text
from tests.batches import assert_same, config


@pytest.fixture
def loader(sources, encoder: DocumentEncoder) -> Loader:
    return Loader(build_plan(config("captions", "web", "text"), sources, 4), encoder, sources)


def test_steps_in_any_order_give_the_same_bytes(loader: Loader, sources, encoder: DocumentEncoder) -> None:
    forward = [loader.batch(step) for step in range(20)]
    other = Loader(build_plan(loader.plan.config, sources, 4), encoder, sources)
    for step in (19, 3, 7, 0):
        assert_same(other.batch(step), forward[step])


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_ranks_of_a_step_hold_its_rows(loader: Loader, world_size: int) -> None:
    for step in range(12):
        whole = loader.batch(step)
        parts = [loader.batch(step, rank, world_size) for rank in range(world_size)]
        for rank, part in enumerate(parts):
            assert torch.equal(part.tokens, whole.tokens[rank::world_size])
            assert torch.equal(part.targets, whole.targets[rank::world_size])
            assert torch.equal(part.segment_ids, whole.segment_ids[rank::world_size])
            mine = whole.image_rows % world_size == rank
            assert torch.equal(part.images, whole.images[mine])
            assert torch.equal(part.image_rows, whole.image_rows[mine] // world_size)
            assert torch.equal(part.image_seeds, whole.image_seeds[mine])
            assert part.images.shape[1:] == (3, 8, 8)
            placed = part.image_index[part.image_index >= 0]
            assert torch.equal(placed, torch.arange(4 * part.num_images))
    # Some rank had to do without images, or the test says little.
    if world_size == 4:
        assert any(loader.batch(step, rank, 4).num_images == 0 for step in range(12) for rank in range(4))


def test_every_image_has_a_seed_of_its_own_by_seed_and_step(loader: Loader, sources, encoder: DocumentEncoder) -> None:
    seeds = torch.cat([loader.batch(step).image_seeds for step in range(20)])
    assert seeds.dtype == torch.int64
    assert (seeds >= 0).all()
    assert len(seeds) > 100
    assert len(set(seeds.tolist())) == len(seeds)
    # The same rows under another seed of the order are other rows; their images' seeds share nothing.
    other = Loader(build_plan(config("captions", "web", "text", seed=1), sources, 4), encoder, sources)
    assert not set(other.batch(0).image_seeds.tolist()) & set(seeds.tolist())


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_workers_change_nothing(loader: Loader, num_workers: int) -> None:
    batches = list(loader.batches(5, 12, rank=1, world_size=2, num_workers=num_workers))
    assert len(batches) == 7
    for step, batch in zip(range(5, 12), batches, strict=True):
        assert_same(batch, loader.batch(step, 1, 2))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_what_workers_count_is_known_here(loader: Loader, sources, encoder: DocumentEncoder, monkeypatch) -> None:
    """So that saving the plan, or telling of its epochs, goes through no document again."""
    for _ in loader.batches(0, 40, num_workers=2):
        pass
    monkeypatch.setattr(MeasuredSource, "totals", lambda *_: pytest.fail("counted again"))
    known = {name: stream.counts.tolist() for name, stream in loader.plan.streams.items()}
    assert all(len(counts[0]) > 1 for counts in known.values())
    monkeypatch.undo()
    alone = build_plan(loader.plan.config, sources, 4)
    for step in range(40):
        alone.rows(step)
    assert known == {name: stream.counts.tolist() for name, stream in alone.streams.items()}


def test_batches_are_pinned_when_asked(loader: Loader, monkeypatch) -> None:
    """Whether pinning is right, tests/gpu/test_loader.py sees; here, that it is asked for."""
    pinned: list[Batch] = []
    monkeypatch.setattr(Batch, "pin_memory", lambda batch: pinned.append(batch) or batch)
    assert len(list(loader.batches(0, 3))) == 3
    assert not pinned
    batches = list(loader.batches(0, 3, pin_memory=True))
    assert [id(batch) for batch in batches] == [id(batch) for batch in pinned]


def test_images_stand_in_the_rows_of_their_documents(loader: Loader, sources) -> None:
    """The fixtures' pictures carry their document's number in red and green."""
    for step in range(10):
        batch = loader.batch(step)
        rows = loader.plan.rows(step)
        expected = [unit.document for row in rows for unit in row for _ in range(unit.num_images)]
        colours = batch.images[:, :2, 0, 0].long()
        assert (colours[:, 0] + 256 * colours[:, 1]).tolist() == expected


def test_pairs(sources, encoder: DocumentEncoder) -> None:
    beside = DocumentEncoder(encoder.tokenizer, num_image_tokens=0, image_size=8)
    only = {"captions": sources["captions"]}
    loader = Loader(build_plan(config("captions"), only, 0, pairs=True), beside, only)
    batch = loader.batch(0)
    places = list(zip(batch.image_rows.tolist(), batch.image_segments.tolist(), strict=True))
    segments = {(row, s) for row in range(4) for s in batch.segment_ids[row].unique().tolist() if s >= 0}
    assert len(set(places)) == len(places)
    assert set(places) == segments
    for row, segment in places:
        assert batch.tokens[row][batch.segment_ids[row] == segment][-1] == encoder.tokenizer.eos_id


def captions(make, encoder: DocumentEncoder, bad: dict[int, bytes], count: int = 60) -> dict[str, MeasuredSource]:
    documents = [make.caption(number) for number in range(count)]
    for number, data in bad.items():
        documents[number] = Document(f"bad/{number}", (Image(data), Text("a red circle")), "captions")
    return {"captions": MeasuredSource(ListSource("captions", documents), encoder)}


def numbers(batch: Batch) -> list[int]:
    return batch.images[:, 0, 0, 0].tolist()


def test_a_bad_image_is_replaced_by_the_next_document_and_counted(encoder: DocumentEncoder, make) -> None:
    broken = make.picture(0, size=64).data[:-30]
    sources = captions(make, encoder, {7: broken, 8: b"junk"})
    plan = build_plan(config("captions", max_dropped_share=0.2), sources, 4)
    loader = Loader(plan, encoder, sources)
    step, where = next(
        (step, at)
        for step in range(20)
        for at, unit in enumerate(unit for row in plan.rows(step) for unit in row)
        if unit.document == 7
    )
    before = loader.dropped.copy()
    batch = loader.batch(step)
    assert numbers(batch)[where] == 9  # 8 is no picture either
    added = loader.dropped - before
    assert added["corrupt"] == 1
    assert added["unreadable"] >= 1
    assert_same(batch, Loader(plan, encoder, sources).batch(step))
    # The replacement keeps the place of the unit it stands for.
    unit_lengths = [len(unit) for row in plan.rows(step) for unit in row]
    segments = [
        int((batch.segment_ids[row] == segment).sum())
        for row in range(4)
        for segment in range(int(batch.segment_ids[row].max()) + 1)
    ]
    assert len(segments) == len(unit_lengths)
    assert segments[where] <= unit_lengths[where]


def test_dropped_documents_are_counted_across_workers(encoder: DocumentEncoder, make) -> None:
    sources = captions(make, encoder, {7: b"junk", 30: b"junk"})
    counts = []
    for num_workers in (0, 1):
        loader = Loader(build_plan(config("captions", max_dropped_share=0.2), sources, 4), encoder, sources)
        assert len(list(loader.batches(0, 12, num_workers=num_workers))) == 12
        counts.append(loader.dropped)
    assert counts[0] == counts[1]
    assert counts[0]["unreadable"] >= 2


@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_many_bad_images_stop_the_run_with_a_sentence(encoder: DocumentEncoder, make, num_workers: int) -> None:
    sources = captions(make, encoder, dict.fromkeys(range(0, 60, 4), b"junk"))
    loader = Loader(build_plan(config("captions"), sources, 4), encoder, sources)
    with pytest.raises(UserError, match=r"^\d+ of \d+ documents .*\(unreadable: \d+\), more than the 5.0% that"):
        list(loader.batches(0, 100, num_workers=num_workers))
    all_bad = captions(make, encoder, dict.fromkeys(range(60), b"junk"))
    hopeless = Loader(build_plan(config("captions"), all_bad, 4), encoder, all_bad)
    with pytest.raises(UserError, match=r"^document \d+ of source 'captions' and the 59 after it"):
        list(hopeless.batches(0, 1, num_workers=num_workers))


def test_pieces_of_a_long_document_are_its_text_in_order(encoder: DocumentEncoder, make) -> None:
    long = Document("long", tuple(Text(make.text(number).segments[0].text) for number in range(12)), "text")
    sources = {"text": MeasuredSource(ListSource("text", [long]), encoder)}
    plan = build_plan(config("text", rows=1), sources, 4)
    loader = Loader(plan, encoder, sources)
    pieces = {}
    step = 0
    while plan.epochs(step)["text"] < 1:
        batch = loader.batch(step)
        column = 0
        for unit in plan.rows(step)[0]:
            pieces[unit.start] = batch.tokens[0, column : column + len(unit)].tolist()
            column += len(unit)
        step += 1
    assert len(pieces) > 3
    assert [token for start in sorted(pieces) for token in pieces[start]] == encoder.encode(long).tokens.tolist()


def test_a_loader_can_be_pickled(loader: Loader) -> None:
    assert_same(pickle.loads(pickle.dumps(loader)).batch(3), loader.batch(3))


def test_mistakes(loader: Loader, sources, encoder: DocumentEncoder) -> None:
    with pytest.raises(UserError, match="4 rows can not be dealt evenly to 3 processes"):
        loader.batch(0, 0, 3)
    with pytest.raises(UserError, match="an image 9 tokens where the plan was made for 4"):
        Loader(loader.plan, DocumentEncoder(encoder.tokenizer, 9, 8), sources)
    with pytest.raises(UserError, match="images of 16 pixels where the data config says 8"):
        Loader(loader.plan, DocumentEncoder(encoder.tokenizer, 4, 16), sources)


def test_lengths_of_another_tokenizer_are_noticed(encoder: DocumentEncoder, make, monkeypatch) -> None:
    sources = captions(make, encoder, {})
    plan = build_plan(config("captions"), sources, 4)
    plan.rows(0)
    loader = Loader(plan, encoder, sources)
    encode = encoder.tokenizer.encode
    monkeypatch.setattr(encoder.tokenizer, "encode", lambda text, beginning: [*encode(text, beginning), 5])
    with pytest.raises(UserError, match="was prepared with another tokenizer"):
        loader.batch(0)


def test_a_document_of_a_million_tokens_is_read_in_pieces_from_its_shard(
    encoder: DocumentEncoder, make, tmp_path: Path
) -> None:
    rng = random.Random(0)
    words = [Text(" " + make.words(rng, 1000)) for _ in range(1100)]
    long = Document("long", tuple(words), "text")
    source = write_shards([make.text(1), long, make.text(2)], tmp_path, "text", encoder)
    total = int(source.totals(np.array([1]))[0][0])
    assert total > 10**6
    big = config("text", rows=1).replace(seq_len=50_000)
    loader = Loader(build_plan(big, {"text": source}, 4), encoder, {"text": source})
    pieces = [unit for step in range(40) for unit in loader.plan.rows(step)[0] if unit.document == 1]
    assert sum(len(unit) for unit in {unit.start: unit for unit in pieces}.values()) == total + 1
    expected = encoder.encode(long).tokens
    step = next(step for step in range(40) if any(unit.start == 500_000 for unit in loader.plan.rows(step)[0]))
    unit = next(unit for unit in loader.plan.rows(step)[0] if unit.start == 500_000)
    assert len(unit) == 50_000
    assert loader.batch(step).tokens[0].tolist() == expected[500_000:550_000].tolist()
