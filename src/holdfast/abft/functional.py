"""Products that a module computes itself, by torch's functions instead of layers: found once, then checked.

``attach`` runs the model once under a mode that sees every call of a torch function, and notes in whose
forward a product is computed. Those modules, and no others, get a ``ProtectedFunctions`` in front of them,
whose mode sends each product through a check; around the layers inside it the mode is put ``Aside``, so that
nothing is checked twice. A model without such products pays nothing.

Covered: ``matmul`` and ``@``, ``mm``, ``bmm``, ``mv``, ``addmm``, ``baddbmm``, ``einsum`` of two operands
where it is a batched product, ``scaled_dot_product_attention``, ``linear``, the convolutions, and
MultiheadAttention. A product that only some inputs reach, and that the first call did not, is not found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.fx._symbolic_trace import is_fx_symbolic_tracing
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from holdfast.abft import multiplications
from holdfast.abft.events import Guard
from holdfast.abft.layers import ProtectedLayer
from holdfast.abft.multiplications import Site, WeightNames
from holdfast.abft.transparent import Transparent

_Function = Callable[..., Any]


def _seen_through(function: _Function) -> _Function:
    """``function``, written in Python, without the branch that hands it as a whole to modes."""
    assert isinstance(function, FunctionType)
    names = {**function.__globals__, "has_torch_function": lambda _: False}
    twin = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


_OPENED = {
    functional.multi_head_attention_forward: _seen_through(functional.multi_head_attention_forward),
}
"""Functions that compute products by other functions of torch."""
_NOT_COVERED = {
    torch.tensordot, torch.chain_matmul, torch.linalg.multi_dot, torch.dot, torch.inner, torch.addbmm,
    torch.addmv, torch.cdist, torch.kron, functional.bilinear, torch.bilinear, torch.Tensor.inner,
    torch.Tensor.dot, torch.Tensor.addmv, torch.Tensor.addbmm,
}  # fmt: skip
"""Functions that multiply and are not checked."""


class _Mode(TorchFunctionMode):
    """Sends the products of one call of one module through their checks."""

    def __init__(self, owner: ProtectedFunctions) -> None:
        super().__init__()
        self._owner = owner
        self._calls: dict[str, int] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        opened = _OPENED.get(func)
        if opened is not None:
            with self:
                return opened(*args, **kwargs)
        check = multiplications.CHECKED.get(func)
        if check is None:
            return func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            if multiplications.why_unchecked(func, args, kwargs):
                return func(*args, **kwargs)
            name = func.__name__.strip("_")
            count = self._calls[name] = self._calls.get(name, 0) + 1
            site = self._owner.site(name if count == 1 else f"{name}.{count}")
            return check(site, *args, **kwargs)


class ProtectedFunctions(Transparent):
    """Stands in front of a module whose own forward multiplies, and checks those products."""

    def __init__(self, module: nn.Module, name: str, guard: Guard, weights: WeightNames) -> None:
        super().__init__(module)
        self.name = name
        self.guard = guard
        self._weights = weights
        self._layers: dict[Any, ProtectedLayer] = {}

    def site(self, function: str) -> Site:
        """Where a product is computed."""
        return Site(
            f"{self.name}:{function}" if self.name else function, self.guard, self._weights, self._layers
        )

    def refresh(self) -> None:
        """Take the weights as they are now for the pristine ones."""
        self._layers.clear()
        self._weights.clear()

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.refresh()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_layers": {}}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module returns."""
        if torch.compiler.is_compiling():
            return self.fault_site(*args, **kwargs)
        if is_fx_symbolic_tracing():
            raise TypeError("the products of this module are checked by a mode, which no graph contains")
        with _Mode(self):
            return self.fault_site(*args, **kwargs)


class Aside(Transparent):
    """Stands in front of a module inside a ``ProtectedFunctions`` that the mode has no business with."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module returns."""
        with _aside():
            return self.fault_site(*args, **kwargs)


