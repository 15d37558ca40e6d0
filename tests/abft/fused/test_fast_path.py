"""The fast path as a user of a protected model sees it."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from holdfast import protect
from holdfast.abft.fused import FastPath
from holdfast.abft.fused.layer import FusedLayer
from holdfast.abft.protect import Protected
from holdfast.abft.threshold import analytic


def _fast(model: nn.Module) -> tuple[Protected, FastPath]:
    protected = protect(model)
    return protected, FastPath(protected.fault_site, protected.guard)


def _batch(n: int = 3, size: int = 20, seed: int = 1) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
@torch.inference_mode()
def test_it_answers_like_the_model(model: nn.Module, n: int, layout: torch.memory_format) -> None:
    protected, fast = _fast(model)
    for size in (20, 27):
        x = _batch(n, size).to(memory_format=layout)
        assert fast.applies((x,), {}), fast.reason
        assert _close(fast(x), model(x))
        assert _close(fast(x), model(x))
    assert not protected.events
    assert fast.program is not None
    assert {layer.name for layer in fast.program.layers} == set(protected.protected_layers)


@torch.inference_mode()
def test_every_chain_is_found(model: nn.Module) -> None:
    _, fast = _fast(model)
    assert fast.applies((_batch(),), {})
    found = {layer.name: layer.chain for layer in fast.program.layers}  # type: ignore[union-attr]
    parts = {
        name: (chain.norm is not None, chain.residual is not None, chain.activation[0])
        for name, chain in found.items()
    }
    assert parts == {
        "0": (True, False, "relu"),
        "4.a": (False, False, "clamp"),
        "4.b": (False, True, "none"),
        "4.c": (False, False, "leaky"),
        "4.d": (False, True, "relu"),
        "5.conv1": (True, False, "relu"),
        "5.conv2": (True, True, "relu"),
        "5.down.0": (True, False, "none"),
        "6.conv1": (True, False, "relu"),
        "6.conv2": (True, True, "relu"),
        "6.down.0": (True, False, "none"),
        "9": (False, False, "relu"),
        "12": (False, False, "none"),
    }


@torch.inference_mode()
def test_a_hook_strikes_and_is_seen(model: nn.Module) -> None:
    protected, fast = _fast(model)
    x = _batch()
    expected = model(x)
    assert fast.applies((x,), {})

    def strike(layer: nn.Module, args: object, out: Tensor) -> None:
        out[0, 1, 2, 1] += 100.0

    handle = protected.fault_site[5].conv2.fault_site.register_forward_hook(strike)
    assert fast.applies((x,), {})
    assert _close(fast(x), expected)
    assert [event.layer for event in protected.events] == ["5.conv2"]
    handle.remove()
    protected.clear_events()
    assert _close(fast(x), expected)
    assert not protected.events


@torch.inference_mode()
def test_a_hook_on_a_norm_runs_and_one_on_a_block_keeps_the_path_away(model: nn.Module) -> None:
    protected, fast = _fast(model)
    x, calls = _batch(), []
    assert fast.applies((x,), {})
    handle = protected.fault_site[5].norm1.register_forward_hook(lambda *_: calls.append(1))
    fast(x)
    assert calls == [1]
    handle.remove()
    handle = protected.fault_site[5].register_forward_hook(lambda *_: calls.append(1))
    assert not fast.applies((x,), {})
    handle.remove()
    handle = protected.fault_site[3].register_forward_hook(lambda *_: calls.append(2))
    assert fast.applies((x,), {})
    fast(x)
    assert calls == [1, 2]
    handle.remove()


@torch.inference_mode()
def test_a_written_weight_is_computed_with(model: nn.Module) -> None:
    """A fault that an injector writes into a module must not be hidden by the packed copy."""
    protected, fast = _fast(model)
    x = _batch()
    expected = fast(x) if fast.applies((x,), {}) else None
    weight = protected.fault_site[4].a.fault_site.weight
    before = weight[0, 0, 0, 0].clone()
    weight[0, 0, 0, 0] = 1000.0
    assert fast.applies((x,), {})
    out = fast(x)
    assert protected.events, "the fault was computed with, and seen"
    assert _close(out, expected)
    assert torch.equal(weight[0, 0, 0, 0], before)
    protected.clear_events()
    assert _close(fast(x), expected)
    assert fast.layer("4.a").as_built()
    assert not protected.events


def test_what_it_does_not_take(model: nn.Module) -> None:
    protected, fast = _fast(model)
    x = _batch()
    assert not fast.applies((x,), {}), "parameters want gradients"
    with torch.no_grad():
        assert fast.applies((x,), {})
        assert not fast.applies((x.double(),), {})
        assert not fast.applies((x[:0],), {})
        assert not fast.applies((), {"input": x})
        assert not fast.applies((x, x), {})
        with torch.autocast("cpu"):
            assert not fast.applies((x,), {})
        protected.guard.tap = lambda *_: None
        assert not fast.applies((x,), {})


def test_a_model_that_cannot_be_traced_has_a_reason() -> None:
    class Choice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) if x.sum() > 0 else x

    _, fast = _fast(Choice().eval())
    with torch.no_grad():
        assert not fast.applies((_batch(),), {})
    assert "torch.fx cannot trace it" in fast.reason


@torch.inference_mode()
def test_values_that_others_overwrite_are_left_alone() -> None:
    class Careless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            z = self.b(y)
            y.flatten(1).mul_(2.0)
            return self.d(self.c(y) + z)

    model = Careless().eval()
    protected, fast = _fast(model)
    x = _batch()
    assert fast.applies((x,), {})
    assert _close(fast(x), model(x))
    assert not protected.events
    assert [layer.name for layer in fast.program.layers] == ["d"]  # type: ignore[union-attr]


@torch.inference_mode()
def test_copies_and_pickles_build_their_own(model: nn.Module) -> None:
    protected, fast = _fast(model)
    x = _batch()
    assert fast.applies((x,), {})
    expected = fast(x)
    for twin in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert twin.program is None
        assert twin.applies((x,), {})
        assert torch.equal(twin(x), expected)
    copied = copy.deepcopy((protected, fast))
    assert copied[1]._model is copied[0].fault_site


@torch.inference_mode()
def test_threads_share_a_model(model: nn.Module) -> None:
    protected, fast = _fast(model)
    batches = [_batch(1 + i % 3, seed=i) for i in range(8)]
    expected = [fast(x) for x in batches if fast.applies((x,), {})]

    def run(i: int) -> bool:
        with torch.inference_mode():
            return torch.equal(fast(batches[i]), expected[i])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, [i % 8 for i in range(64)]))
    assert not protected.events


@torch.inference_mode()
def test_results_do_not_share_memory(model: nn.Module) -> None:
    _, fast = _fast(model)
    x, y = _batch(seed=1), _batch(seed=2)
    assert fast.applies((x,), {})
    first = fast(x)
    kept = first.clone()
    fast(y)
    assert torch.equal(first, kept)


@pytest.mark.parametrize("n", [1, 3])
@torch.inference_mode()
def test_thresholds_are_the_analytic_ones(model: nn.Module, n: int) -> None:
    _, fast = _fast(model)
    x = _batch(n)
    assert fast.applies((x,), {})
    found: dict[str, tuple[float, float]] = {}
    for layer in fast.program.layers:  # type: ignore[union-attr]
        run = layer.run

        def watched(*args: Any, layer: FusedLayer = layer, run: Any = run) -> Tensor:
            stats = args[2].stats
            out: Tensor = run(*args)
            expected = analytic(layer.scale, stats, n, torch.float32)
            found[layer.name] = expected, float(args[5].check.memory[0])
            return out

        layer.run = watched  # type: ignore[method-assign]
    fast(x)
    assert len(found) == 13
    for expected, native in found.values():
        assert native == pytest.approx(expected, rel=1e-12)
