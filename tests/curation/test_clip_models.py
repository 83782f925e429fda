"""Scores against the models' own forward passes; the largest differences measured are 7e-8 and 2e-7."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from mm1.config import UserError
from mm1.curation.clip_models import OwnClip, TransformersClip, open_scorer
from mm1.data.collate import collate
from mm1.data.encode import DocumentEncoder
from mm1.data.tokenizer import Tokenizer
from mm1.types import Document, Text
from mm1.types import Image as Picture
from tests.curation.clips import TEXTS, foreign_clip, own_clip
from tests.curation.site import picture

CPU = torch.device("cpu")
PAIRS = [(picture(number, 40 + 9 * number, 40), text) for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_clip(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return foreign_clip(tmp_path_factory.mktemp("clip"))


def test_an_own_clip_scores_pairs_as_it_was_trained_on_them(own: Path) -> None:
    """Training packs pairs into rows: [Image, Text, Image, Text, …] with the captions in their template."""
    scorer = open_scorer(own, CPU)
    assert isinstance(scorer, OwnClip)
    folder = own / "encoder"
    encoder = DocumentEncoder(Tokenizer(folder / "tokenizer.json"), 1, 16)
    segments = [part for data, text in PAIRS for part in (Picture(data), Text(f" {text}\n"))]
    sample = encoder.encode(Document(id="x", segments=tuple(segments)), pairs=True, max_pair_len=40)
    batch = collate([[sample]], len(sample) + 5, encoder, ("",))
    with torch.inference_mode():
        out = scorer.model(batch)
    wanted = torch.cosine_similarity(out.image_embeddings, out.text_embeddings)
    scores = scorer.score(PAIRS)
    np.testing.assert_allclose(scores, wanted.numpy(), atol=1e-5)
    assert np.ptp(scores) > 0.1
    swapped = scorer.score([(PAIRS[0][0], PAIRS[1][1])])
    assert abs(swapped[0] - scores[0]) > 0.01


def test_a_clip_of_transformers_scores_as_its_own_forward_pass(foreign: Path) -> None:
    scorer = open_scorer(foreign, CPU)
    assert isinstance(scorer, TransformersClip)
    model = transformers.CLIPModel.from_pretrained(foreign).eval()
    words, pixels = (
        transformers.AutoTokenizer.from_pretrained(foreign), transformers.CLIPImageProcessorPil.from_pretrained(foreign)
    )  # fmt: skip
    large = io.BytesIO()  # a JPEG that could be read at an eighth of its size, and be another picture
    Image.open(io.BytesIO(picture(9, 40, 30))).resize((640, 480), Image.Resampling.NEAREST).save(large, "JPEG")
    pairs = [*PAIRS, (large.getvalue(), "noise")]
    wanted = []
    for data, text in pairs:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        inputs = words(text, return_tensors="pt", truncation=True, max_length=24)
        with torch.inference_mode():
            out = model(pixel_values=pixels(image, return_tensors="pt")["pixel_values"], input_ids=inputs["input_ids"])
            wanted.append(float(out.logits_per_image[0, 0] / model.logit_scale.exp()))
    scores = scorer.score(pairs)
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    assert np.ptp(scores) > 0.05


@pytest.mark.parametrize("kind", ["own", "foreign"])
def test_scores_are_the_same_each_time_and_hardly_depend_on_the_batch(
    kind: str, request: pytest.FixtureRequest
) -> None:
    scorer = open_scorer(request.getfixturevalue(kind), CPU)
    threads = torch.get_num_threads()
    together = scorer.score(PAIRS)
    np.testing.assert_array_equal(together, scorer.score(PAIRS))
    np.testing.assert_allclose(together, [scorer.score([pair])[0] for pair in PAIRS], atol=1e-5)
    assert torch.get_num_threads() == threads
    broken = scorer.score([PAIRS[0], (b"no picture", "words"), PAIRS[1]])
    np.testing.assert_allclose(broken, [together[0], np.nan, together[1]], atol=1e-5)
    assert np.isnan(scorer.score([(b"", "words")])).all()


def test_what_is_no_clip_is_one_sentence(own: Path, foreign: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    for values, expected in (
        ({"model": {"kind": "mm1"}}, "of kind 'mm1'"), ({"model_type": "llama"}, "of kind 'llama'"), ([], "kind None"),
    ):  # fmt: skip
        config.write_text(json.dumps(values))
        with pytest.raises(UserError, match=expected):
            open_scorer(tmp_path)
    config.write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        open_scorer(tmp_path)
    config.write_text((foreign / "config.json").read_text())
    with pytest.raises(UserError, match="can not be opened as a CLIP"):
        open_scorer(tmp_path)
    config.write_text((own / "encoder" / "config.json").read_text())
    with pytest.raises(UserError, match="no tokenizer"):
        open_scorer(tmp_path)
