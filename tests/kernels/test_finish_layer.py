"""The pass that checks and finishes a layer, on every instruction set, against plain PyTorch in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from holdfast.kernels import Window, native, reference

pytestmark = pytest.mark.skipif(not native.variants(), reason="the native core is not built")
HEAD = native.CARRY_HEAD


@pytest.fixture(params=native.variants() or ["none"])
def core(request: pytest.FixtureRequest) -> native.Kernels:
    return native.Kernels(request.param)


class Case:
    """A layer with output (N, H, W, M), its memory laid out for the core."""

    def __init__(
        self,
        core: native.Kernels,
        n: int,
        m: int,
        size: tuple[int, int],
        activation: tuple[str, float] = ("none", 0.0),
        residual: bool = False,
        pool: tuple[int, ...] = (0, 0, 1, 1, 0, 0),
        limit: float = 1e-3,
        seed: int = 0,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        self.core, self.activation, self.pool = core, activation, pool
        self.n, self.m, self.size = n, m, size
        self.d = draw(n, *size, 5)
        self.weight = draw(5, 3, 3).double()
        self.window = Window(padding=(1, 1, 1, 1))
        self.out = draw(n, *size, m)
        self.residual = draw(n, *size, m) if residual else None
        self.plan, self.positions, self.left = core.layer_plan(
            (n, 5, *size),
            self.weight,
            self.window,
            m,
            bias_sum=0.25,
            activation=activation[0],
            parameter=activation[1],
            threshold=(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, limit),
            inside=True,
            pool=pool,
        )
        self.source = self.carry(self.d)
        self.beside = None if self.residual is None else self.carry(self.residual)
        self.result = torch.empty(HEAD + self.left[0] * self.left[1] * m, dtype=torch.float64)
        self.check = torch.empty(HEAD + self.positions, dtype=torch.float64)
        self.violated = torch.full((self.positions,), -1)
        self.pooled = torch.full((n, *self.left, m), math.nan) if pool[0] else None
        total, _ = reference.batch_sum(self.d)
        self.co5 = reference.checksum_convolution(total, self.weight, self.window, True)
        self._agree()

    def _agree(self) -> None:
        """Make the sums of the output what the checksums say, by its last channel of the last image."""
        off = self.co5 + self.n * 0.25 - self.out.double().sum((0, 3)).flatten()
        self.out[-1, :, :, -1] += off.view(self.size).float()

    def carry(self, x: Tensor) -> Tensor:
        """The carry of ``x`` (N, ...)."""
        length = x[0].numel()
        memory = torch.empty(HEAD + length, dtype=torch.float64)
        self.core.carry_sum(x.data_ptr(), len(x), length, memory.data_ptr())
        return memory

    def total(self, carry: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The sum in ``carry`` in float64."""
        values = carry[HEAD:].view(torch.float32) if self.n == 1 else carry[HEAD:]
        return values[: math.prod(shape)].view(shape).double()

    def run(self, checked: bool = True) -> int:
        """Run the pass."""
        at = [None if x is None else x.data_ptr() for x in (self.pooled, self.residual, self.beside)]
        found: int = self.core.finish_layer(
            self.plan,
            self.out.data_ptr(),
            at[0] or 0,
            at[1] or 0,
            self.source.data_ptr() if checked else 0,
            at[2] or 0,
            self.result.data_ptr(),
            self.check.data_ptr(),
            self.violated.data_ptr(),
        )
        return found

    def expected(self, out: Tensor) -> Tensor:
        """What the layer makes of ``out``."""
        x = out if self.residual is None else out + self.residual
        kind, parameter = self.activation
        x = {
            "none": lambda: x,
            "relu": lambda: functional.relu(x),
            "clamp": lambda: x.clamp(0.0, parameter),
            "leaky": lambda: functional.leaky_relu(x, parameter),
        }[kind]()
        if self.pool[0]:
            k, s, p = self.pool[:2], self.pool[2:4], self.pool[4:]
            x = functional.max_pool2d(x.permute(0, 3, 1, 2), k, s, p).permute(0, 2, 3, 1)
        return x


KINDS = (("none", 0.0), ("relu", 0.0), ("clamp", 0.7), ("leaky", 0.1))
SHAPES = (
    (1, 1, (1, 1)),
    (1, 7, (3, 5)),
    (2, 32, (4, 4)),
    (3, 33, (7, 6)),
    (16, 70, (5, 9)),
    (1, 64, (21, 20)),
)
POOLS = ((2, 2, 2, 2, 0, 0), (3, 3, 2, 2, 1, 1), (3, 2, 1, 3, 1, 0), (1, 1, 2, 2, 0, 0))


