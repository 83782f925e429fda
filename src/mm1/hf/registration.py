"""Makes transformers' Auto classes know `model_type` "mm1"."""

from __future__ import annotations

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageTextToText, AutoProcessor

from mm1.hf.configuration import MM1MultimodalConfig, MM1TextConfig
from mm1.hf.image_processing import MM1ImageProcessor
from mm1.hf.language_model import MM1TextModel
from mm1.hf.modeling import MM1BaseModel, MM1ForConditionalGeneration
from mm1.hf.processing import MM1Processor


def register() -> None:
    """Registers all classes; a second time changes nothing."""
    AutoConfig.register("mm1", MM1MultimodalConfig, exist_ok=True)
    AutoConfig.register("mm1_text", MM1TextConfig, exist_ok=True)
    AutoModel.register(MM1MultimodalConfig, MM1BaseModel, exist_ok=True)
    AutoModel.register(MM1TextConfig, MM1TextModel, exist_ok=True)
    AutoModelForImageTextToText.register(MM1MultimodalConfig, MM1ForConditionalGeneration, exist_ok=True)
    AutoImageProcessor.register(MM1MultimodalConfig, image_processor_classes={"pil": MM1ImageProcessor}, exist_ok=True)
    AutoProcessor.register(MM1MultimodalConfig, MM1Processor, exist_ok=True)
