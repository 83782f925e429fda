"""What a person reads of a plan: what it takes, the layout, and where memory and time go; 80 columns do.

Knows nothing of how plans are made.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from mm1.cli import tables
from mm1.cli.tables import rounded
from mm1.train.planning.plan import Plan

GIGA = 1e9
WORDS = {
    "weights": "weights, float32",
    "gradients": "gradients, float32",
    "optimizer": "optimizer state",
    "average": "average of the weights",
    "gathered_weights": "weights gathered for work",
    "activations": "kept for the backward",
    "at_work": "the block at work",
    "batch": "batch",
    "reserve": "context, NCCL, fragments",
    "compute_image_encoder": "image encoder",
    "compute_connector": "connector",
    "compute_decoder": "decoder",
    "compute_output": "logits and loss",
    "recompute": "computed again",
    "optimizer_time": "optimizer",
    "communication": "communication that shows",
}


def show(console: Console, plan: Plan, title: str, stage: str) -> None:
    """The whole page."""
    console.print(f"{title}: {plan.asked} x {plan.gpu}")
    for line in summary(plan, stage):
        console.print(line)
    console.print()
    tables.show(console, by_part(plan), memory(plan), seconds(plan), *([travels(plan)] if travelling(plan) else []))


def summary(plan: Plan, stage: str) -> list[str]:
    """What one wants to know first."""
    layout = plan.parallel
    memory = (
        f"{plan.memory.total / GIGA:.3g} GB a device, which has {plan.capacity / GIGA:.3g}, of which a plan may take "
        f"{plan.usable / GIGA:.3g}"
    )
    return [
        f"fits: {'yes' if plan.fits else 'no, ' + plan.miss}",
        f"memory: {memory}",
        f"step: {_time(plan.step_seconds)}, {plan.tokens_per_second:,.0f} tokens/s, MFU {plan.mfu:.1%}",
        f"all {plan.steps:,} steps: {_time(plan.days * 86_400)}, {rounded(plan.tokens_per_step * plan.steps)} tokens "
        f"of {rounded(plan.tokens_per_step)} a step, {plan.days * plan.devices:,.1f} device-days",
        f"layout: {layout.replicate} copies x {layout.shard} shards, experts over {layout.experts}, microbatches of "
        f"{plan.microbatch_rows} rows x {plan.accumulation}, checkpointing {layout.activation_checkpointing}, "
        f"{'compiled' if layout.compile else 'not compiled'}",
        f"to train so: {' '.join(overrides(plan, stage))}",
        f"Every sequence is full: {plan.seq_len:,} positions in one document, {plan.images_per_sequence} images.",
    ]


def overrides(plan: Plan, stage: str) -> list[str]:
    """What is typed behind `mm1 train RECIPE`, so that it trains in the plan's layout."""
    return [f"{stage}.{assignment}" for assignment in plan.overrides]


def by_part(plan: Plan) -> Table:
    """Parameters and operations."""
    table = _table("part", "parameters", "training FLOPs a token", "share")
    counts = plan.parameters
    rows = {
        "image encoder": (counts["image_encoder"], plan.flops["image_encoder"]),
        "connector": (counts["connector"], plan.flops["connector"]),
        "decoder": (counts["decoder_non_embedding"], plan.flops["decoder"]),
        "embedding, output": (counts["decoder_embedding"], plan.flops["output"]),
    }
    for name, (parameters, flops) in rows.items():
        if parameters:
            table.add_row(
                name, rounded(parameters), rounded(flops / plan.seq_len), f"{flops / plan.flops['total']:.1%}"
            )
    total = plan.flops["total"]
    table.add_row("in all", rounded(counts["total"]), rounded(total / plan.seq_len), "", style="bold")
    table.add_row("that train", rounded(counts["trainable"]), "", "")
    if plan.recomputed_flops:
        again = plan.recomputed_flops
        table.add_row("computed again", "", rounded(again / plan.seq_len), f"+{again / total:.1%}")
    return table


def memory(plan: Plan) -> Table:
    """At the fullest moment of a step."""
    table = _table("memory of a device", "GB", "share")
    _shares(table, {name: size / GIGA for name, size in plan.memory.parts.items()})
    return table


def seconds(plan: Plan) -> Table:
    """Of a step."""
    table = _table("time of a step", "seconds", "share")
    _shares(table, {name.replace("optimizer", "optimizer_time"): one for name, one in plan.time.seconds.items()})
    return table


def travelling(plan: Plan) -> bool:
    """Whether anything is sent at all."""
    return sum(plan.traffic.bytes.values()) > 0


def travels(plan: Plan) -> Table:
    """What a device sends."""
    table = _table("sent by a device a step", "GB", "seconds if alone")
    for kind, size in plan.traffic.bytes.items():
        if size:
            table.add_row(kind.replace("_", "-"), f"{size / GIGA:,.3g}", f"{plan.traffic.seconds[kind]:.3g}")
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    table.add_column(first, no_wrap=True, min_width=26)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _shares(table: Table, values: Mapping[str, float]) -> None:
    total = sum(values.values())
    for name, value in values.items():
        if value:
            table.add_row(WORDS[name], f"{value:.3g}", f"{value / total:.1%}")
    table.add_row("in all", f"{total:.3g}", "", style="bold")


def _time(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
