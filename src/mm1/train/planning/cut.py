"""Cuts a model into pieces and traces each: forward, backward, parameters, state of the optimizer.

    cut(stage, rows=1, trace=TraceConfig())        # what each costs on one row of full sequences

A row is one document of `seq_len` positions with as many images as it may hold, all its text counts toward the loss.
Knows nothing of hardware or of how a model is spread over it.
"""

from __future__ import annotations

import functools
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
from mm1.train.optimizer import OptimizerConfig
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

    def image_pieces(self) -> list[Piece]:
        """Image encoder and connector."""
        config, connector = self._model.image_encoder, self._model.connector
        assert config is not None
        assert connector is not None
        images, grid = self._batch.images, config.image_size // config.patch_size
        # What is no block is gathered in float32.
        encoder = _shell(lambda: ImageEncoder(config.replace(num_layers=1, num_layers_used=None)))
        whole = config.depth == config.num_layers
        if not whole:
            encoder.post_norm = nn.Identity()
        encoder.blocks = nn.ModuleList()
        carries = not self._is_frozen("image_encoder")
        tokens = self._hidden(len(images), config.num_patches + config.class_token, config.dim, carries=carries)
        features = self._hidden(len(images), grid, grid, config.dim, carries=carries)
        block = _shell(lambda: EncoderBlock(config), self._dtype)
        bridge = _shell(lambda: build_connector(connector, config.position_grid, config.dim, self._model.decoder.dim))
        pairs = _pairs(len(images), config.num_heads, tokens.shape[1]) if self._trace.fused_attention else frozenset()
        return [
            self._piece("image_encoder", "stem", encoder, lambda: [encoder(encoder.normalise(images))], [images]),
            self._piece(
                "image_encoder", "block", block, lambda: [block(tokens)], [tokens],
                repeats=config.depth, is_block=True, pairs=pairs,
            ),
            self._piece("connector", "connector", bridge, lambda: [bridge(features)], [features]),
        ]  # fmt: skip

    def decoder_pieces(self) -> list[Piece]:
        """From the embedding to the loss."""
        config, batch = self._model.decoder, self._batch
        # The matrices outside the blocks are gathered in float32.
        decoder = _shell(lambda: Decoder(config.replace(num_layers=1, moe=None)))
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
        hidden = self._hidden(*batch.tokens.shape, config.dim)
        rotary = Rotary.from_positions(batch.positions, config.dim_per_head, config.rope_theta, config.rope_scaling)
        if config.sliding_window is not None:
            mask = mask.within(config.sliding_window)
        self._make_pairs(mask)
        rows, length = batch.tokens.shape
        pairs = _pairs(rows, config.num_heads, length) if self._trace.fused_attention else frozenset()
        sparse = [config.moe is not None and config.moe.is_sparse(layer) for layer in range(config.num_layers)]
        found = []
        for is_sparse in (False, True):
            if is_sparse not in sparse:
                continue
            layer = sparse.index(is_sparse)
            block = _shell(functools.partial(Block, config, layer), self._dtype)
            for experts in block.modules():
                if isinstance(experts, GroupedLinear):  # whatever this machine's PyTorch can do
                    experts.forward = functools.partial(_grouped_product, experts)  # type: ignore[method-assign]

            def run(block: Block = block) -> list[Tensor]:
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
        own = nn.ModuleList([decoder.norm, *([decoder.head] if decoder.head is not None else [])])
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

    def _is_frozen(self, part: str) -> bool:
        return part in self._stage.optimizer.frozen

    def _hidden(self, *size: int, carries: bool = True) -> Tensor:
        """What comes out of the piece before, with a gradient if it `carries` one."""
        return torch.empty(*size, requires_grad=carries)

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
        if self._is_frozen("decoder" if part == "output" else part):
            module.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._trace.bf16):
            cost = Recorder(pairs).run(run, [*existing, *module.parameters()])
        sparse = [layer for layer in module.modules() if isinstance(layer, GroupedLinear)]
        hidden = bool(about.get("is_block", False)) or part == "connector"
        matrices = _muon(module, self._stage.optimizer, hidden)
        return Piece(
            part=part,
            name=name,
            repeats=about.pop("repeats", 1),
            cost=cost,
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            experts=sum(layer.weight.numel() for layer in sparse),
            trained=sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad),
            matrices=matrices,
            state=_state(module, self._stage.optimizer, matrices),
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


def _shell(build: Callable[[], M], dtype: torch.dtype = torch.float32) -> M:
    """What `build` makes, its matrices in `dtype` and all without data: drawing initial ones would ask for some."""
    with _disable_current_modes(), torch.device("meta"):
        module = build()
        for parameter in module.parameters():
            if parameter.ndim >= 2:
                parameter.data = parameter.data.to(dtype)
    return module.to_empty(device="cpu")


def _grouped_product(layer: GroupedLinear, rows: Tensor, counts: Tensor) -> Tensor:
    """`GroupedLinear.forward` by the one kernel that does not ask how many rows each expert has."""
    dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else layer.weight.dtype
    ends = counts.cumsum(0, dtype=torch.int32)
    product: Tensor = torch._grouped_mm(rows.to(dtype).contiguous(), layer.weight.to(dtype).contiguous(), offs=ends)
    return product


def _pairs(batch: int, heads: int, length: int) -> frozenset[int]:
    """The size of a matrix of all pairs of every head."""
    return frozenset({batch * heads * length * length})


def _muon(module: nn.Module, config: OptimizerConfig, hidden: bool) -> tuple[tuple[int, int], ...]:
    if config.kind != "muon" or not hidden:
        return ()
    named = module.named_parameters()
    return tuple(
        (parameter.shape[0], parameter.shape[1])
        for name, parameter in named
        if parameter.ndim == 2 and parameter.requires_grad and name.endswith(".weight") and "router" not in name
    )


def _state(module: nn.Module, config: OptimizerConfig, matrices: tuple[tuple[int, int], ...]) -> int:
    """Bytes: AdamW keeps two averages, Muon one, Adafactor a row and a column of every large matrix; all in float32."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if config.kind != "adafactor":
        return FLOAT32 * (2 * sum(one.numel() for one in trained) - sum(rows * columns for rows, columns in matrices))
    factored = [one for one in trained if one.ndim >= 2 and min(one.shape[-2:]) >= config.factor_from]
    sides = sum(one.numel() // one.shape[-1] + one.numel() // one.shape[-2] for one in factored)
    return FLOAT32 * (sum(one.numel() for one in trained) - sum(one.numel() for one in factored) + sides)


def _tensors(batch: Batch) -> list[Tensor]:
    return [batch.tokens, batch.positions, batch.segment_ids, batch.targets, batch.target_index, batch.source_ids]
