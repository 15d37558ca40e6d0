"""Faults on the fast path: in what computes, in feature maps, in weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from holdfast import protect
from holdfast.abft.fused import FastPath
from holdfast.abft.protect import Protected
from holdfast.core.errors import FaultError, InputDamaged

from .test_fast_path import _batch, _close


@pytest.fixture
def fast(model: nn.Module) -> tuple[Protected, FastPath, Tensor, Tensor]:
    protected = protect(model)
    path = FastPath(protected.fault_site, protected.guard)
    x = _batch(4)
    with torch.inference_mode():
        assert path.applies((x,), {})
        return protected, path, x, path(x).clone()


def _strike_once(layer: Any, damage: Callable[[Tensor], None]) -> None:
    """Let ``damage`` happen to the layer's next product only."""
    multiply = layer.multiply

    def struck(x: Tensor) -> Tensor:
        layer.multiply = multiply
        out = multiply(x)
        damage(out)
        return out

    layer.multiply = struck


LAYERS = ("0", "4.a", "4.b", "4.c", "4.d", "5.conv1", "5.conv2", "5.down.0", "6.conv2", "9", "12")
DAMAGES: dict[str, Callable[[Tensor], None]] = {
    "one": lambda out: out.view(-1)[out.numel() // 2 : out.numel() // 2 + 1].add_(50.0),
    "nan": lambda out: out.view(-1)[:1].fill_(math.nan),
    "inf": lambda out: out.view(-1)[-1:].fill_(math.inf),
    "1e30": lambda out: out.view(-1)[-1:].fill_(1e30),
    "row": lambda out: out[1].add_(7.0),
    "column": lambda out: out[:, 2].add_(7.0),
    "everything": lambda out: out.mul_(3.0),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", LAYERS)
@torch.inference_mode()
def test_damaged_outputs_are_corrected(
    fast: tuple[Protected, FastPath, Tensor, Tensor], name: str, damage: str
) -> None:
    protected, path, x, expected = fast

    def memory(out: Tensor) -> Tensor:
        return out.permute(0, 2, 3, 1) if out.dim() == 4 else out

    strike = DAMAGES[damage]
    in_memory = damage not in ("row", "column", "everything")
    _strike_once(path.layer(name), lambda out: strike(memory(out) if in_memory else out))
    assert _close(path(x), expected)
    assert [(event.layer, event.corrected) for event in protected.events] == [(name, True)]
    protected.clear_events()
    assert torch.equal(path(x), expected), "nothing stays behind"
    assert not protected.events


@pytest.mark.parametrize("name", ["0", "5.conv2", "12"])
@torch.inference_mode()
def test_raise_and_record(model: nn.Module, name: str) -> None:
    x = _batch(2)
    for on_fault in ("raise", "record"):
        protected = protect(model, on_fault=on_fault)  # type: ignore[arg-type]
        path = FastPath(protected.fault_site, protected.guard)
        assert path.applies((x,), {})
        expected = path(x)
        _strike_once(path.layer(name), lambda out: out[0, 1].add_(100.0))
        if on_fault == "raise":
            with pytest.raises(FaultError, match=f"layer '{name}'"):
                path(x)
        else:
            assert not _close(path(x), expected)
        assert [(event.layer, event.corrected) for event in protected.events] == [(name, False)]


@pytest.mark.parametrize("n", [1, 4])
@torch.inference_mode()
def test_a_feature_map_damaged_before_it_is_convolved(model: nn.Module, n: int) -> None:
    """The sum was carried from the pass that made it, so a fault after that is seen, also at batch 1."""
    protected = protect(model)
    path = FastPath(protected.fault_site, protected.guard)
    x = _batch(n)
    assert path.applies((x,), {})
    expected = path(x)
    layer = path.layer("5.conv2")  # nothing but this layer reads its input
    multiply = layer.multiply

    def struck(d: Tensor) -> Tensor:
        layer.multiply = multiply
        d[0, 3, 1, 1] = 40.0
        return multiply(d)

    layer.multiply = struck
    assert _close(path(x), expected)
    assert [(event.layer, event.corrected) for event in protected.events] == [("5.conv2", True)]


@pytest.mark.parametrize("block", ["5", "6"])
@pytest.mark.parametrize("n", [1, 4])
@torch.inference_mode()
def test_a_damaged_residual_wants_the_model_run_again(model: nn.Module, n: int, block: str) -> None:
    protected = protect(model)
    path = FastPath(protected.fault_site, protected.guard)
    x = _batch(n)
    assert path.applies((x,), {})
    expected = path(x)
    residuals: list[Tensor] = []
    down, conv = path.layer(f"{block}.down.0"), path.layer(f"{block}.conv2")
    run = down.run

    def keep(*args: Any) -> Tensor:
        down.run = run
        residuals.append(run(*args))
        return residuals[0]

    down.run = keep
    _strike_once(conv, lambda _: residuals[0][0, 5, 0, :1].add_(1e-3))
    with pytest.raises(InputDamaged, match=rf"added in layer '{block}\.conv2'"):
        path(x)
    assert [(event.layer, event.action) for event in protected.events] == [(f"{block}.conv2", "raised")]
    assert torch.equal(path(x), expected)


@pytest.mark.parametrize("on_fault", ["correct", "raise", "record"])
@pytest.mark.parametrize("n", [1, 4])
@torch.inference_mode()
def test_what_a_linear_reads_is_verified_where_its_kernels_cancel(n: int, on_fault: str) -> None:
    """Σ_m W_m = 0: whatever happens to D, Co5 stays as it is."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 10))
    model[2].weight[5:] = -model[2].weight[:5]  # type: ignore[index, operator]
    protected = protect(model.eval(), on_fault=on_fault)  # type: ignore[arg-type]
    x = torch.randn(n, 24)
    for _ in range(2):
        expected = protected(x).clone()
    assert protected.fast is not None
    layer = protected.fast.layer("2")
    assert layer is not None
    assert not layer.cw1.any()
    assert not protected.events
    multiply = layer.multiply

    def struck(d: Tensor) -> Tensor:
        layer.multiply = multiply  # type: ignore[method-assign]
        d[-1, 7] += 3.0
        return multiply(d)

    layer.multiply = struck  # type: ignore[method-assign]
    if on_fault == "raise":
        with pytest.raises(FaultError, match="read by layer '2'"):
            protected(x)
    else:
        assert torch.equal(protected(x), expected) == (on_fault == "correct")
    action = {"correct": "rerun", "raise": "raised", "record": "recorded"}[on_fault]
    assert [(event.layer, event.action) for event in protected.events] == [("2", action)]
    protected.clear_events()
    assert torch.equal(protected(x), expected)
    assert not protected.events


@pytest.mark.parametrize("name", ["0", "4.a", "5.down.0", "9"])
@torch.inference_mode()
def test_a_damaged_packed_weight_is_found_and_packed_again(
    fast: tuple[Protected, FastPath, Tensor, Tensor], name: str
) -> None:
    protected, path, x, expected = fast
    layer = path.layer(name)
    before = layer.packed_weight()
    index = (1, *(size // 2 for size in before.shape[1:]))
    layer.damage_packed_weight(index, 0x42C80000)  # 100.0
    damaged = layer.packed_weight()
    assert damaged[index] == 100.0
    assert int((damaged != before).sum()) == 1
    assert path.verify_weights(repair=False) == [name]
    assert _close(path(x), expected)
    assert [(event.layer, event.corrected) for event in protected.events] == [(name, True)]
    assert path.verify_weights() == []
    assert torch.equal(layer.packed_weight(), before)
    layer.damage_packed_weight(index, 0x42C80000)
    assert path.verify_weights() == [name]
    assert path.verify_weights() == []
    assert torch.equal(path(x), expected)


@torch.inference_mode()
def test_a_damaged_checksum_is_discarded(fast: tuple[Protected, FastPath, Tensor, Tensor]) -> None:
    protected, path, x, expected = fast
    layer = path.layer("5.conv2")
    run = layer.run

    def struck(*args: Any) -> Tensor:
        d, source = args[0], args[2]
        source.total((*d.shape[2:], d.shape[1]), len(d))[1, 1, 3] += 9.0
        return run(*args)

    layer.run = struck
    assert torch.equal(path(x), expected)
    assert [event.layer for event in protected.events] == ["5.conv2"]
    assert protected.events[0].scheme == "checksums discarded"
