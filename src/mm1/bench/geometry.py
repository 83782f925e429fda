"""The models that `mm1 bench geometry` trains for some steps, and the documents that they read; nothing is fetched.

    stages()["mm1-3b"]                  # MM1-3B's shape, weights drawn at random
    sources_of(stage, tokenizer)        # photos, pages and texts that come with the package, again and again

Knows nothing of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mm1.data.embedded_source import EmbeddedConfig, EmbeddedSource
from mm1.data.encode import DocumentEncoder
from mm1.data.plan import DataConfig, GroupConfig, MixtureConfig, SourceConfig
from mm1.data.sources import ListSource, MeasuredSource, Source
from mm1.data.tokenizer import Tokenizer, train_tokenizer
from mm1.models.connector import CAbstractorConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1Config
from mm1.models.moe import MoEConfig
from mm1.recipes.paper_models import CLIP_H_378, mm1
from mm1.train.layout import ParallelConfig
from mm1.train.optimizer import OptimizerConfig
from mm1.train.schedule import ScheduleConfig
from mm1.train.stage import StageConfig
from mm1.types import Text

READ = {
    "galleries": EmbeddedConfig(name="galleries", part="galleries", num_documents=400, num_items=(2, 8)),
    "captions": EmbeddedConfig(name="captions", part="captions"),
    "text": EmbeddedConfig(name="text", part="text"),
}
MIXED = MixtureConfig(
    groups=tuple(
        GroupConfig(name=name, weight=weight, sources=(SourceConfig(name=name),))
        for name, weight in (("galleries", 0.45), ("captions", 0.45), ("text", 0.1))
    )
)
"""The paper's shares of interleaved documents, captions and text."""
TEXT_ONLY = MixtureConfig(groups=(GroupConfig(name="text", weight=1.0, sources=(SourceConfig(name="text"),)),))

INTERRUPTED = ("mm1-3b", "small")
"""Those that are stopped in the middle and go on: on disk a model of billions of parameters takes minutes."""

_DECODER = DecoderConfig(vocab_size=64_000, dim=2048, num_layers=12, num_heads=16, mlp_dim=5440, mlp="swiglu")
_LLAMA = DecoderConfig(
    vocab_size=128_256, dim=4096, num_layers=12, num_heads=32, num_kv_heads=8, mlp_dim=14336, mlp="swiglu",
    tied_embeddings=False,
)  # fmt: skip
_SMALL = MM1Config(
    decoder=DecoderConfig(vocab_size=1024, dim=64, num_layers=2, num_heads=4, mlp_dim=128, mlp="swiglu"),
    image_encoder=ImageEncoderConfig(image_size=56, patch_size=14, dim=64, num_layers=2, num_heads=4, mlp_dim=128),
    connector=CAbstractorConfig(num_image_tokens=4, hidden_dim=32, depth=1),
)


def stages() -> dict[str, StageConfig]:
    """By name.

    "small" has all parts of "mm1-3b", to rehearse on a CPU; "llama-8b-12" is 12 of the 32 layers of Llama-3.1-8B;
    "experts-8" has the active size of "experts-8-dense".
    """
    experts = MoEConfig(num_experts=8, top_k=2, every=1, expert_dim=2720)
    return {
        # A row at once, so that 80 GB are enough.
        "mm1-3b": _stage(mm1("3b", CLIP_H_378), MIXED, seq_len=4096, microbatch_rows=1, image_size=378),
        "llama-8b-12": _stage(MM1Config(decoder=_LLAMA), TEXT_ONLY, seq_len=8192, microbatch_rows=1),
        "experts-8": _stage(MM1Config(decoder=_DECODER.replace(moe=experts)), TEXT_ONLY, 4096, 2),
        "experts-8-dense": _stage(MM1Config(decoder=_DECODER), TEXT_ONLY, 4096, 2),
        "small": _stage(_SMALL, MIXED, seq_len=256, microbatch_rows=2, image_size=56, compiled=False),
    }


def _stage(
    model: MM1Config,
    mixture: MixtureConfig,
    seq_len: int,
    microbatch_rows: int,
    image_size: int = 224,
    *,
    compiled: bool = True,
) -> StageConfig:
    return StageConfig(
        model=model,
        data=DataConfig(mixture=mixture, seq_len=seq_len, rows=4, max_images=16, image_size=image_size),
        optimizer=OptimizerConfig(learning_rate=6e-5, weight_decay=0.1),
        schedule=ScheduleConfig(warmup_steps=10),
        parallel=ParallelConfig(activation_checkpointing="selective", compile=compiled),
        microbatch_rows=microbatch_rows,
        steps=60,
    )


def tokenizer_at(path: Path) -> Tokenizer:
    """Trained on the package's texts and written to `path`, unless it is there."""
    if path.exists():
        return Tokenizer(path)
    source = EmbeddedSource(READ["text"])
    documents = (source.document(index) for index in range(len(source)))
    texts = (segment.text for document in documents for segment in document.segments if isinstance(segment, Text))
    return train_tokenizer(texts, 1000, path)


def sources_of(stage: StageConfig, tokenizer: Tokenizer) -> Mapping[str, Source]:
    """Those of the stage's mixture, held in memory."""
    encoder = DocumentEncoder(tokenizer, stage.model.num_image_tokens, stage.data.image_size)
    found: dict[str, Source] = {}
    for name in stage.data.mixture.shares():
        whole = EmbeddedSource(READ[name])
        documents = [whole.document(index) for index in range(len(whole))]
        found[name] = MeasuredSource(ListSource(name, documents), encoder)
    return found
