"""mm1: from web pages to an evaluated, few-shot-capable multimodal language model."""

__version__ = "0.1.0"
