from __future__ import annotations

import pytest
import torch
from stress_support import make_net
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.stress import Fault, inject
from holdfast.stress.accumulator import partial_sums

GENERATOR = torch.Generator().manual_seed(2)
LAYERS = {
    "conv": (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 6, 5), (1, 2, 3, 4)),
    "strided, dilated, grouped": (
        nn.Conv2d(4, 6, 3, stride=2, dilation=2, groups=2, padding=2), (2, 4, 9, 9), (0, 5, 1, 2)
    ),
    "reflecting": (nn.Conv1d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 2, 7), (1, 0, 0)),
    "conv3d": (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4), (0, 1, 2, 1, 0)),
    "transposed": (nn.ConvTranspose2d(3, 2, 3, stride=2), (2, 3, 4, 4), (1, 1, 4, 4)),
    "one image": (nn.Conv2d(3, 4, 3), (3, 6, 5), (2, 1, 1)),
    "linear": (nn.Linear(5, 3), (4, 5), (2, 1)),
    "linear on tokens": (nn.Linear(5, 3, bias=False), (4, 6, 5), (2, 3, 1)),
    "linear on a vector": (nn.Linear(5, 3), (5,), (1,)),
}  # fmt: skip


def channel(layer: nn.Module, index: tuple[int, ...], x: Tensor) -> int:
    if isinstance(layer, nn.Linear):
        return index[-1]
    return index[0] if len(index) == len(layer.kernel_size) + 1 else index[1]  # type: ignore[arg-type]


@torch.no_grad()
@pytest.mark.parametrize(("layer", "shape", "index"), LAYERS.values(), ids=LAYERS)
def test_the_last_sum_is_the_output_without_bias(layer: nn.Module, shape: tuple, index: tuple) -> None:
    x = torch.randn(shape, generator=GENERATOR)
    bias = 0.0 if layer.bias is None else float(layer.bias[channel(layer, index, x)])  # type: ignore[index]
    sums = partial_sums(layer, x, index)
    assert sums.dtype is torch.float32
    assert float(sums[-1]) == pytest.approx(float(layer(x)[index]) - bias, abs=1e-5)


def test_the_sums_are_those_of_im2col_one_after_another() -> None:
    layer, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 5, 5, generator=GENERATOR)
    sums = partial_sums(layer, x, (1, 2, 0, 1))
    total, expected = torch.zeros(()), []
    for c in range(3):
        for i in range(3):
            for j in range(3):
                total = total + layer.weight.detach()[2, c, i, j] * x[1, c, i, 1 + j]
                expected.append(total)
    assert torch.equal(sums, torch.stack(expected))


def test_works_in_inference_mode() -> None:
    layer, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 5, 5, generator=GENERATOR)
    with torch.inference_mode():
        inside = partial_sums(layer, x.clone(), (0, 0, 0, 0))
    assert torch.equal(inside, partial_sums(layer, x, (0, 0, 0, 0)))


@torch.no_grad()
def test_what_goes_wrong_is_added_to_the_output() -> None:
    net, x = make_net(), torch.rand(3, 2, 8, 8, generator=GENERATOR)
    clean = net.conv1(x)
    sums = partial_sums(net.conv1, x, (2, 1, 3, 3))
    with inject(net, [Fault("conv1", "accumulator", (2, 1, 3, 3), 31, step=5)]) as injection:
        faulty = net.conv1(x)
    assert injection.fired == [True]
    difference = faulty - clean
    # The sign of the fifth partial sum turned round.
    assert float(difference[2, 1, 3, 3]) == pytest.approx(-2 * float(sums[4]), rel=1e-5)
    assert int((difference != 0).sum()) == 1
    with inject(net, [Fault("conv1", "accumulator", (2, 1, 3, 3), effect="nan", step=1)]):
        assert net.conv1(x).isnan().sum() == 1


@torch.no_grad()
def test_an_open_step_is_drawn_and_replays() -> None:
    net, x = make_net(), torch.rand(3, 2, 8, 8, generator=GENERATOR)
    with inject(net, [Fault("block.2", "accumulator", effect="random")], seed=4) as injection:
        first = net(x)
    (fault,) = injection.faults
    assert fault.step is not None
    assert 1 <= fault.step <= 36
    with inject(net, [fault], seed=5):
        assert torch.equal(net(x).nan_to_num(), first.nan_to_num())


def test_only_products_have_accumulators() -> None:
    with pytest.raises(UsageError, match="convolution or Linear"):
        partial_sums(nn.BatchNorm2d(2), torch.ones(1, 2, 2, 2), (0, 0, 0, 0))
