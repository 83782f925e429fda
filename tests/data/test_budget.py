"""What a unit is said to hold is what the encoder then makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.data.budget import Budget
from mm1.data.collate import collate
from mm1.data.encode import DocumentEncoder
from mm1.data.sources import ListSource, MeasuredSource
from mm1.data.sub_images import WHOLE
from mm1.types import IGNORE, Document, Image, Segment, Text

BUDGET = Budget(
    capacity=12, max_images=2, num_image_tokens=4, image_size=8, sub_images=WHOLE, pairs=False, bos=False,
    counts_targets=True,
)  # fmt: skip

segments = st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 20), st.booleans())), max_size=6)
"""None for an image; words and target of a text."""


@pytest.fixture(scope="session")
def bos_encoder(encoder: DocumentEncoder, make, tmp_path_factory: pytest.TempPathFactory) -> DocumentEncoder:
    tokenizer = make.tokenizer_with_bos(encoder.tokenizer, tmp_path_factory.mktemp("bos"))
    return DocumentEncoder(tokenizer, encoder.num_image_tokens, encoder.image_size)


def predicted(encoder: DocumentEncoder, document: Document, start: int, stop: int, whole: bool) -> int:
    """Targets in a batch of that unit alone."""
    sample = replace(encoder.encode(document, start=start, stop=None if whole else stop), source="s")
    batch = collate([[sample]], stop - start, encoder, ("s",))
    return int((batch.targets != IGNORE).sum())


def source_of(make, encoder: DocumentEncoder, rows: Sequence[list[tuple[int, bool] | None]]) -> MeasuredSource:
    picture = make.picture(1)

    def segment(part: tuple[int, bool] | None) -> Segment:
        return picture if part is None else Text(" ".join(["red"] * part[0]), part[1])

    documents = [Document("d", tuple(segment(part) for part in row)) for row in rows]
    return MeasuredSource(ListSource("s", documents), encoder)


@settings(max_examples=60)
@given(rows=st.lists(segments, min_size=1, max_size=3), bos=st.booleans())
def test_targets_of_units_are_those_of_batches(
    rows: list[list[tuple[int, bool] | None]], bos: bool, make, encoder: DocumentEncoder, bos_encoder: DocumentEncoder
) -> None:
    own = bos_encoder if bos else encoder
    budget = replace(BUDGET, bos=bos)
    source = source_of(make, own, rows)
    whole = budget.num_targets(source, np.arange(len(rows)))
    for index in range(len(rows)):
        document = source.document(index)
        units = budget.units(source, "s", index)
        for unit in units:
            alone = len(unit) == unit.document_len
            assert unit.num_targets == predicted(own, document, unit.start, unit.stop, alone)
        assert whole[index] == predicted(own, document, 0, units[-1].stop, True)


def test_targets_are_not_looked_at_where_they_do_not_matter(make, encoder: DocumentEncoder) -> None:
    class Unasked(MeasuredSource):
        def target_tokens(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            raise AssertionError("nobody asked for targets")

        def segment_targets(self, index: int) -> list[bool]:
            raise AssertionError("nobody asked for targets")

    source = Unasked(ListSource("s", [Document("d", (Text("red " * 30), Image(b"")))]), encoder)
    budget = replace(BUDGET, counts_targets=False)
    assert budget.num_targets(source, np.array([0])).tolist() == [0]
    assert {unit.num_targets for unit in budget.units(source, "s", 0)} == {0}
