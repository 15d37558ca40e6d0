"""When the fast path may stand in for a protected model, and when it is built."""

from __future__ import annotations

import copy
import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_globals

from holdfast.abft.events import Guard
from holdfast.abft.fused.chain import fast_chains
from holdfast.abft.fused.layer import FusedLayer
from holdfast.abft.fused.program import Program
from holdfast.abft.fused.state import hooks
from holdfast.abft.fused.trace import settled, trace
from holdfast.abft.layers import ProtectedLayer
from holdfast.kernels import native


def build(model: nn.Module, guard: Guard) -> Program | str:
    """The program of a protected ``model`` in eval mode, or in words why there is none."""
    kernels = native.load()
    if kernels is None:
        return "the native core is not there"
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "this torch has no oneDNN"
    try:
        graph = trace(model)
    except Exception as error:  # a model may raise anything when its flow depends on values
        return f"torch.fx cannot trace it ({type(error).__name__}: {error})"
    chains = settled(fast_chains(graph, model), graph, model)
    if not chains:
        return "no convolution or Linear that it can compute"
    return Program(model, graph, chains, guard, kernels)


class FastPath:
    """The fast path of one protected model, built at the first call that can use it.

    It is no part of the model's state: a copied or unpickled model builds its own.
    """

    def __init__(self, model: nn.Module, guard: Guard) -> None:
        self._model, self._guard = model, guard
        self._lock = threading.Lock()
        self.drop()

    def drop(self) -> None:
        """Forget what was built: the model has changed."""
        self.program: Program | None = None
        self.reason = "not built yet"
        """Why there is no program."""
        self._tried = False

    def applies(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether this call can take the fast path; builds it if need be."""
        if kwargs or not args or self._guard.tap is not None or not all(map(_plain, args)):
            return False
        if (
            torch.is_autocast_enabled("cpu")
            or torch.compiler.is_compiling()
            or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
            or torch._C._len_torch_dispatch_stack()
            or torch._C._len_torch_function_stack()
            or torch.get_float32_matmul_precision() != "highest"
            or not torch.backends.mkldnn.enabled
        ):
            return False
        if torch.is_grad_enabled() and (
            any(x.requires_grad for x in args) or any(p.requires_grad for p in self._model.parameters())
        ):
            return False
        if not self._tried:
            self._build()
        program = self.program
        return program is not None and len(args) == program.inputs and not any(self._other_hooks)

    def __call__(self, *args: Tensor) -> Any:
        """What the model returns. Only where ``applies``. Raises FaultError, InputDamaged."""
        program = self.program
        assert program is not None
        wary = any(self._chain_hooks) or [t._version for t in self._tensors] != self._versions
        return program(*args, wary=wary)

    def _build(self) -> None:
        with self._lock:
            if self._tried:
                return
            if _damaged(self._model):
                return  # the modules will find and repair it
            with torch.inference_mode(False), torch.no_grad():
                built = build(self._model, self._guard)
            if isinstance(built, str):
                self.reason = built
            else:
                self._watch(built)
                self.program, self.reason = built, ""
            self._tried = True

    def _watch(self, program: Program) -> None:
        inside = {module for layer in program.layers for module in layer.chain.modules}
        others = [module for module in self._model.modules() if module not in inside]
        self._chain_hooks = hooks(inside)
        self._other_hooks = [
            *hooks(module for module in others if not program.runs(module)),
            module_globals._global_forward_hooks,
            module_globals._global_forward_pre_hooks,
        ]
        states = [layer.state for layer in program.layers]
        self._tensors = [tensor for state in states for tensor in state.tensors]
        self._versions = [version for state in states for version in state.versions]

    def verify_weights(self, *, repair: bool = True) -> list[str]:
        """Compare the packed copies with what was packed; names of the layers whose copy is damaged."""
        layers = [] if self.program is None else self.program.layers
        damaged = [layer.name for layer in layers if not layer.packed.intact()]
        if repair:
            for layer in layers:
                if layer.name in damaged:
                    layer.drop_packed()
        return damaged

    @property
    def packed_bytes(self) -> int:
        """Size of the packed copies, in bytes."""
        layers = [] if self.program is None else self.program.layers
        return sum(layer.packed.bytes for layer in layers)

    def layer(self, name: str) -> FusedLayer | None:
        """The FusedLayer of the protected layer ``name``; None where that is not on the fast path."""
        layers = [] if self.program is None else self.program.layers
        return next((layer for layer in layers if layer.name == name), None)

    def weights(self, name: str) -> FusedLayer | None:
        """What computes in place of the weight of the layer ``name``; None where that is not here."""
        if not self._tried:
            self._build()
        return self.layer(name)

    def __deepcopy__(self, memo: dict[int, Any]) -> FastPath:
        return FastPath(copy.deepcopy(self._model, memo), copy.deepcopy(self._guard, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return FastPath, (self._model, self._guard)


def _plain(x: object) -> bool:
    return (
        type(x) is Tensor
        and x.dtype is torch.float32
        and x.is_cpu
        and x.numel() > 0
        and x.layout is torch.strided
    )


def _damaged(model: nn.Module) -> bool:
    """Whether a weight is not as it was protected: nothing may be derived from it then."""
    keepers = [m.keeper for m in model.modules() if isinstance(m, ProtectedLayer) and m.keeper is not None]
    return bool(keepers) and bool(keepers[0].damaged())
