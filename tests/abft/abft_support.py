"""Random layers, faults in their outputs, and the thresholds that they are judged by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from holdfast.abft import Protected, protect
from holdfast.abft.events import RUNGS
from holdfast.abft.layers import ProtectedLayer
from holdfast.abft.threshold import ROUNDOFF, Thresholds, rounding_dtype, thresholds
from holdfast.core import protocols
from holdfast.core.errors import FaultError
from holdfast.kernels import batch_sum

WITHOUT_RECOMPUTE = tuple(rung for rung in RUNGS if rung != "recompute")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


@dataclass(frozen=True)
class Case:
    """A layer in eval mode, an input for it, and its fault-free output."""

    layer: nn.Module
    x: Tensor
    seed: int

    @property
    def clean(self) -> Tensor:
        """The layer's own output."""
        with torch.no_grad():
            return self.layer(self.x).clone()

    @property
    def generator(self) -> torch.Generator:
        """Everything random about the case comes from its seed."""
        return torch.Generator().manual_seed(self.seed)


@st.composite
def cases(draw: Callable[..., Any], dtypes: tuple[torch.dtype, ...] = DTYPES) -> Case:
    """A Linear or a convolution of any kind, with random weights and a random batch of 1 to 6."""
    seed, dtype = draw(st.integers(0, 2**31)), draw(st.sampled_from(dtypes))
    dimensions = draw(st.sampled_from([0, 1, 2, 2, 3]))
    n, groups = draw(st.integers(1, 6)), draw(st.sampled_from([1, 1, 2, 3]))
    bias = draw(st.booleans())
    if not dimensions:
        layer: nn.Module = nn.Linear(draw(st.integers(1, 9)), draw(st.integers(1, 7)), bias=bias)
        middle = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
        shape: tuple[int, ...] = (n, *middle, layer.in_features)  # type: ignore[assignment]
    else:
        several = st.tuples(*[st.integers(1, 3)] * dimensions)
        channels, outputs = groups * draw(st.integers(1, 4)), groups * draw(st.integers(1, 4))
        size = draw(st.tuples(*[st.integers(5, 7 if dimensions < 3 else 5)] * dimensions))
        options = {
            "stride": draw(several),
            "dilation": draw(st.tuples(*[st.integers(1, 2)] * dimensions)),
            "padding": draw(st.tuples(*[st.integers(0, 2)] * dimensions)),
            "groups": groups,
            "bias": bias,
        }
        kernel = draw(several)
        if draw(st.booleans()):
            extra = [
                draw(st.integers(0, max(s, d) - 1))
                for s, d in zip(options["stride"], options["dilation"], strict=True)
            ]
            options["padding"] = draw(st.tuples(*[st.integers(0, 1)] * dimensions))
            layer = TRANSPOSED[dimensions - 1](
                channels, outputs, kernel, **options, output_padding=tuple(extra)
            )
        else:
            mode = draw(st.sampled_from(["zeros", "zeros", "circular", "reflect", "replicate"]))
            layer = CONVOLUTIONS[dimensions - 1](channels, outputs, kernel, **options, padding_mode=mode)
        shape = (n, channels, *size)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(shape, generator=generator) * 10 ** draw(st.sampled_from([-3.0, 0.0, 3.0]))
    return Case(layer.to(dtype).eval(), x.to(dtype), seed)


def guarded(layer: nn.Module, recompute: bool = True) -> Protected:
    """``layer`` protected, without a plan and module by module; perhaps by the ladder alone."""
    protected = protect(layer, plan=None, fuse=False)
    if not recompute:
        protected.guard.rungs = WITHOUT_RECOMPUTE
    return protected


def wrapper(protected: Protected) -> ProtectedLayer:
    """Its only layer."""
    (layer,) = protected.layers()
    return layer


def taus(protected: Protected, x: Tensor, out: Tensor) -> Thresholds:
    """τ1 … τ7 of the only layer of ``protected`` for one call."""
    layer = wrapper(protected)
    stats = batch_sum(layer.arrange(x)[0])[1]
    dtype = rounding_dtype(x, out)
    d = layer.canonical(x)
    return thresholds(layer.scale, layer.scale_by_m, d, stats, dtype)


def bound(tau: Thresholds, clean: Tensor) -> Tensor:
    """What the ladder promises of every block (N, M, 1) of a corrected position, with one rounding of it."""
    largest = torch.maximum(tau.t1[None], tau.t2[:, None])  # (N, M, 1)
    rounding = ROUNDOFF[clean.dtype] * (clean.abs().to(torch.float64) + 3 * largest + tau.t5)
    return 2 * largest + tau.t5 + rounding


def blocks(protected: Protected, out: Tensor) -> Tensor:
    """A view of ``out`` as (N, M, P)."""
    view = wrapper(protected).canonical(out)
    return view.flatten(2) if view.dim() > 2 else view[:, :, None]


def strike_once(module: nn.Module, damage: Callable[[Tensor], None]) -> None:
    """Let ``damage`` happen to the next output of ``module``, in place."""
    calls: list[int] = []

    def hook(module: nn.Module, args: Any, out: Tensor) -> None:
        if not calls:
            damage(out.detach())
        calls.append(1)

    module.register_forward_hook(hook)


def inner(protected: Protected) -> Any:
    """The original layer of a protected one: where faults go."""
    return wrapper(protected).fault_site


def assert_within(protected: Protected, out: Tensor, clean: Tensor, tau: Thresholds) -> None:
    """``out`` is ``clean`` up to the bound of the ladder."""
    got, want = blocks(protected, out).double(), blocks(protected, clean)
    allowed = bound(tau, want)
    error = (got - want.double()).abs()
    assert bool((error <= allowed).all()), (
        f"off by {float((error / allowed).nan_to_num(math.inf).max()):.3g} bounds"
    )


def run(protected: Protected, x: Tensor) -> Tensor | None:
    """The output, or None for a FaultError."""
    try:
        with torch.no_grad():
            out: Tensor = protected(x)
    except FaultError:
        return None
    return out


class Net(nn.Module):
    """A bit of everything: groups, strides, a shared layer, normalisation, a layer used by attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding="same", padding_mode="circular", bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.twice = nn.Conv2d(8, 8, 1)
        self.down = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, dilation=2, padding=2), nn.ReLU())
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = self.twice(torch.relu(self.twice(self.deep(x))))
        x = self.down(x).mean((2, 3)) * scale
        return self.head(x) / math.sqrt(self.head.in_features)


def spoil(value: float, *, once: bool = True) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
    """A forward hook that spoils one element of the output in place, as a third party's would."""
    calls: list[int] = []

    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        if not (once and calls):
            index = np.unravel_index(output.numel() // 2, output.shape)
            output.detach()[tuple(map(int, index))] = value
        calls.append(1)

    return hook


def layer_named(model: nn.Module, name: str) -> nn.Module:
    """The layer that faults go into."""
    found: nn.Module = dict(protocols.named_layers(model))[name]
    return found
