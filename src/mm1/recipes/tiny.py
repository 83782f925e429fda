"""The tiny recipe: MM1's whole road on two CPU cores in minutes.

    mm1 run tiny

What differs from MM1 (docs/log.md tells what was compared): Muon instead of AdamW for hidden matrices; smeared keys in
the decoder, without which a few layers do not learn to copy from their context in minutes; a tenth of the learning rate
for the pretrained image encoder and twice for the connector; a convolutional stem; up to 40 images a sequence; text
pretraining of the decoder on the same small world. The mixture is the paper's: 45 % interleaved, 45 % captions, 10 %
text.
"""

from __future__ import annotations

from mm1.chain.prepare import PrepareConfig
from mm1.chain.recipe import EvalConfig, RecipeConfig
from mm1.data.embedded_source import EmbeddedConfig
from mm1.data.plan import DataConfig, GroupConfig, MixtureConfig, SourceConfig
from mm1.data.synthetic.source import PageKind, SyntheticConfig
from mm1.eval.naming import NamingTasksConfig
from mm1.eval.world import WorldTasksConfig
from mm1.models.aim import AIMConfig
from mm1.models.clip import CLIPConfig
from mm1.models.connector import AttentionPoolConfig, AvgPoolConfig, CAbstractorConfig, ConnectorConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1Config
from mm1.models.moe import MoEConfig
from mm1.train.optimizer import OptimizerConfig
from mm1.train.schedule import ScheduleConfig
from mm1.train.stage import StageConfig

VOCAB_SIZE = 1024
SEQ_LEN = 256
ROWS = 4
IMAGE_SIZE = 48

IMAGE_ENCODER = ImageEncoderConfig(
    image_size=IMAGE_SIZE, patch_size=8, dim=96, num_layers=3, num_heads=4, mlp_dim=384, stem="conv"
)
DECODER = DecoderConfig(vocab_size=VOCAB_SIZE, dim=128, num_layers=4, num_heads=4, mlp_dim=512, smeared_keys=True)
ATTENTION_POOL = AttentionPoolConfig(num_image_tokens=4, num_heads=4)


def tiny() -> RecipeConfig:
    """The default, with the connector that three seeds favour (docs/log.md)."""
    return _tiny("tiny", ATTENTION_POOL)


def tiny_avgpool() -> RecipeConfig:
    """`tiny` with average pooling."""
    return _tiny("tiny-avgpool", AvgPoolConfig(num_image_tokens=4))


def tiny_c_abstractor() -> RecipeConfig:
    """`tiny` with a C-Abstractor of one block on either side of the pool."""
    return _tiny("tiny-c-abstractor", CAbstractorConfig(num_image_tokens=4, hidden_dim=128, depth=1))


def tiny_aim() -> RecipeConfig:
    """`tiny` with an image encoder that learned by predicting pixels, and no captions: AIM's, in small."""
    base = tiny()
    encoder = ImageEncoderConfig(
        image_size=IMAGE_SIZE,
        patch_size=8,
        dim=96,
        num_layers=3,
        num_heads=4,
        mlp_dim=384,
        bias=False,
        stem_bias=True,
        stem_norm=True,
        positions="sincos",
        norm_eps=1e-6,
    )
    model = MM1Config(decoder=DECODER, image_encoder=encoder, connector=ATTENTION_POOL)
    pixels = _encoder().replace(
        model=AIMConfig(image_encoder=encoder, head_dim=96, head_depth=2), objective="autoregressive_pixels"
    )
    return base.replace(name="tiny-aim", encoder=pixels, pretrain=_pretrain(model), sft=_sft(model))


def tiny_moe() -> RecipeConfig:
    """`tiny` with four experts in every second layer of the decoder, of which a token visits two."""
    decoder = DECODER.replace(moe=MoEConfig(num_experts=4, top_k=2, every=2))
    return _tiny("tiny-moe", ATTENTION_POOL, decoder)


def _tiny(name: str, connector: ConnectorConfig, decoder: DecoderConfig = DECODER) -> RecipeConfig:
    model = MM1Config(decoder=decoder, image_encoder=IMAGE_ENCODER, connector=connector)
    return RecipeConfig(
        name=name,
        prepare=PrepareConfig(sources=_sources(), vocab_size=VOCAB_SIZE),
        encoder=_encoder(),
        language=_language(decoder),
        pretrain=_pretrain(model),
        sft=_sft(model),
        eval=EvalConfig(
            world=WorldTasksConfig(num_episodes=200), naming=NamingTasksConfig(num_episodes=120), shots=(0, 4, 8)
        ),
    )