class _aside:  # noqa: N801 - a context manager; one by a generator takes three times as long
    """Take the mode off the stack, if it is on top, and put it back."""

    def __enter__(self) -> None:
        self._mode: Any = None
        if torch._C._len_torch_function_stack():
            mode = torch._C._pop_torch_function_stack()
            if isinstance(mode, _Mode):
                self._mode = mode
            else:
                torch._C._push_on_torch_function_stack(mode)

    def __exit__(self, *_: Any) -> None:
        if self._mode is not None:
            torch._C._push_on_torch_function_stack(self._mode)


@dataclass(frozen=True)
class Attached:
    """What ``attach`` did: the model, and which products outside of layers are checked and which are not.

    ``found``: (module, function) that are checked from now on; ``unprotected``: (module, function and why).
    """

    model: nn.Module
    found: tuple[tuple[str, str], ...]
    unprotected: tuple[tuple[str, str], ...]


Found = dict[nn.Module, dict[_Function, str | None]]


def attach(
    model: nn.Module,
    guard: Guard,
    keeper: Any,
    args: Any = (),
    kwargs: Any = None,
    found: Found | None = None,
) -> Attached:
    """Guard the modules of ``model`` (with protected layers) that multiply themselves.

    ``found``: what ``recording`` saw; without it the model runs on ``args`` once. ``keeper`` is the model's
    ``weights.Keeper``. Changes ``model`` in place; only its root may be replaced.
    """
    if found is None:
        with recording(model) as found:
            model(*args, **(kwargs or {}))
    names = {module: _original(name) for name, module in model.named_modules(remove_duplicate=True)}
    weights = WeightNames(model, keeper)
    guarded = {
        module: ProtectedFunctions(module, names[module], guard, weights)
        for module, functions in found.items()
        if not all(functions.values())
    }
    for module in list(names):
        for name, child in _children(module):
            new = guarded.get(child, child)
            if module in guarded and not isinstance(child, nn.Identity):
                new = Aside(new)
            if new is not child:
                _replace(module, name, new)
    calls = [
        (names[module], function.__name__.strip("_"), why)
        for module, functions in found.items()
        for function, why in functions.items()
    ]
    return Attached(
        guarded.get(model, model),
        tuple((module, function) for module, function, why in calls if not why),
        tuple((module, f"{function}: {why}") for module, function, why in calls if why),
    )


def _original(name: str) -> str:
    return ".".join(part for part in name.split(".") if part and part != "fault_site")


def _children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that the forward of ``module`` can call, those in lists and dictionaries included."""
    for name, child in list(module._modules.items()):
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from ((f"{name}.{inner}", each) for inner, each in _children(child))
        elif child is not None:
            yield name, child


def _replace(module: nn.Module, name: str, new: nn.Module) -> None:
    *path, last = name.split(".")
    module.get_submodule(".".join(path))._modules[last] = new


class _Recorder(TorchFunctionMode):
    """Notes which module computes which product, in the thread that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[nn.Module] = []
        self.found: Found = {}
        self._thread = threading.get_ident()

    def enter(self, module: nn.Module, _: Any) -> None:
        """A hook: the forward of ``module`` begins."""
        if threading.get_ident() == self._thread:
            self.stack.append(module)

    def leave(self, *_: Any) -> None:
        """A hook: it has ended."""
        if threading.get_ident() == self._thread:
            self.stack.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        multiplies = func in multiplications.CHECKED or func in _OPENED or func in _NOT_COVERED
        inside = any(isinstance(module, ProtectedLayer) for module in self.stack)
        if multiplies and self.stack and not inside:
            why = "it is not covered" if func in _NOT_COVERED else None
            if func in multiplications.CHECKED:
                why = multiplications.why_unchecked(func, args, kwargs)
            self.found.setdefault(self.stack[-1], {})[func] = why
        return func(*args, **kwargs)


@contextmanager
def recording(model: nn.Module) -> Iterator[Found]:
    """While the block calls ``model``, note which of its modules compute which products."""
    recorder = _Recorder()
    with _hooked(model, recorder), recorder:
        yield recorder.found


@contextmanager
def _hooked(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(recorder.enter))
        handles.append(module.register_forward_hook(recorder.leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
