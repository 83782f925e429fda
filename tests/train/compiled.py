"""Compiled blocks against plain ones over six steps; started by test_blocks.py, whose type checks would compile.

python tests/train/compiled.py FOLDER BACKEND…      # counting, aot_eager, inductor; writes FOLDER/compiled.json
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch._dynamo.utils import counters

from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.train.blocks import checkpoint_blocks, compile_blocks
from mm1.train.microbatch import trimmed
from mm1.train.objectives import build_objective
from mm1.types import Batch

CASES = {"mm1": ("none", "selective", "full"), "moe": ("none", "full"), "aim": ("none",)}


def _tiny() -> Any:
    specification = importlib.util.spec_from_file_location("tiny_stage", Path(__file__).with_name("tiny.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["tiny_stage"] = module
    specification.loader.exec_module(module)
    return module


tiny = _tiny()


def stage(model: str) -> Any:
    return tiny.stage(model, text_share=0.5 if model in ("mm1", "moe") else 0.0, rows=2)


def batches(config: Any, folder: Path) -> list[Batch]:
    """Those of six steps, with their padding."""
    images = config.model.num_image_tokens
    tokenizer, sources = tiny.world_of(folder, images)
    plan = build_plan(config.data, sources, images, config.objective == "contrastive")
    loader = Loader(plan, DocumentEncoder(tokenizer, images, 16), sources)
    return [loader.batch(step, 0, 1) for step in range(6)]


def trimmed_batches(folder: Path) -> list[Batch]:
    """Batches of a row, of several lengths."""
    config = stage("mm1")
    given = batches(config.replace(data=config.data.replace(seq_len=1000, rows=1, max_images=7)), folder)
    return [trimmed(batch) for batch in given]


def compare(model: str, mode: Any, backend: str, given: list[Batch]) -> dict[str, Any]:
    """Graphs after each step, breaks, and the largest difference of a loss or gradient."""
    config, graphs, seen = stage(model), [], []
    objective = build_objective(config.objective, config.loss)
    plain, compiled = config.build(), config.build()

    def counting(graph: Any, inputs: Any) -> Any:
        seen.append(graph)
        return graph

    torch._dynamo.reset()
    counters.clear()
    checkpoint_blocks(compiled, mode)
    compile_blocks(compiled, counting if backend == "counting" else backend)
    apart = 0.0
    for batch in given:
        totals = [objective(each, batch).total for each in (plain, compiled)]
        for each, total in zip((plain, compiled), totals, strict=True):
            each.zero_grad()
            total.backward()
        pairs = [(one.grad, other.grad) for one, other in zip(plain.parameters(), compiled.parameters(), strict=True)]
        differences = [float((one - other).abs().max()) for one, other in pairs if one is not None]
        apart = max(apart, abs(totals[0].item() - totals[1].item()), *differences)
        graphs.append(len(seen))
    return {"graphs": graphs, "breaks": sum(counters["graph_break"].values()), "apart": apart}


def main(folder: Path, backends: list[str]) -> None:
    found: dict[str, Any] = {}
    for model, modes in CASES.items():
        given = batches(stage(model), folder)
        found.setdefault("images", [batch.num_images for batch in given])
        for mode in modes:
            for backend in backends:
                name = f"{model} {mode}" if backends == ["counting"] else f"{model} {mode} {backend}"
                found[name] = compare(model, mode, backend, given)
    for backend in backends:
        given = trimmed_batches(folder)
        found["lengths"] = [batch.tokens.numel() for batch in given]
        found[f"trimmed {backend}"] = compare("mm1", "none", backend, given)
    (folder / "compiled.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
