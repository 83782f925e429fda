"""What running a piece of a model costs, by running it on tensors that have shapes and no data.

    with FakeTensorMode():                       # nothing is allocated, nothing is computed
        block, hidden = Block(config, 0), torch.empty(8, 4096, 2560, requires_grad=True)
        cost = Recorder().run(lambda: block(hidden, …)[:1], existing=[hidden, *block.parameters()])

    cost.kept              bytes that the forward leaves for the backward, its result included
    cost.forward_peak      most bytes alive in the forward beside what there was before
    cost.backward_peak     the same in the backward, gradients of weights and input included
    cost.operations        every kernel: its operations, the bytes it reads and writes, how to run it again

It is the program's own code that is traced, autocast and autograd included, so a new connector or another norm needs no
formula here. Traced is the CPU's code; where a fused attention kernel is planned for, matrices of all pairs of
positions are not counted. Knows nothing of hardware or of which piece it is given.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

Kind: TypeAlias = Literal["product", "attention", "other"]
Phase: TypeAlias = Literal["forward", "backward"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What is left of a tensor: holding on to the tensor itself would keep it alive."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One kernel of a trace."""

    kind: Kind
    """Matrix products and convolutions; those over pairs of positions, and fused attention; everything else."""
    flops: int
    bytes: int
    """Read and written."""
    result: int
    """Of them, those written; 0 for a matrix of all pairs that a fused kernel never writes."""
    float32: bool
    """Whether a product is one of float32 numbers."""
    call: Callable[..., Any]
    arguments: Any
    """Positional and named, with a Shape in the place of each tensor: enough to run it again."""


@dataclass(kw_only=True, eq=False)
class Cost:
    """What a piece costs once, forward and backward; bytes and operations."""

    kept: int
    result: int
    """Of `kept`, what comes out."""
    forward_peak: int
    backward_peak: int
    forward: list[Operation]
    backward: list[Operation]

    @property
    def operations(self) -> list[Operation]:
        return [*self.forward, *self.backward]

    def flops(self, kind: Kind, phase: Phase) -> int:
        """Operations of a kind in a phase."""
        return self._sums[kind, phase][0]

    def other_bytes(self, phase: Phase) -> int:
        """Bytes that everything but products moves in a phase."""
        return self._sums["other", phase][1]

    @cached_property
    def products(self) -> int:
        """Bytes that come out of the products and the attention of the forward: what is dear to compute again."""
        return sum(one.result for one in self.forward if one.kind != "other")

    @cached_property
    def _sums(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(operations, bytes) by kind and phase."""
        found = {}
        for phase, operations in (("forward", self.forward), ("backward", self.backward)):
            for kind in get_args(Kind):
                own = [one for one in operations if one.kind == kind]
                found[kind, phase] = sum(one.flops for one in own), sum(one.bytes for one in own)
        return found


@dataclass(slots=True)
class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches every kernel and every allocation under it."""

    pair_matrices: frozenset[int] = frozenset()
    """Numbers of elements of matrices of all pairs of positions, where a fused kernel is planned that has none."""
    live: int = 0
    peak: int = 0
    _seen: set[int] = field(default_factory=set)
    _operations: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        super(Recorder, self).__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        before = {id(tensor.untyped_storage()) for tensor in _tensors((args, options))}
        grouped = func._overloadpacket in _GROUPED
        result = _grouped_result(*args, **options) if grouped else func(*args, **options)
        made = _tensors(result)
        if not made:
            return result
        if all(id(tensor.untyped_storage()) in before for tensor in made) and not func._schema.is_mutable:
            return result  # a view
        for tensor in made:
            self._allocated(tensor)
        self._operations.append(self._operation(func, args, options, result))
        return result

    def run(self, work: Callable[[], Sequence[Tensor]], existing: Sequence[Tensor]) -> Cost:
        """Forward and backward of `work`; what it needs of memory exists already: its inputs, its parameters."""
        self._seen.update(id(tensor.untyped_storage()) for tensor in existing)
        start = self.live
        self.peak, self._operations = start, []
        with self:
            results = work()
        kept, forward_peak, forward = self.live - start, self.peak - start, self._operations
        self.peak, self._operations = self.live, []
        trained = [tensor for tensor in existing if tensor.requires_grad]
        outputs = [tensor for tensor in results if tensor.requires_grad]
        if trained and outputs:
            incoming = [torch.empty_like(tensor) for tensor in outputs]
            self._seen.update(id(tensor.untyped_storage()) for tensor in incoming)
            with self:
                torch.autograd.grad(outputs, trained, incoming, allow_unused=True)
        return Cost(
            kept=kept,
            result=sum(tensor.nbytes for tensor in results),
            forward_peak=forward_peak,
            backward_peak=self.peak - start,
            forward=forward,
            backward=self._operations,
        )

    def _allocated(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if id(storage) in self._seen or tensor.numel() in self.pair_matrices:
            return
        key, size = id(storage), storage.nbytes()
        self._seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size

    def _operation(self, func: Any, args: Any, options: dict[str, Any], result: Any) -> Operation:
        tensors = [*_tensors((args, options)), *_tensors(result)]
        count = _COUNTS.get(func._overloadpacket)
        pairs = any(tensor.numel() in self.pair_matrices for tensor in tensors)
        fused = "attention" in str(func)
        kind: Kind = "other" if count is None else "attention" if pairs or fused else "product"
        moved = 0 if pairs or func in _FREE else sum(_nbytes(tensor) for tensor in tensors)
        return Operation(
            kind=kind,
            flops=count(*args, **options, out_val=result) if count else 0,
            bytes=moved,
            result=sum(_nbytes(tensor) for tensor in _tensors(result) if tensor.numel() not in self.pair_matrices),
            float32=all(tensor.dtype != torch.bfloat16 for tensor in tensors),
            call=func,
            arguments=tree_map(_shape, (tuple(args), options)),
        )


def _grouped_flops(rows: Tensor, matrices: Tensor, *_: Any, **__: Any) -> int:
    """Of a product in groups: rows (R, I) by matrices (E, I, O), or the gradient of these, (I, R) by (R, O)."""
    return 2 * rows.numel() * matrices.shape[-1]


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Of the CPU's fused attention, which PyTorch's table lacks."""
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


def _attention_backward_flops(slope: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(slope.shape, query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


def _grouped_result(rows: Tensor, matrices: Tensor, offs: Tensor, *_: Any, **__: Any) -> Tensor:
    """Its shape; PyTorch knows it for bfloat16 only."""
    groups = offs.shape if matrices.ndim == 2 else ()
    return rows.new_empty((*groups, rows.shape[0], matrices.shape[-1]))


_GROUPED = {getattr(torch.ops.aten, name) for name in ("_grouped_mm", "grouped_mm") if hasattr(torch.ops.aten, name)}
_COUNTS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    **dict.fromkeys(_GROUPED, _grouped_flops),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}
_FREE = {torch.ops.aten.empty.memory_format, torch.ops.aten.empty_like.default, torch.ops.aten.empty_strided.default}


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _shape(value: Any) -> Any:
    return Shape(tuple(value.shape), value.stride(), value.dtype) if isinstance(value, Tensor) else value


def _nbytes(tensor: Tensor) -> int:
    """Of what is really there: an expanded tensor is read once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
