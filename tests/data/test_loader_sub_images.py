"""Pictures cut into sub-images, and documents cut by them, are loaded as they are encoded apart and whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from mm1.config import UserError
from mm1.data.encode import DocumentEncoder
from mm1.data.image import upright_size
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.data.shards import ShardSource, write_shards
from mm1.data.sources import ListSource, MeasuredSource
from mm1.data.sub_images import WHOLE, BestGridConfig, SubImagesConfig
from mm1.data.tokenizer import Tokenizer
from mm1.types import Document, Image, Text
from tests.batches import config

CUT = SubImagesConfig(grid=BestGridConfig(min_tiles=1, max_tiles=4), fit="pad", overview="last")


@pytest.fixture(scope="module")
def shown(make, encoder: DocumentEncoder, tmp_path_factory: pytest.TempPathFactory) -> tuple[ShardSource, Tokenizer]:
    """Pages with pictures of many sizes, some stored on their side, as shards; and a tokenizer with a BOS."""
    exif = PillowImage.Exif()
    exif[0x0112] = 8
    rng = np.random.default_rng(0)
    pages = []
    for number in range(80):
        segments = [Text("the big red circle")]
        for _ in range(number % 4):
            width, height = rng.integers(4, 30, 2).tolist()
            picture = make.sized(number, width, height, file_format="JPEG", exif=exif)
            segments += [picture, Text("a star" * (number % 9))]
        pages.append(Document(f"shown/{number}", tuple(segments), "shown"))
    tokenizer = make.tokenizer_with_bos(encoder.tokenizer, tmp_path_factory.mktemp("tokenizer"))
    folder = tmp_path_factory.mktemp("shown")
    return write_shards(pages, folder, "shown", DocumentEncoder(tokenizer, 1, 16)), tokenizer


def loader_of(shown: tuple[ShardSource, Tokenizer], policy: SubImagesConfig) -> Loader:
    source, tokenizer = shown
    data = config("shown").replace(seq_len=96, max_images=9, sub_images=policy)
    encoder = DocumentEncoder(tokenizer, 4, 8, policy)
    return Loader(build_plan(data, {"shown": source}, 4, bos=True), encoder, {"shown": source})


@pytest.mark.parametrize("policy", [WHOLE, SubImagesConfig.for_resolution(16, 8), CUT], ids=["whole", "grid", "best"])
def test_one_set_of_shards_serves_any_way_of_cutting(
    shown: tuple[ShardSource, Tokenizer], policy: SubImagesConfig
) -> None:
    """Each unit holds what its document, encoded apart and whole, holds there: every token and every sub-image."""
    loader, (source, tokenizer) = loader_of(shown, policy), shown
    encoder = DocumentEncoder(tokenizer, 4, 8, policy)
    split = several = 0
    for step in range(12):
        batch, placed = loader.batch(step), 0
        for row, units in enumerate(loader.plan.rows(step)):
            column = 0
            for unit in units:
                whole = encoder.encode(source.document(unit.document))
                assert len(whole) == unit.document_len
                here = batch.tokens[row, column : column + len(unit)]
                assert here.tolist() == whole.tokens[unit.start : unit.stop].tolist()
                starts = whole.image_starts.tolist()
                inside = [at for at, start in enumerate(starts) if unit.start <= start < unit.stop]
                assert unit.num_images == len(inside)
                for at in inside:
                    assert (batch.images[placed].permute(1, 2, 0).numpy() == whole.images[at]).all()
                    place = batch.image_index[row, column + starts[at] - unit.start]
                    assert place == 4 * placed
                    placed += 1
                column += len(unit)
                split += unit.start > 0
                several += len(whole.images) > len(source.document(unit.document).images)
            assert column <= 96
        assert placed == batch.num_images
        assert batch.image_rows.bincount(minlength=4).max() <= 9
    assert bool(several) == (policy != WHOLE)
    assert split or policy == WHOLE  # documents that are too long once their pictures are cut


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_cut_pictures_are_the_same_for_any_ranks_and_workers(shown: tuple[ShardSource, Tokenizer]) -> None:
    loader = loader_of(shown, CUT)
    whole = [loader.batch(step) for step in range(6)]
    parts = list(loader.batches(0, 6, rank=1, world_size=2, num_workers=1))
    for part, batch in zip(parts, whole, strict=True):
        mine = batch.image_rows % 2 == 1
        assert torch.equal(part.tokens, batch.tokens[1::2])
        assert torch.equal(part.images, batch.images[mine])
        assert torch.equal(part.image_seeds, batch.image_seeds[mine])


def test_a_replacement_has_room_for_its_pictures_or_the_place_stays_empty(encoder: DocumentEncoder, make) -> None:
    """A broken picture of one sub-image among pictures of five: only another of one can take its place."""
    big = [Document(f"big/{n}", (make.sized(n, 16, 16), Text("a star")), "captions") for n in range(20)]
    broken = Image(make.picture(0, size=8).data[:-30])
    assert upright_size(broken.data) == (8, 8)
    documents = [*big, Document("broken", (broken, Text("a red circle above")), "captions")]
    encoder = DocumentEncoder(encoder.tokenizer, 4, 8, CUT)
    for other, expected in ((None, None), (make.picture(77), 77)):
        rows = documents if other is None else [*documents, *big[:2], Document("small", (other, Text("a")), "captions")]
        sources = {"captions": MeasuredSource(ListSource("captions", rows), encoder)}
        plan = build_plan(config("captions", rows=1).replace(max_images=5, sub_images=CUT), sources, 4)
        step = next(step for step in range(99) for unit in plan.rows(step)[0] if unit.document == 20)
        loader = Loader(plan, encoder, sources)
        batch = loader.batch(step)
        assert loader.dropped == {"corrupt": 1}
        units = plan.rows(step)[0]
        kept = units if other is not None else [unit for unit in units if unit.document != 20]
        assert batch.num_images == sum(unit.num_images for unit in kept)
        assert int(batch.segment_ids.max()) + 1 == len(kept)
        if expected is not None:
            assert expected in batch.images[:, 0, 0, 0].tolist()


def test_ways_of_cutting_and_beginning_must_agree(shown: tuple[ShardSource, Tokenizer], encoder) -> None:
    source, tokenizer = shown
    plan = loader_of(shown, CUT).plan
    with pytest.raises(UserError, match=r"at most 1 sub-images by another policy than the data config's \(5\)"):
        Loader(plan, DocumentEncoder(tokenizer, 4, 8), {"shown": source})
    with pytest.raises(UserError, match=r"the plan was made with a BOS before each document"):
        Loader(plan, DocumentEncoder(encoder.tokenizer, 4, 8, CUT), {"shown": source})