def _sources() -> tuple[SyntheticConfig | EmbeddedConfig, ...]:
    def world(page: PageKind, num_documents: int, least: int = 1, most: int = 1, pages: int = 1) -> SyntheticConfig:
        return SyntheticConfig(
            name=page, page=page, num_documents=num_documents, num_items=(least, most), num_pages=(1, pages)
        )

    def chat(page: PageKind, num_documents: int, least: int, most: int) -> SyntheticConfig:
        return world(page, num_documents, least, most).replace(name=f"chat_{page}", chat=True)

    return (
        world("contrasts", 8000, 4, 4),
        world("captions", 16000),
        world("alt_texts", 5000),
        EmbeddedConfig(name="pictures", part="captions"),
        world("binding", 4000, 3, 12),
        world("listing", 1500, 2, 10),
        world("questions", 2000, 1, 9),
        SyntheticConfig(name="galleries", page="captions", num_documents=1500, num_items=(2, 9)),
        world("stories", 1000, 2, 5),
        EmbeddedConfig(name="picture_galleries", part="galleries", num_documents=800, num_items=(2, 9)),
        EmbeddedConfig(name="pages", part="pages"),
        world("sums", 2000, 1, 9),
        world("facts", 2000, 1, 9),
        world("copying", 3000, 1, 8, pages=4),
        world("reading", 3000, 1, 4, pages=4),
        world("told_binding", 3000, 3, 12),
        EmbeddedConfig(name="text", part="text"),
        chat("captions", 800, 1, 2),
        chat("questions", 1200, 1, 4),
        chat("sums", 300, 1, 4),
        chat("reading", 300, 1, 4),
        EmbeddedConfig(name="chat_pictures", part="chat", num_documents=800, num_items=(1, 3)),
    )


def _group(name: str, weight: float, **sources: float) -> GroupConfig:
    return GroupConfig(
        name=name,
        weight=weight,
        sources=tuple(SourceConfig(name=source, weight=share) for source, share in sources.items()),
    )


_TEXT = {"sums": 0.25, "facts": 0.15, "copying": 0.15, "reading": 0.2, "told_binding": 0.2, "text": 0.05}


def _data(*groups: GroupConfig, rows: int = ROWS, max_images: int = 40) -> DataConfig:
    """Up to 40 images a sequence, not the paper's 16, which at 4 tokens each would leave many positions empty."""
    return DataConfig(
        mixture=MixtureConfig(groups=groups), seq_len=SEQ_LEN, rows=rows, max_images=max_images, image_size=IMAGE_SIZE
    )


def _muon(learning_rate: float, **scales: float) -> OptimizerConfig:
    return OptimizerConfig(
        kind="muon", learning_rate=learning_rate, weight_decay=0.05, learning_rate_scales=scales, frozen=()
    )


_SCHEDULE = ScheduleConfig(shape="constant_then_linear", warmup_steps=30, final_fraction=0.02)


def _encoder() -> StageConfig:
    text_tower = DecoderConfig(vocab_size=VOCAB_SIZE, dim=64, num_layers=2, num_heads=4, mlp_dim=256, smeared_keys=True)
    return StageConfig(
        model=CLIPConfig(image_encoder=IMAGE_ENCODER, text_tower=text_tower, embed_dim=128),
        objective="contrastive",
        data=_data(_group("captions", 1.0, contrasts=0.65, pictures=0.35), rows=6, max_images=16),
        optimizer=_muon(2e-3),
        schedule=_SCHEDULE,
        steps=800,
    )


def _language(decoder: DecoderConfig) -> StageConfig:
    return StageConfig(
        model=MM1Config(decoder=decoder),
        objective="next_token",
        data=_data(_group("text", 1.0, **_TEXT)),
        optimizer=_muon(3e-3),
        schedule=_SCHEDULE,
        steps=600,
    )


def _pretrain(model: MM1Config) -> StageConfig:
    return StageConfig(
        model=model,
        objective="next_token",
        data=_data(
            _group(
                "interleaved", 0.45, binding=0.35, listing=0.13, questions=0.17, galleries=0.1, stories=0.05,
                picture_galleries=0.1, pages=0.1,
            ),
            _group("captions", 0.45, captions=0.48, alt_texts=0.12, pictures=0.4),
            _group("text", 0.10, **_TEXT),
        ),
        optimizer=_muon(3e-3, image_encoder=0.1, connector=2.0),
        schedule=_SCHEDULE,
        steps=1600,
        init={"image_encoder": "encoder", "decoder": "language"},
    )  # fmt: skip


def _sft(model: MM1Config) -> StageConfig:
    return StageConfig(
        model=model,
        objective="next_token",
        data=_data(
            _group(
                "instructions", 1.0, chat_captions=0.3, chat_questions=0.35, chat_sums=0.1, chat_reading=0.1,
                chat_pictures=0.15,
            )
        ),
        optimizer=_muon(1e-3, image_encoder=0.1),
        schedule=_SCHEDULE,
        steps=150,
        init={"": "pretrain"},
    )  # fmt: skip
