"""Single layers, by every instruction set and layout, against the reference and against torch."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from sparse_support import expected, norm, only, program, sparse_
from torch import Tensor, nn
from torch.nn import functional

from holdfast.kernels import native
from holdfast.subnet.sparse import reference
from holdfast.subnet.sparse.build import Choice
from holdfast.subnet.sparse.graph import Network, network
from holdfast.subnet.sparse.layout import Window
from holdfast.subnet.sparse.program import Program
from holdfast.subnet.sparse.weights import SparseWeights

needs_core = pytest.mark.skipif(not native.variants(), reason="the native core is not built")
ISAS = native.variants() or ["none"]
METHODS = ("planes", "lanes")

# in, out, kernel, stride, padding, dilation, groups
CONVOLUTIONS = {
    "3x3": (3, 4, 3, 1, 1, 1, 1),
    "3x3 stride 2": (3, 4, 3, 2, 1, 1, 1),
    "3x3 stride 3": (3, 5, 3, 3, 0, 1, 1),
    "3x3 bare": (2, 3, 3, 1, 0, 1, 1),
    "1x1": (5, 3, 1, 1, 0, 1, 1),
    "1x1 stride 2": (5, 3, 1, 2, 0, 1, 1),
    "1x1 padded": (2, 3, 1, 1, 1, 1, 1),
    "5x3 dilated": (2, 3, (5, 3), 1, (4, 2), (2, 2), 1),
    "7x7 stride 2": (3, 2, 7, 2, 3, 1, 1),
    "2x2": (3, 3, 2, 2, 0, 1, 1),
    "2x4 padded": (3, 3, (2, 4), (1, 2), (1, 3), 1, 1),
    "wide padding": (2, 2, 3, 1, 3, 1, 1),
    "stride beyond the kernel": (2, 2, 2, 4, 1, 1, 1),
    "groups": (4, 6, 3, 1, 1, 1, 2),
    "depthwise stride 2": (5, 5, 3, 2, 1, 1, 5),
}
SIZES = {"7x7": (7, 7), "8x17": (8, 17), "17x5": (17, 5)}


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, equal_nan=True)


def _convolution(name: str, density: float = 0.4) -> nn.Conv2d:
    layer = nn.Conv2d(*CONVOLUTIONS[name][:2], *CONVOLUTIONS[name][2:], bias=False)  # type: ignore[arg-type]
    sparse_(layer, density)
    return layer


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_reference_is_a_convolution(name: str, size: tuple[int, int]) -> None:
    layer = _convolution(name)
    x = _draw(2, layer.in_channels, *size)
    weights = SparseWeights.of(layer.weight, layer.groups)
    assert weights is not None
    window = Window(layer.kernel_size, layer.stride, layer.padding, layer.dilation)  # type: ignore[arg-type]
    _close(reference.sums(x, weights, window) * weights.scale, layer(x))
    assert torch.equal(weights.dense() * weights.scale, layer.weight)


@needs_core
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str, isa: str, method: str) -> None:
    for size, counts in zip(SIZES.values(), ((1, 7), (3, 16), (2, 15)), strict=True):
        for images in counts:
            net, x, wanted = _case(name, size, images)
            run = program(net, images, isa, method, tile=1 + images % 8)
            _close(run(x), wanted)
            _close(run(x), wanted)


@cache
def _case(name: str, size: tuple[int, int], images: int) -> tuple[Network, Tensor, Tensor]:
    model = nn.Sequential(_convolution(name), norm(CONVOLUTIONS[name][1]), nn.ReLU())
    net, layer = only(model, (CONVOLUTIONS[name][0], *size))
    x = _draw(images, CONVOLUTIONS[name][0], *size, seed=images)
    return net, x, expected(layer, x)


@needs_core
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("isa", ISAS)
def test_every_tile_gives_the_same_bits(isa: str, method: str) -> None:
    net, _ = only(_convolution("3x3"), (3, 5, 9))
    x = _draw(16, 3, 5, 9)
    first = program(net, 16, isa, method, 1)(x)
    for tile in range(2, 9):
        assert torch.equal(program(net, 16, isa, method, tile)(x), first)


@needs_core
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", [(33, 31), (3, 40), (2, 2)], ids=["rows", "columns", "channels"])
def test_threads_give_the_same_bits(isa: str, method: str, size: tuple[int, int]) -> None:
    layer = nn.Conv2d(64, 96, 3, padding=1, bias=False)
    sparse_(layer, 0.7)
    net, _ = only(layer, (64, *size))
    x, before = _draw(2, 64, *size), torch.get_num_threads()
    run = program(net, 2, isa, method)
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(run(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    with torch.no_grad():
        torch.testing.assert_close(found[0], layer(x), rtol=1e-4, atol=1e-4)


@needs_core
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 16), (33, 1)])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("isa", ISAS)
def test_small_maps(isa: str, method: str, size: tuple[int, int]) -> None:
    for name in ("3x3", "3x3 stride 2", "1x1", "wide padding"):
        net, layer = only(_convolution(name, 1.0), (CONVOLUTIONS[name][0], *size))
        x = _draw(5, CONVOLUTIONS[name][0], *size)
        _close(program(net, 5, isa, method)(x), expected(layer, x))


@needs_core
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("images", [1, 7, 16])
def test_linear(isa: str, method: str, images: int) -> None:
    linear = nn.Linear(37, 11)
    sparse_(linear)
    last = nn.BatchNorm1d(11, affine=False)
    last.running_mean, last.running_var = _draw(11), 0.5 + _draw(11, seed=1).abs()
    model = nn.Sequential(linear, last).eval()
    net = network(model, (37,))
    assert [layer.name for layer in net.layers.values()] == ["0"]
    x = _draw(images, 37)
    with torch.no_grad():
        _close(program(net, images, isa, method)(x), model(x))


class Block(nn.Module):
    """Two convolutions beside a shortcut, and another reader of what they make."""

    def __init__(self, stride: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, stride, 1), nn.Conv2d(4, 4, 3, 1, 1)
        self.side = nn.Conv2d(3, 4, 1, stride)
        self.norm, self.activation = norm(4), activation
        for layer in (self.conv1, self.conv2, self.side):
            sparse_(layer, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        maps = functional.relu(self.norm(self.conv1(x)))
        maps = self.activation(self.conv2(maps) + self.side(x))
        return maps + functional.max_pool2d(maps, 3, 1, 1)


@needs_core
@pytest.mark.parametrize("method", [*METHODS, "dense", "mixed"])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.1), nn.Identity()], ids=str)
def test_what_follows_a_product(isa: str, method: str, stride: int, activation: nn.Module) -> None:
    model = Block(stride, activation).eval()
    net = network(model, (3, 9, 6))
    assert len(net.layers) == 3
    methods = ("lanes", "dense", "planes") if method == "mixed" else (method,) * 3
    choices = {n: Choice(m, 3) for n, m in zip(("conv1", "conv2", "side"), methods, strict=True)}
    x = 3 * _draw(3, 3, 9, 6)
    run = Program(net, 3, native.Kernels(isa), choices)
    with torch.inference_mode():
        for scale in (1, 0.1):
            _close(run(scale * x), model(scale * x))


@needs_core
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["3x3", "3x3 stride 2"])
def test_what_is_not_finite_goes_where_kept_weights_lead_and_is_gone_afterwards(
    name: str, isa: str, method: str, bad: float
) -> None:
    model = nn.Sequential(_convolution(name, 0.2), norm(CONVOLUTIONS[name][1]), nn.ReLU())
    net, layer = only(model, (CONVOLUTIONS[name][0], 6, 5))
    run = program(net, 3, isa, method)
    x = _draw(3, CONVOLUTIONS[name][0], 6, 5)
    clean = run(x)
    for where in ((0, 0, 0, 0), (1, 1, 5, 4), (2, 0, 3, 2)):
        hit = x.clone()
        hit[where] = bad
        found = run(hit)
        _close(found, expected(layer, hit))
        others = [n for n in range(3) if n != where[0]]
        assert torch.equal(found[others], clean[others])
    run(torch.full_like(x, bad))
    assert torch.equal(run(x), clean)


def test_weights_of_several_sizes_are_left_to_torch() -> None:
    layer = nn.Conv2d(2, 2, 3)
    assert SparseWeights.of(layer.weight) is None
    net, found = only(layer, (2, 5, 5))
    assert found.weights is None
    x = _draw(2, 2, 5, 5)
    with torch.no_grad():
        _close(program(net, 2, "", "dense")(x), layer(x))


def test_no_weight_kept() -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1)
    layer.weight = nn.Parameter(torch.zeros(3, 2, 3, 3), requires_grad=False)
    net, _ = only(layer, (2, 4, 4))
    x = _draw(2, 2, 4, 4)
    for isa in native.variants():
        for method in METHODS:
            assert torch.equal(program(net, 2, isa, method)(x), layer(x))
