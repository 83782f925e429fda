"""Text with placeholders and its pictures, or a chat, to what the model takes.

    processor = AutoProcessor.from_pretrained(folder)
    processor(images=[a, b], text="<|image|> left <|image|> right")
    processor.apply_chat_template(messages, tokenize=True, return_dict=True, add_generation_prompt=True)

    "<|image|> left"  →  the image's id num_image_tokens × sub-images times, then the text's ids

A text given as it is, is a prompt: what spells a special token is that token. What people write belongs into the
messages of a chat, where it stays text. Knows nothing of models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import ProcessorMixin
from transformers.image_utils import make_flat_list_of_images
from transformers.processing_utils import MultiModalData

from mm1.config import UserError
from mm1.hf.remote_code import PROCESSOR_AUTO_MAP, write_remote_code


class MM1Processor(ProcessorMixin):  # type: ignore[misc]
    """An image processor and a tokenizer that know of each other.

    Attributes:
        num_image_tokens: positions that a sub-image takes.
        image_token, image_token_id: the placeholder.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        num_image_tokens: int = 0,
        chat_template: str | None = None,
    ) -> None:
        self.num_image_tokens = num_image_tokens
        self.image_token: str = tokenizer.image_token
        self.image_token_id: int = tokenizer.image_token_id
        self.auto_map = dict(PROCESSOR_AUTO_MAP)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    @property
    def unused_input_names(self) -> list[str]:
        return ["num_sub_images"]

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **kwargs: Any) -> str:
        """What the placeholder of a picture becomes."""
        return self.image_token * (self.num_image_tokens * int(image_inputs["num_sub_images"][image_idx]))

    def validate_inputs(self, images: Any = None, text: Any = None, **kwargs: Any) -> None:
        """As transformers', but row by row where the images say which row they are of.

        Raises:
            UserError: images and placeholders differ in number, or rows of images and texts.
        """
        if isinstance(text, list):
            places = [sample.count(self.image_token) for sample in text]
            if isinstance(images, list) and any(isinstance(row, list) for row in images):
                if len(images) != len(text):
                    raise UserError(f"there are {len(text)} texts, but {len(images)} rows of images: give each its own")
                counts = [len(row) for row in images]
                for row, (given, wanted) in enumerate(zip(counts, places, strict=True)):
                    if given != wanted:
                        raise UserError(_mismatch(f"text {row} (counted from 0)", wanted, given, self.image_token))
                given = sum(counts)
            else:
                given = 0 if images is None else len(make_flat_list_of_images(images))
            if given != sum(places):
                raise UserError(_mismatch("the text", sum(places), given, self.image_token))
        super().validate_inputs(images=images, text=text, **kwargs)

    def _get_num_multimodal_tokens(self, image_sizes: Any = None, **kwargs: Any) -> MultiModalData:
        """How many positions, and how many rows of `pixel_values`, pictures of sizes (height, width) take: for vLLM."""
        if image_sizes is None:
            return MultiModalData()
        sub_images = self.image_processor.num_sub_images(image_sizes)
        return MultiModalData(
            num_image_tokens=[self.num_image_tokens * count for count in sub_images], num_image_patches=sub_images
        )

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> Any:
        """As transformers', and with the code that opens the folder."""
        written = super().save_pretrained(save_directory, *args, **kwargs)
        write_remote_code(Path(save_directory))
        return written

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoProcessor") -> None:
        """Nothing: transformers would copy this file where `write_remote_code` puts its own."""


def _mismatch(where: str, places: int, images: int, token: str) -> str:
    return f"{where} has {places} '{token}', but there are {images} images for it: give one for each"
