"""What config.json says of an exported model, in transformers' words, with mm1's own shape inside.

    {"model_type": "mm1", "image_token_id": 2, "num_image_tokens": 144, "sub_images": {…},
     "text_config":   {"model_type": "mm1_text",   "mm1_decoder": {…}, "hidden_size": 2048, …},
     "vision_config": {"model_type": "mm1_vision", "mm1_image_encoder": {…}, "mm1_connector": {…}, …}}

`mm1_…` are mm1's configs as plain JSON, and they alone say what is built. The words beside them are derived: generic
code (caches, vLLM, parameter counts) looks for those. Knows nothing of weights.
"""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import PreTrainedConfig

from mm1.config import UserError, from_json, to_json
from mm1.data.sub_images import SubImagesConfig
from mm1.hf.remote_code import MODEL_AUTO_MAP
from mm1.models.connector import AvgPoolConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1Config

# transformers makes a config whenever it is about to save another, to leave out what is as in an untouched one.
_DECODER = to_json(DecoderConfig(vocab_size=512))
_IMAGE_ENCODER = to_json(ImageEncoderConfig())
_CONNECTOR = to_json(AvgPoolConfig(num_image_tokens=4))


class MM1TextConfig(PreTrainedConfig):  # type: ignore[misc]
    """The decoder. Says nothing of experts: vLLM would try to replace them by its own, which have other weights.

    Attributes:
        mm1_decoder: mm1's DecoderConfig.

    Raises:
        UserError: a derived word contradicts `mm1_decoder`.
    """

    model_type: ClassVar[str] = "mm1_text"
    base_config_key: ClassVar[str] = "text_config"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    mm1_decoder: dict[str, Any] | None = None
    vocab_size: int | None = None
    hidden_size: int | None = None
    intermediate_size: int | None = None
    num_hidden_layers: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    sliding_window: int | None = None
    layer_types: list[str] | None = None
    use_cache: bool = True
    tie_word_embeddings: bool | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        own = from_json(DecoderConfig, self.mm1_decoder or _DECODER, "text_config.mm1_decoder")
        self.mm1_decoder = to_json(own)
        window = own.sliding_window
        _derive(
            self,
            vocab_size=own.vocab_size,
            hidden_size=own.dim,
            intermediate_size=own.mlp_dim,
            num_hidden_layers=own.num_layers,
            num_attention_heads=own.num_heads,
            num_key_value_heads=own.kv_heads,
            head_dim=own.dim_per_head,
            sliding_window=window,
            layer_types=["full_attention" if window is None else "sliding_attention"] * own.num_layers,
            tie_word_embeddings=own.tied_embeddings,
        )
        super().__post_init__(**kwargs)

    @property
    def mm1(self) -> DecoderConfig:
        """The decoder's shape."""
        return from_json(DecoderConfig, self.mm1_decoder or {}, "text_config.mm1_decoder")


class MM1VisionConfig(PreTrainedConfig):  # type: ignore[misc]
    """The image encoder and the connector.

    Attributes:
        mm1_image_encoder: mm1's ImageEncoderConfig.
        mm1_connector: mm1's connector config, of any kind.

    Raises:
        UserError: a derived word contradicts `mm1_image_encoder`.
    """

    model_type: ClassVar[str] = "mm1_vision"
    base_config_key: ClassVar[str] = "vision_config"

    mm1_image_encoder: dict[str, Any] | None = None
    mm1_connector: dict[str, Any] | None = None
    hidden_size: int | None = None
    intermediate_size: int | None = None
    num_hidden_layers: int | None = None
    num_attention_heads: int | None = None
    image_size: int | None = None
    patch_size: int | None = None
    num_channels: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        own = from_json(ImageEncoderConfig, self.mm1_image_encoder or _IMAGE_ENCODER, "vision_config.mm1_image_encoder")
        self.mm1_image_encoder = to_json(own)
        self.mm1_connector = self.mm1_connector or _CONNECTOR
        _derive(
            self,
            hidden_size=own.dim,
            intermediate_size=own.mlp_dim,
            num_hidden_layers=own.num_layers_used or own.num_layers,
            num_attention_heads=own.num_heads,
            image_size=own.image_size,
            patch_size=own.patch_size,
            num_channels=3,
        )
        super().__post_init__(**kwargs)


class MM1MultimodalConfig(PreTrainedConfig):  # type: ignore[misc]
    """A whole MM1.

    Attributes:
        text_config: an MM1TextConfig, or its JSON.
        vision_config: an MM1VisionConfig, or its JSON.
        image_token_id: stands in `input_ids` wherever an image token stands.
        num_image_tokens: positions that a sub-image takes.
        sub_images: mm1's SubImagesConfig: how a picture becomes sub-images.

    Raises:
        UserError: a derived word contradicts what it is derived from.
    """

    model_type: ClassVar[str] = "mm1"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {"text_config": MM1TextConfig, "vision_config": MM1VisionConfig}
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    text_config: Any = None
    vision_config: Any = None
    image_token_id: int = 2
    num_image_tokens: int | None = None
    sub_images: dict[str, Any] | None = None
    tie_word_embeddings: bool | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.sub_images = to_json(from_json(SubImagesConfig, self.sub_images or {}, "sub_images"))
        _derive(
            self,
            num_image_tokens=self.mm1.num_image_tokens,
            tie_word_embeddings=self.text_config.tie_word_embeddings,
        )
        self.auto_map = dict(MODEL_AUTO_MAP)

    @staticmethod
    def of(model: MM1Config, image_token_id: int, sub_images: SubImagesConfig) -> MM1MultimodalConfig:
        """The config of an mm1 model.

        Raises:
            UserError: the model takes no images.
        """
        if model.image_encoder is None or model.connector is None:
            raise UserError("a text model can not be exported as a multimodal one: export its decoder alone")
        return MM1MultimodalConfig(
            text_config=MM1TextConfig(mm1_decoder=to_json(model.decoder)),
            vision_config=MM1VisionConfig(
                mm1_image_encoder=to_json(model.image_encoder), mm1_connector=to_json(model.connector)
            ),
            image_token_id=image_token_id,
            sub_images=to_json(sub_images),
        )

    @property
    def mm1(self) -> MM1Config:
        """The model's shape."""
        text, vision = self.text_config, self.vision_config
        parts = {
            "decoder": text.mm1_decoder,
            "image_encoder": vision.mm1_image_encoder,
            "connector": vision.mm1_connector,
        }
        return from_json(MM1Config, parts, "config.json")


def _derive(config: PreTrainedConfig, **words: Any) -> None:
    """Sets each of the words, which may stand there already but must not say anything else."""
    for name, value in words.items():
        given = getattr(config, name)
        if given is not None and given != value:
            raise UserError(
                f"{config.model_type}: {name} is {given}, but mm1's own config beside it makes it {value}: "
                f"change that one and leave {name} out"
            )
        setattr(config, name, value)
