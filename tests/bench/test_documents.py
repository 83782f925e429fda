"""The workload: exactly the documents of the recipe's rows, whatever shape they take."""

from collections import Counter

import numpy as np
import pytest

from mm1.bench.documents import Workload, longer_rows, packed, unpack, with_image_tokens
from mm1.chain.parts import build_source
from mm1.data.encode import DocumentEncoder
from mm1.types import Document, Image, Sample, Text


def document_of(recipe, unit) -> Document:
    return build_source(next(s for s in recipe.prepare.sources if s.name == unit.source)).document(unit.document)


def whole(recipe, workload: Workload) -> list[tuple[Sample, Document]]:
    """The samples that are whole documents, with the document that the plan names there."""
    plan = workload.loader.plan
    units = [unit for step in range(workload.steps) for row in plan.rows(step) for unit in row]
    assert len(units) == len(workload.samples)
    pairs = zip(units, workload.samples, strict=True)
    return [(sample, document_of(recipe, unit)) for unit, sample in pairs if len(unit) == unit.document_len]


def same(a: Sample, b: Sample) -> bool:
    """Equal in all but the mark of the first token, which nothing predicts."""
    arrays = ("tokens", "segment_ids", "image_starts", "image_segments")
    return (
        all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
        and np.array_equal(a.loss_mask[1:], b.loss_mask[1:])
        and len(a.images) == len(b.images)
        and all(np.array_equal(x, y) for x, y in zip(a.images, b.images, strict=True))
        and a.source == b.source
    )


def supervised_by_hand(document: Document, workload: Workload) -> int:
    """Counted from the document: target tokens and EOS, less the first token if the document begins with it."""
    counts = [
        (len(workload.tokenizer.encode(part.text)), part.target) if isinstance(part, Text) else (4, False)
        for part in document.segments
    ]
    return sum(count for count, target in counts if target) + 1 - counts[0][1]


def test_supervised_and_text_tokens_are_those_of_the_plans_documents(recipe, workload):
    for sample, document in whole(recipe, workload):
        assert sample.loss_mask.sum() == supervised_by_hand(document, workload)
        texts = [part.text for part in document.segments if isinstance(part, Text)]
        text_tokens = (sample.tokens != workload.tokenizer.image_id).sum()
        assert text_tokens == sum(len(workload.tokenizer.encode(text)) for text in texts) + 1
    assert workload.supervised_tokens == sum(int(sample.loss_mask.sum()) for sample in workload.samples)
    assert 0 < workload.supervised_tokens <= workload.text_tokens
    assert workload.images == sum(len(sample.images) for sample in workload.samples) > 0


@pytest.mark.parametrize("num_image_tokens", [1, 4, 9, 36])
def test_another_number_of_image_tokens_is_what_the_encoder_makes(recipe, workload, num_image_tokens):
    encoder = DocumentEncoder(workload.tokenizer, num_image_tokens, recipe.pretrain.data.image_size)
    pairs = whole(recipe, workload)
    assert any(len(document.images) > 1 for _, document in pairs)
    assert any(not document.images for _, document in pairs)
    for sample, document in pairs:
        stretched = with_image_tokens(sample, num_image_tokens, workload.tokenizer.image_id)
        assert same(stretched, encoder.encode(document))


def test_longer_rows_hold_the_longest_document_and_no_more_positions(recipe, workload):
    data = recipe.pretrain.data
    samples = [with_image_tokens(sample, 36, workload.tokenizer.image_id) for sample in workload.samples]
    longer = longer_rows(data, samples)
    assert longer.seq_len >= max(len(sample) for sample in samples) > data.seq_len
    assert longer.rows * longer.seq_len <= data.rows * data.seq_len
    assert longer_rows(data, workload.samples) == data


def test_packing_loses_and_repeats_nothing(recipe, workload):
    data = recipe.pretrain.data.replace(rows=3)
    encoder = DocumentEncoder(workload.tokenizer, 4, data.image_size)
    batches = packed(workload.samples, data, encoder)
    assert {batch.tokens.shape for batch in batches} == {(1, 3 * data.seq_len)}

    def content(samples) -> Counter:
        return Counter((s.source, s.tokens.tobytes(), s.loss_mask.tobytes(), len(s.images)) for s in samples)

    again = [sample for batch in batches for sample in unpack(batch) if len(sample)]
    assert content(again) == content(workload.samples)
    assert sum(len(part) for part in again) == sum(len(part) for part in workload.samples)


def test_a_document_without_its_image_would_be_noticed(recipe, workload):
    """The comparison that the other tests rest on sees a picture that is not the document's."""
    sample, document = next((s, d) for s, d in whole(recipe, workload) if d.images)
    encoder = DocumentEncoder(workload.tokenizer, 4, recipe.pretrain.data.image_size)
    other = next(d for _, d in whole(recipe, workload) if d.images and d.images != document.images)
    parts = tuple(other.images[0] if isinstance(part, Image) else part for part in document.segments)
    assert same(sample, encoder.encode(document))
    assert not same(sample, encoder.encode(Document(document.id, parts, document.source)))
