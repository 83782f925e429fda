"""The shipped mixture, laid out by its plan: shares as declared, sequences that are full."""

import pytest

from mm1.bench.documents import head_of_sources
from mm1.chain.prepare import train_on_heads
from mm1.data.encode import DocumentEncoder
from mm1.data.plan import build_plan
from mm1.recipes.tiny import tiny


def test_a_thousand_sequences_of_tiny_are_full_and_mixed_as_declared(tmp_path, monkeypatch):
    """With the head of each source; whole sources fill a little better."""
    # A plan looks at no picture, so none is made.
    monkeypatch.setattr("mm1.data.synthetic.render.encode_png", lambda pixels: b"")
    recipe = tiny()
    stage = recipe.pretrain
    tokenizer = train_on_heads(recipe.prepare.replace(tokenizer_documents=100), tmp_path / "tokenizer.json")
    encoder = DocumentEncoder(tokenizer, stage.model.num_image_tokens, stage.data.image_size)
    sources = head_of_sources(recipe.prepare, list(stage.data.mixture.shares()), encoder, documents_per_source=800)
    plan = build_plan(stage.data, sources, stage.model.num_image_tokens)
    steps = 1000 // stage.data.rows
    assert plan.fill(steps) >= 0.97
    assert plan.realised(steps) == pytest.approx(plan.declared, abs=0.005)
