"""Cuts a model into pieces and traces each: forward, backward, parameters, state of the optimizer.

    cut(stage, rows=1, trace=TraceConfig())        # what each costs on one row of full sequences

A row is one document of `seq_len` positions with as many images as it may hold, all its text counts toward the loss.
Knows nothing of hardware or of how a model is spread over it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from mm1.models.attention import AttentionMask
from mm1.models.connector import build_connector
from mm1.models.decoder import Block, Decoder, DecoderConfig, DecoderOutput
from mm1.models.experts import GroupedLinear
from mm1.models.image_encoder import EncoderBlock, ImageEncoder
from mm1.models.mm1 import MM1Config, place
from mm1.models.rotary import Rotary
from mm1.train.objectives import next_token
from mm1.train.optimizer import OptimizerConfig, ParameterRow, row_of
from mm1.train.planning.full import full_batch
from mm1.train.planning.pieces import FLOAT32, Piece, TraceConfig
from mm1.train.planning.trace import Recorder
from mm1.train.stage import StageConfig
from mm1.types import Batch

M = TypeVar("M", bound=nn.Module)


def cut(stage: StageConfig, rows: int, trace: TraceConfig) -> list[Piece]:
    """The stage's model, which is an MM1, on a microbatch of `rows` rows."""
    model = stage.model
    assert isinstance(model, MM1Config)
    with FakeTensorMode(allow_non_fake_inputs=True):
        batch = full_batch(stage, rows)
        tracer = _Tracer(stage, model, batch, trace)
        return [*(tracer.image_pieces() if model.image_encoder else ()), *tracer.decoder_pieces()]


class _Tracer:
    """Builds each piece and runs it; to be used under FakeTensorMode."""

    def __init__(self, stage: StageConfig, model: MM1Config, batch: Batch, trace: TraceConfig) -> None:
        self._stage, self._model, self._batch, self._trace = stage, model, batch, trace
        self._dtype = torch.bfloat16 if trace.working_copy and trace.bf16 else torch.float32
        self._decisions: dict[nn.Parameter, ParameterRow] = {}
        self._moves = False
        """Whether a piece so far has something that moves, so that a gradient comes to what follows."""

    def image_pieces(self) -> list[Piece]:
        """Image encoder and connector."""
        config, connector = self._model.image_encoder, self._model.connector
        assert config is not None
        assert connector is not None
        images, grid = self._batch.images, config.image_size // config.patch_size
        # What is no block is gathered in float32.
        encoder = self._make(lambda: ImageEncoder(config.replace(num_layers=1, num_layers_used=None)), "image_encoder")
        if config.depth < config.num_layers:
            encoder.post_norm = nn.Identity()
        encoder.blocks = nn.ModuleList()
        stem = self._piece("image_encoder", "stem", encoder, lambda: [encoder(encoder.normalise(images))], [images])

        block = self._make(lambda: EncoderBlock(config), "image_encoder.blocks.0", self._dtype)
        tokens = self._hidden(len(images), config.num_patches + config.class_token, config.dim, into=block)
        blocks = self._piece(
            "image_encoder", "block", block, lambda: [block(tokens)], [tokens],
            repeats=config.depth, is_block=True, pairs=self._pairs(len(images), config.num_heads, tokens.shape[1]),
        )  # fmt: skip

        features = self._hidden(len(images), grid, grid, config.dim)
        bridge = self._make(
            lambda: build_connector(connector, config.position_grid, config.dim, self._model.decoder.dim), "connector"
        )
        return [stem, blocks, self._piece("connector", "connector", bridge, lambda: [bridge(features)], [features])]

    def decoder_pieces(self) -> list[Piece]:
        """From the embedding to the loss."""
        config, batch = self._model.decoder, self._batch
        # The matrices outside the blocks are gathered in float32.
        decoder = self._make(lambda: Decoder(config.replace(num_layers=1, moe=None)), "decoder")
        features = self._hidden(len(batch.images), self._model.num_image_tokens, config.dim)
        mask = AttentionMask.from_segments(batch.segment_ids)
        has_images = self._model.image_encoder is not None

        def embed() -> list[Tensor]:
            text = decoder.embed(batch.tokens)
            self._make_pairs(mask)
            return [place(text, batch.image_index, features) if has_images else text]

        existing = [features, batch.tokens, batch.image_index] if has_images else [batch.tokens]
        found = [self._piece("decoder", "embedding", decoder.embedding, embed, existing)]
        found += self._blocks(config, mask)
        return [*found, self._output(decoder, config)]

    def _blocks(self, config: DecoderConfig, mask: AttentionMask) -> list[Piece]:
        batch = self._batch
        rotary = Rotary.from_positions(batch.positions, config.dim_per_head, config.rope_theta, config.rope_scaling)
        if config.sliding_window is not None:
            mask = mask.within(config.sliding_window)
        self._make_pairs(mask)
        rows, length = batch.tokens.shape
        pairs = self._pairs(rows, config.num_heads, length)
        sparse = [config.moe is not None and config.moe.is_sparse(layer) for layer in range(config.num_layers)]
        found = []
        for is_sparse in (False, True):
            if is_sparse not in sparse:
                continue
            layer = sparse.index(is_sparse)
            block = self._make(functools.partial(Block, config, layer), f"decoder.blocks.{layer}", self._dtype)
            hidden = self._hidden(rows, length, config.dim, into=block)
            for experts in block.modules():
                if isinstance(experts, GroupedLinear):  # whatever this machine's PyTorch can do
                    experts.forward = functools.partial(_grouped_product, experts)  # type: ignore[method-assign]

            def run(block: Block = block, hidden: Tensor = hidden) -> list[Tensor]:
                mixed, routing = block(hidden, rotary, batch.positions == 0, mask, None)
                return [mixed] if routing is None else [mixed, routing.load_balance, routing.router_z]

            found.append(
                self._piece(
                    "decoder", "sparse block" if is_sparse else "block", block, run, [hidden, *_tensors(batch)],
                    repeats=sparse.count(is_sparse), is_block=True, pairs=pairs,
                    sent_rows=rows * length * config.moe.top_k if is_sparse and config.moe else 0, width=config.dim,
                )
            )  # fmt: skip
        return found

    def _output(self, decoder: Decoder, config: DecoderConfig) -> Piece:
        hidden = self._hidden(*self._batch.tokens.shape, config.dim)
        head = _Head(decoder, hidden)
        own = nn.ModuleDict({"norm": decoder.norm, **({} if decoder.head is None else {"head": decoder.head})})
        tied = [decoder.embedding.weight] if config.tied_embeddings else []

        def run() -> list[Tensor]:
            return [next_token(head, self._batch, self._stage.loss).total]

        existing, borrowed = [hidden, *tied, *_tensors(self._batch)], sum(weight.numel() for weight in tied)
        return self._piece("output", "output", own, run, existing, borrowed=borrowed)

    def _make_pairs(self, mask: AttentionMask) -> None:
        """Makes the mask's matrix, which all layers share; where attention is fused there is none worth counting."""
        if self._trace.fused_attention:
            mask.__dict__["allowed"] = torch.ones(1, 1, 1, 1, dtype=torch.bool)
        _ = mask.allowed

    def _pairs(self, batch: int, heads: int, length: int) -> frozenset[int]:
        """The size of a matrix of all pairs of every head, where a fused kernel is planned that has none."""
        return frozenset({batch * heads * length * length}) if self._trace.fused_attention else frozenset()

    def _make(self, build: Callable[[], M], name: str, dtype: torch.dtype = torch.float32) -> M:
        """What `build` makes, called `name` in the model: without data, its matrices in `dtype`, frozen what is to be.

        Drawing initial values would ask for data.
        """
        with _disable_current_modes(), torch.device("meta"):
            module = build()
            for parameter in module.parameters():
                if parameter.ndim >= 2:
                    parameter.data = parameter.data.to(dtype)
        module = module.to_empty(device="cpu")
        for own, parameter in module.named_parameters():
            row = row_of(f"{name}.{own}", parameter, self._stage.optimizer)
            self._decisions[parameter] = row
            parameter.requires_grad_(row.optimizer != "frozen")
        return module

    def _hidden(self, *size: int, into: nn.Module | None = None) -> Tensor:
        """What comes out of the piece before; with a gradient if something there moves, or in repeats of `into`."""
        inside = () if into is None else into.parameters()
        return torch.empty(*size, requires_grad=self._moves or any(one.requires_grad for one in inside))

    def _piece(
        self,
        part: str,
        name: str,
        module: nn.Module,
        run: Callable[[], Sequence[Tensor]],
        existing: Sequence[Tensor],
        *,
        pairs: frozenset[int] = frozenset(),
        **about: Any,
    ) -> Piece:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._trace.bf16):
            cost = Recorder(pairs).run(run, [*existing, *module.parameters()])
        rows = [self._decisions[parameter] for parameter in module.parameters()]
        trained = sum(math.prod(row.shape) for row in rows if row.optimizer != "frozen")
        self._moves |= trained > 0
        return Piece(
            part=part,
            name=name,
            cost=cost,
            parameters=sum(math.prod(row.shape) for row in rows),
            experts=sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, GroupedLinear)),
            trained=trained,
            matrices=tuple((row.shape[0], row.shape[1]) for row in rows if row.optimizer == "muon"),
            state=sum(_state(row, self._stage.optimizer) for row in rows),
            **about,
        )


