"""Layers of every kind, shape, dtype and layout: the same output, checked."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from abft_support import Net, assert_within, layer_named, spoil, taus
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from holdfast.abft import protect
from holdfast.core import protocols


def test_location_in_a_linear_layer() -> None:
    layer = nn.Linear(4, 3)
    protected = protect(layer, on_fault="record")

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output.index_put((torch.tensor(1), torch.tensor(2), torch.tensor(3)), torch.tensor(9e9))

    protocols.fault_site(protected).register_forward_hook(hook)
    protected(torch.randn(2, 5, 6, 4))
    assert protected.events[0].location == (2, 3)


def test_bit_flips_of_twice_the_threshold_are_found(net: Net, x: Tensor) -> None:
    """Every exponent and high mantissa bit of many outputs of every layer."""
    generator = torch.Generator().manual_seed(3)
    for name in ("stem", "deep", "down.0", "head"):
        protected = protect(net, on_fault="record")
        layer = layer_named(protected, name)
        change: dict[str, float] = {}

        def hook(module: nn.Module, args: Any, output: Tensor, change: dict[str, float] = change) -> Tensor:
            damaged = output.clone()
            flat = damaged.view(-1)
            index = int(torch.randint(flat.numel(), (), generator=generator))
            bits = flat[index : index + 1].view(torch.int32)
            bits ^= -(2**31) if change["bit"] == 31 else 2 ** int(change["bit"])
            change["effect"] = abs(float(flat[index].double() - output.view(-1)[index].double()))
            return damaged

        layer.register_forward_hook(hook)
        found = 0
        for bit in (16, 20, 22, *range(23, 32)):
            for _ in range(4):
                change["bit"] = bit
                protected.clear_events()
                with torch.inference_mode():
                    protected(x)
                events = [e for e in protected.events if e.layer == name]
                tau = events[0].threshold if events else 0.0
                found += bool(events)
                if not events:
                    assert bit <= 22 or change["effect"] < 1e-3
                elif math.isfinite(events[0].deviation):
                    assert events[0].deviation > tau
        assert found >= 40


CONVOLUTIONS = st.fixed_dictionaries(
    {
        "kernel_size": st.integers(1, 3),
        "stride": st.integers(1, 3),
        "padding": st.integers(0, 2),
        "dilation": st.integers(1, 2),
        "padding_mode": st.sampled_from(["zeros", "circular", "reflect", "replicate"]),
        "bias": st.booleans(),
    }
)


@settings(deadline=None, max_examples=80)
@given(
    options=CONVOLUTIONS,
    groups=st.sampled_from([1, 2, 3]),
    n=st.integers(1, 4),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    layout=st.sampled_from(["contiguous", "channels_last", "strided", "unbatched"]),
    seed=st.integers(0, 2**31),
)
def test_any_convolution(
    options: dict[str, Any], groups: int, n: int, dtype: torch.dtype, layout: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(2 * groups, 3 * groups, groups=groups, **options).to(dtype)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    x = torch.randn(n, 2 * groups, 6, 7, generator=generator).to(dtype)
    if layout == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    elif layout == "strided":
        x = torch.randn(n, 2 * groups, 12, 7, generator=generator).to(dtype)[:, :, ::2]
    elif layout == "unbatched":
        x = x[0]
    protected = protect(layer)
    with torch.no_grad():
        assert torch.equal(protected(x), layer(x))
        assert protected.events == []
        clean = layer(x)
        protected.fault_site.fault_site.register_forward_hook(spoil(math.nan))
        assert_within(protected, protected(x), clean, taus(protected, x, clean))
    assert [event.corrected for event in protected.events] == [True]


@pytest.mark.parametrize(
    "shape", [(7,), (1, 7), (4, 7), (2, 3, 7), (2, 3, 5, 7), (0, 7), (0, 3, 7), (3, 0, 7)], ids=str
)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_shapes(shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(7, 3, bias=bias)
    protected = protect(layer)
    x = torch.randn(shape)
    assert torch.equal(protected(x), layer(x))
    assert protected.events == []
    if x.numel():
        protected.fault_site.fault_site.register_forward_hook(spoil(1e6))
        torch.testing.assert_close(protected(x), layer(x))
        assert len(protected.events) == 1


def test_empty_batch(net: Net) -> None:
    assert protect(net)(torch.empty(0, 3, 9, 11)).shape == (0, 5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_change_of_dtype(net: Net, x: Tensor, dtype: torch.dtype) -> None:
    protected = protect(copy.deepcopy(net)).to(dtype)
    assert torch.equal(protected(x.to(dtype)), net.to(dtype)(x.to(dtype)))
    assert protected.events == []


def test_autocast_widens_the_threshold(net: Net, x: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(protect(net, on_fault="raise")(x), net(x))


class Masked(nn.Linear):
    """Multiplies with a masked weight, and says so by ``effective_weight``."""

    def effective_weight(self) -> Tensor:
        return self.weight * (self.weight > 0)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.effective_weight(), self.bias)


def test_masked_layers_are_protected() -> None:
    layer = Masked(6, 4)
    protected = protect(layer)
    assert protected.protected_layers == [""]
    x = torch.randn(5, 6)
    assert torch.equal(protected(x), layer(x))
    protected.fault_site.fault_site.register_forward_hook(spoil(1e6))
    torch.testing.assert_close(protected(x), layer(x))


def test_shared_layer_is_checked_at_each_use(net: Net, x: Tensor) -> None:
    protected = protect(net, on_fault="record")
    layer_named(protected, "twice").register_forward_hook(spoil(1e9, once=False))
    protected(x)
    assert [event.layer for event in protected.events if event.deviation > 1e8] == ["twice", "twice"]
