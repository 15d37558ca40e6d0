"""What a fault on the fast path makes it compute again, and no more than that."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from holdfast import protect
from holdfast.abft.fused import FastPath
from holdfast.abft.fused.layer import FusedLayer
from holdfast.abft.protect import Protected

from .test_fast_path import _batch, _close

Built = tuple[Protected, FastPath, Tensor, Tensor]


@pytest.fixture
def built(model: nn.Module) -> Built:
    protected = protect(model)
    path = FastPath(protected.fault_site, protected.guard)
    x = _batch(4)
    with torch.inference_mode():
        assert path.applies((x,), {})
        return protected, path, x, path(x).clone()


def _layer(path: FastPath, name: str) -> FusedLayer:
    layer = path.layer(name)
    assert layer is not None
    return layer


def _counted(layer: FusedLayer, damage: Callable[[Tensor], object]) -> list[Tensor]:
    """The products of ``layer`` from now on; the first is damaged."""
    products: list[Tensor] = []
    multiply = layer.multiply

    def struck(x: Tensor) -> Tensor:
        products.append(multiply(x))
        if len(products) == 1:
            damage(products[0])
        return products[-1]

    layer.multiply = struck  # type: ignore[method-assign]
    return products


@pytest.mark.parametrize("name", ["0", "5.conv1", "5.conv2", "6.conv1"])
@torch.inference_mode()
def test_one_position_alone_is_what_the_product_has_there(built: Built, name: str) -> None:
    _, path, x, _ = built
    layer, seen = _layer(path, name), []
    multiply = layer.multiply
    layer.multiply = lambda d: seen.append(d.clone()) or multiply(d)  # type: ignore[method-assign, func-returns-value]
    path(x)
    (d,) = seen
    out = multiply(d).flatten(2)
    found = [layer.at(d, position) for position in range(out.shape[2])]
    if layer.groups > 1:
        assert found == [None] * out.shape[2]
        return
    torch.testing.assert_close(torch.stack(found, 2), out, rtol=1e-5, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "products"),
    [
        (lambda out: out[1, 3, 2, 2].add_(50.0), 1),
        (lambda out: out[1, 3, 2, 2].fill_(torch.nan), 1),
        (lambda out: out[1, :, 2, 2].add_(50.0), 2),
        (lambda out: out[:, 3].add_(50.0), 2),
    ],
    ids=["block", "nan", "row", "column"],
)
@torch.inference_mode()
def test_only_more_than_a_single_block_is_computed_again_as_a_whole(
    built: Built, damage: Callable[[Tensor], object], products: int
) -> None:
    protected, path, x, expected = built
    made = _counted(_layer(path, "4.a"), damage)
    assert _close(path(x), expected)
    assert len(made) == products
    assert [(event.scheme, event.corrected) for event in protected.events] == [("recomputed", True)]


@torch.inference_mode()
def test_a_channel_that_is_off_twice_has_its_weights_looked_at(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path, x, expected = built
    layer, looked = _layer(path, "4.a"), []
    repair = layer.repair_weights
    monkeypatch.setattr(layer, "repair_weights", lambda: looked.append(1) or repair())  # type: ignore[func-returns-value]
    multiply = layer.multiply
    for channel, times in ((3, 0), (5, 0), (5, 1)):
        layer.multiply = multiply  # type: ignore[method-assign]
        _counted(layer, lambda out, m=channel: out[0, m, 1, 1].add_(50.0))  # type: ignore[misc]
        assert _close(path(x), expected)
        assert len(looked) == times