class _Head(nn.Module):
    """The end of a model for the objective, which takes a whole one."""

    def __init__(self, decoder: Decoder, hidden: Tensor) -> None:
        super().__init__()
        self._decoder = [decoder]
        self._hidden = hidden

    def forward(self, batch: Batch) -> DecoderOutput:
        return DecoderOutput(self._decoder[0].norm(self._hidden))

    @property
    def output_weight(self) -> Tensor:
        return self._decoder[0].output_weight


def _grouped_product(layer: GroupedLinear, rows: Tensor, counts: Tensor) -> Tensor:
    """`GroupedLinear.forward` by the one kernel that does not ask how many rows each expert has."""
    dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else layer.weight.dtype
    ends = counts.cumsum(0, dtype=torch.int32)
    product: Tensor = torch._grouped_mm(rows.to(dtype).contiguous(), layer.weight.to(dtype).contiguous(), offs=ends)
    return product


def _state(row: ParameterRow, config: OptimizerConfig) -> int:
    """Bytes: AdamW keeps two averages, Muon one, Adafactor a row and a column of every large matrix; all in float32."""
    size, shape = math.prod(row.shape), row.shape
    match row.optimizer:
        case "frozen":
            return 0
        case "adamw":
            return 2 * FLOAT32 * size
        case "muon":
            return FLOAT32 * size
        case "adafactor":
            is_factored = len(shape) >= 2 and min(shape[-2:]) >= config.factor_from
            return FLOAT32 * (size // shape[-1] + size // shape[-2] if is_factored else size)


def _tensors(batch: Batch) -> list[Tensor]:
    return [batch.tokens, batch.positions, batch.segment_ids, batch.targets, batch.target_index, batch.source_ids]