def _finished(case: Case, out: Tensor) -> None:
    """The output, its sum and its statistics are those of ``out`` through the layer."""
    expected = case.expected(out)
    found = case.out if case.pooled is None else case.pooled
    assert torch.equal(found, expected)
    total, stats = reference.batch_sum(expected)
    assert torch.allclose(case.total(case.result, tuple(expected.shape[1:])), total, rtol=1e-14, atol=1e-14)
    assert case.result[:4].tolist() == pytest.approx(stats, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS, ids=[kind for kind, _ in KINDS])
@pytest.mark.parametrize(("n", "m", "size"), SHAPES)
@pytest.mark.parametrize("residual", [False, True], ids=["", "residual"])
def test_a_clean_layer(
    core: native.Kernels, n: int, m: int, size: tuple[int, int], kind: Any, residual: bool
) -> None:
    case = Case(core, n, m, size, kind, residual)
    out = case.out.clone()
    assert case.run() == 0
    assert torch.allclose(case.check[HEAD:], case.co5, rtol=1e-12, atol=1e-12)
    _finished(case, out)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("kind", KINDS, ids=[kind for kind, _ in KINDS])
@pytest.mark.parametrize(("n", "m", "size"), [(1, 7, (4, 5)), (3, 33, (7, 6)), (16, 70, (5, 9))])
def test_a_pooled_layer(
    core: native.Kernels, n: int, m: int, size: tuple[int, int], kind: Any, pool: tuple[int, ...]
) -> None:
    case = Case(core, n, m, size, kind, pool=pool)
    out = case.out.clone()
    assert case.run() == 0
    assert torch.equal(case.out, out), "the product stays as it is"
    _finished(case, out)
    # Every position is checked, also those that no window covers.
    for position in range(case.positions):
        y, x = divmod(position, size[1])
        case.out[0, y, x, 0] += 1.0
        assert (case.run(), int(case.violated[0])) == (1, position)
        case.out.copy_(out)


