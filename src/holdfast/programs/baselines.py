"""What a protected model is timed against: the fastest eager layout, and the compiled model."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from holdfast.core.timing import time_ms

Forward = Callable[[], Tensor]
_SLOW_MS = 300.0
LAYOUTS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}


def fastest_eager(model: nn.Module, x: Tensor) -> tuple[nn.Module, str]:
    """``model`` with norms folded and ReLUs in place, in the layout in which it runs ``x`` faster; its name.

    ``x`` (N, C, H, W). Where the model cannot be traced it is left as it is, only laid out.
    """
    lean = _in_place(_folded(copy.deepcopy(model).eval()))
    best: tuple[float, nn.Module, str] | None = None
    for name, layout in LAYOUTS.items():
        candidate = copy.deepcopy(lean).to(memory_format=layout)  # type: ignore[call-overload]
        batch = x.to(memory_format=layout)
        call = forward(candidate, batch)
        took = float(time_ms(call, 1, 1)[0])
        took = min(took, float(time_ms(call, 5 if took < _SLOW_MS else 1, 0).min()))
        if best is None or took < best[0]:
            best = (took, candidate, name)
    assert best is not None
    return best[1], best[2]


def compiled(model: nn.Module, x: Tensor) -> nn.Module:
    """``model`` by torch.compile with freezing (norms folded, epilogues fused), compiled for ``forward``.

    In another mode than inference mode it would be compiled once more, and not frozen. Needs a C++ compiler;
    raises what the compiler raises.
    """
    import torch._inductor.config as inductor

    with inductor.patch(freezing=True):
        network: nn.Module = torch.compile(copy.deepcopy(model).eval())  # type: ignore[assignment]
        call = forward(network, x)
        for _ in range(2):
            call()
    return network


def forward(model: nn.Module, x: Tensor) -> Forward:
    """A call of ``model`` on ``x`` without gradients."""

    def call() -> Tensor:
        with torch.inference_mode():
            result: Tensor = model(x)
        return result

    return call


def _folded(model: nn.Module) -> nn.Module:
    """``model`` traced, every batch norm behind a convolution folded into it."""
    try:
        traced = fx.symbolic_trace(model)
    except (fx.proxy.TraceError, TypeError, RuntimeError, NotImplementedError):
        return model
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        before = node.args[0] if node.args else None
        if not (isinstance(before, fx.Node) and node.op == before.op == "call_module"):
            continue
        norm, conv = modules[str(node.target)], modules[str(before.target)]
        once = len(before.users) == 1 and sum(n.target == before.target for n in traced.graph.nodes) == 1
        if isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d) and once:
            modules[str(before.target)] = fuse_conv_bn_eval(conv, norm)
            traced.set_submodule(str(before.target), modules[str(before.target)])
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    traced.recompile()
    traced.delete_all_unused_submodules()
    return traced.eval()


def _in_place(model: nn.Module) -> nn.Module:
    """ReLUs in place, and sums into their first operand, where nobody else reads what they overwrite."""
    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6 | nn.LeakyReLU | nn.Hardswish):
            module.inplace = True
    if isinstance(model, fx.GraphModule):
        for node in model.graph.nodes:
            if node.op != "call_function" or not node.args:
                continue
            first = node.args[0]
            alone = isinstance(first, fx.Node) and len(first.users) == 1 and first.op != "placeholder"
            if node.target in (functional.relu, torch.relu) and alone:
                node.target, node.args, node.kwargs = torch.relu_, (first,), {}
            elif node.target in (operator.add, torch.add) and alone and not node.kwargs:
                node.target = operator.iadd
        model.recompile()
    return model
