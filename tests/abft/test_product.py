"""A layer as a product: the same as torch's own, at any position, for any kind of layer."""

from __future__ import annotations

import copy

import pytest
import torch
from abft_support import CONVOLUTIONS, Case, blocks, cases, guarded, wrapper
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

from holdfast.abft import product
from holdfast.abft.checksum import block_sums, image_sum
from holdfast.abft.product import Product, Window, every_position, index_of

SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def in_float64(case: Case) -> tuple[Product, Tensor, Tensor]:
    """The product of a case, its input (N, C, *space), and torch's output (N, M, P) of it, free of bias."""
    layer = copy.deepcopy(case.layer).double()
    layer.bias = None
    protected = guarded(layer)
    x = case.x.double()
    with torch.no_grad():
        out = blocks(protected, layer(x))
    return wrapper(protected).product, wrapper(protected).canonical(x), out


def compare(case: Case) -> None:
    """Co1 … Co7 at random positions, in random order, against the sums of torch's output."""
    found, d, out = in_float64(case)
    everywhere = every_position(found.window, d.shape[2:])
    assert len(everywhere) == out.shape[2]
    chosen = everywhere[torch.randperm(len(everywhere), generator=case.generator)][: len(everywhere) // 2 + 1]
    sums = block_sums(out[:, :, chosen])
    cd1, cd2 = image_sum(d), image_sum(d, weighted=True)
    co1, co3 = found.by_kernels(torch.stack([cd1, cd2]), chosen)
    co2, co4 = found.by_sums(d, chosen, [found.cw1, found.cw2]).unbind(1)
    co5, co6 = found.by_sums(cd1[None], chosen, [found.cw1, found.cw2])[0]
    co7 = found.by_sums(cd2[None], chosen, [found.cw1])[0, 0]
    scale = 1e-12 * float(d.abs().max()) * d[0].numel() * 50
    for got, want in zip((co1, co2, co3, co4, co5, co6, co7), sums, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=scale)
    torch.testing.assert_close(found.by_kernels(d, chosen), out[:, :, chosen], rtol=1e-11, atol=scale)


@SETTINGS
@given(case=cases(dtypes=(torch.float64,)))
def test_checksums_are_sums_of_torchs_output(case: Case) -> None:
    compare(case)


@pytest.mark.slow
@settings(SETTINGS, max_examples=3000)
@given(case=cases(dtypes=(torch.float64,)))
def test_checksums_are_sums_of_torchs_output_many_times(case: Case) -> None:
    compare(case)


@pytest.mark.parametrize("groups", [1, 2])
def test_large_layers_are_worked_off_in_pieces(monkeypatch: pytest.MonkeyPatch, groups: int) -> None:
    layer = nn.Conv2d(4, 6, 3, padding=1, groups=groups)
    case = Case(layer, torch.randn(3, 4, 6, 7, generator=torch.Generator().manual_seed(0)), 0)
    monkeypatch.setattr(product, "CHUNK", 40)
    compare(case)


def test_strange_values_stay_where_they_are() -> None:
    """Padding reads nothing: a NaN in the first pixel does not reach positions that do not meet it."""
    layer = nn.Conv2d(1, 1, 3, padding=2, bias=False).double()
    x = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    x[0, 0, 0, 0] = torch.nan
    found = Product.of(lambda: layer.weight)
    found.window = wrapper(guarded(layer)).window()
    got = found.by_kernels(x, torch.arange(36)).reshape(6, 6)
    assert torch.equal(got.isnan(), layer(x)[0, 0].isnan())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_same_padding_that_is_not_symmetrical(dimensions: int) -> None:
    layer = CONVOLUTIONS[dimensions - 1](2, 3, 4, padding="same", dilation=1)
    compare(Case(layer, torch.randn(2, 2, *[6] * dimensions), 0))


def test_damage_of_weights_or_their_sums_is_known() -> None:
    weight = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    found = Product.of(lambda: weight, Window())
    assert found.as_made()
    found.cw2[1, 1] += 1e-9
    assert not found.as_made()


def test_positions_have_an_index() -> None:
    assert [index_of(p, (2, 3)) for p in range(6)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