@pytest.mark.parametrize("bad", [1.0, -1e30, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("n", "m", "size"), SHAPES)
def test_positions_that_are_off_stay_as_they_are(
    core: native.Kernels, n: int, m: int, size: tuple[int, int], bad: float
) -> None:
    count = size[0] * size[1]
    wrong = sorted({0, count // 3, count // 2, count - 1})
    case = Case(core, n, m, size, ("relu", 0.0), residual=True)
    clean = case.out.clone()
    for position in wrong:
        y, x = divmod(position, size[1])
        case.out[n // 2, y, x, m // 2] += bad
    damaged = case.out.clone()
    assert case.run() == len(wrong)
    assert case.violated[: len(wrong)].tolist() == wrong
    rows, before = case.out.view(n, count, m), damaged.view(n, count, m)
    expected = case.expected(clean).view(n, count, m)
    others = [i for i in range(count) if i not in wrong]
    assert torch.equal(rows[:, wrong].nan_to_num(7.0), before[:, wrong].nan_to_num(7.0))
    assert torch.equal(rows[:, others], expected[:, others])
    finite = math.isfinite(bad)
    assert (case.check[1] < math.inf) == finite
    assert case.check[2] == (0 if finite else len(wrong))


@pytest.mark.parametrize(("n", "m", "size"), SHAPES)
def test_a_residual_that_has_changed(core: native.Kernels, n: int, m: int, size: tuple[int, int]) -> None:
    for flat in {0, n * m * size[0] * size[1] - 1}:
        case = Case(core, n, m, size, residual=True)
        assert case.residual is not None
        case.residual.view(-1)[flat] += 1e-4
        assert case.run() == -1
        case = Case(core, n, m, size, residual=True)
        assert case.residual is not None
        case.residual.view(-1)[flat] = math.nan
        assert case.run() < 0
    case = Case(core, n, m, size, residual=True)
    assert case.residual is not None
    case.residual.view(-1)[0] += 1e-4
    case.out[0, 0, 0, 0] += 1.0
    if size != (1, 1):
        case.residual.view(-1)[-1] += 1e-4
        assert case.run() == -2


def test_unchecked(core: native.Kernels) -> None:
    case = Case(core, 3, 17, (4, 4), ("relu", 0.0), residual=True)
    case.out[0, 0, 0, 0] += 100.0
    out = case.out.clone()
    assert case.run(checked=False) == 0
    _finished(case, out)


def test_threads_agree(core: native.Kernels) -> None:
    """Large enough to be shared out, with violated positions in every part."""
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            for pool in ((0, 0, 1, 1, 0, 0), (3, 3, 2, 2, 1, 1)):
                case = Case(core, 4, 64, (30, 31), ("relu", 0.0), pool=pool)
                case.out[1, ::7, ::9, 3] = 50.0
                found = case.run()
                kept = case.out if case.pooled is None else case.result[HEAD:]
                results.append((pool, found, sorted(case.violated[:found].tolist()), kept.clone()))
    finally:
        torch.set_num_threads(threads)
    for pool, *rest in results[2:]:
        first = next(other for other in results if other[0] == pool)
        assert rest[:2] == list(first[1:3])
        if not pool[0]:
            assert torch.equal(rest[2], first[3])


def test_the_threshold_is_the_analytic_one(core: native.Kernels) -> None:
    case = Case(core, 3, 8, (6, 6))
    numbers = (3.0 * 45, 45.0, 1e-7, 2.5, 0.5, 1e-6, 1e-9)
    plan, *_ = core.layer_plan(
        (3, 5, 6, 6),
        case.weight,
        case.window,
        8,
        bias_sum=0.25,
        activation="none",
        parameter=0.0,
        threshold=numbers,
        inside=True,
    )
    stats = reference.batch_sum(case.d)[1]
    apart = min(numbers[0] * stats.max_abs**2, stats.sum_squares)
    together = min(numbers[1] * stats.total_max_abs**2, stats.total_squares)
    expected = 1e-7 * (math.sqrt(apart + together) * 2.5 + 0.5) + 1e-6 * math.sqrt(apart) + 1e-9
    case.plan = plan
    case.run()
    assert float(case.check[0]) == pytest.approx(expected, rel=1e-12)


WINDOWS = (  # channels, kernel, stride, dilation, padding, size
    (3, (7, 7), (2, 2), (1, 1), 3, (23, 25)),
    (5, (1, 1), (2, 2), (1, 1), 0, (9, 17)),
    (64, (1, 1), (1, 1), (1, 1), 0, (3, 5)),
    (24, (1, 1), (1, 1), (1, 1), 2, (4, 6)),
    (20, (3, 3), (1, 1), (2, 2), 2, (7, 11)),
    (17, (2, 3), (3, 1), (1, 3), 4, (8, 9)),
    (1, (5, 5), (1, 1), (1, 1), 2, (6, 30)),
    (8, (3, 1), (4, 5), (1, 1), 1, (21, 3)),
)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("shape", WINDOWS)
def test_checksums_of_all_windows(core: native.Kernels, n: int, shape: Any) -> None:
    channels, kernel, stride, dilation, padding, size = shape
    generator = torch.Generator().manual_seed(1)
    d = torch.randn((n, *size, channels), generator=generator)
    weight = torch.randn((channels, *kernel), generator=generator, dtype=torch.float64)
    window = Window(stride=stride, dilation=dilation, padding=(padding,) * 4)
    plan, positions, left = core.layer_plan(
        (n, channels, *size),
        weight,
        window,
        4,
        bias_sum=0.0,
        activation="none",
        parameter=0.0,
        threshold=(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1e30),
        inside=True,
    )
    source = torch.empty(HEAD + d[0].numel(), dtype=torch.float64)
    core.carry_sum(d.data_ptr(), n, d[0].numel(), source.data_ptr())
    out = torch.zeros(n, *left, 4)
    check = torch.full((HEAD + positions,), math.nan, dtype=torch.float64)
    violated = torch.empty(positions, dtype=torch.int64)
    at = [tensor.data_ptr() for tensor in (source, check, violated)]
    assert core.finish_layer(plan, out.data_ptr(), 0, 0, at[0], 0, 0, at[1], at[2]) == 0
    expected = reference.checksum_convolution(reference.batch_sum(d)[0], weight, window, True)
    assert torch.allclose(check[HEAD:], expected.flatten(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("channels", [3, 64, 70])
def test_what_a_linear_reads_is_compared_with_its_sum(core: native.Kernels, n: int, channels: int) -> None:
    """Every element, though no kernel looks at it."""
    d = torch.randn(n, channels, generator=torch.Generator().manual_seed(2))
    plan, *_ = core.layer_plan(
        (n, channels, 1, 1),
        torch.zeros(channels, 1, 1, dtype=torch.float64),
        Window(),
        4,
        bias_sum=0.0,
        activation="none",
        parameter=0.0,
        threshold=(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        inside=True,
    )
    source = torch.empty(HEAD + channels, dtype=torch.float64)
    core.carry_sum(d.data_ptr(), n, channels, source.data_ptr())
    out, check = torch.zeros(n, 4), torch.empty(HEAD + 1, dtype=torch.float64)
    violated = torch.empty(1, dtype=torch.int64)
    at = [tensor.data_ptr() for tensor in (out, source, check, violated)]

    def found() -> Any:
        return core.finish_layer(plan, at[0], 0, 0, at[1], 0, 0, at[2], at[3], d.data_ptr())

    assert found() == 0
    for flat in range(d.numel()):
        kept = float(d.view(-1)[flat])
        d.view(-1)[flat] = kept * 1.5
        assert found() == -1
        d.view(-1)[flat] = kept
    assert found() == 0
    out[0, 0] = 9.0  # what the check finds is not the input's fault
    d[0, 0] += 1.0
    assert found() == 1
