"""The code that an exported folder brings along, so that it opens with `trust_remote_code=True` and nothing imported.

    config.json            "auto_map": {"AutoModel": "modeling_mm1.MM1BaseModel", …}
    modeling_mm1.py        from mm1.hf.modeling import MM1BaseModel, …

The files only import this package, which must be installed: there is one implementation. Knows nothing of what the
classes do.
"""

from __future__ import annotations

from pathlib import Path

from mm1.files import write_atomically

MODEL_AUTO_MAP = {
    "AutoConfig": "configuration_mm1.MM1MultimodalConfig",
    "AutoModel": "modeling_mm1.MM1BaseModel",
    "AutoModelForImageTextToText": "modeling_mm1.MM1ForConditionalGeneration",
}
PROCESSOR_AUTO_MAP = {"AutoProcessor": "processing_mm1.MM1Processor"}
IMAGE_PROCESSOR_AUTO_MAP = {"AutoImageProcessor": "image_processing_mm1.MM1ImageProcessor"}


def write_remote_code(folder: Path) -> None:
    """Writes one small module for each that the auto maps name."""
    classes: dict[str, list[str]] = {}
    for reference in (*MODEL_AUTO_MAP.values(), *PROCESSOR_AUTO_MAP.values(), *IMAGE_PROCESSOR_AUTO_MAP.values()):
        module, name = reference.split(".")
        classes.setdefault(module, []).append(name)
    for module, names in classes.items():
        listed = "".join(f"    {name},\n" for name in sorted(names))
        code = (
            f'"""From the package mm1, which must be installed."""\n\n'
            f"from mm1.hf.{module.removesuffix('_mm1')} import (\n{listed})\n"
        )
        write_atomically(folder / f"{module}.py", f"{code}\n__all__ = {sorted(names)!r}\n".encode())
