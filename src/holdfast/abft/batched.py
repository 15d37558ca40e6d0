"""Products of batches of matrices, O_b = α A_b B_b, where both operands are new at every call.

A (B, I, K), B (B, K, J). Blocks are (i, j), the position is b:

    Cd1_b = Σ_i A_b[i, :]    Cw1_b = Σ_j B_b[:, j]    Co5_b = α Cd1_b · Cw1_b  against  S5_b = Σ_ij O_b[i, j]

The sums of the operands are taken before the product runs. What damages A or B after that is seen; what
damaged them earlier is part of the task and is not. A fault climbs the ladder like that of any layer.

Threshold of S5 (compare ``threshold``, whose items 1 to 3 hold here with both operands dynamic), for the unit
roundoff u and one b:

1. Element (i, j) passes partial sums S_k; its error is Σ_k ε_k S_k with |ε_k| ≤ u. If the products scatter,
   Σ_k S_k² ≤ ‖a_i‖² ‖b_j‖². If they agree with each other (rows and columns aligned, as of a token with
   itself), S_k grows like (k/K) O_ij: Σ_k S_k² ≤ (K/3) O_ij². Both together, summed over i and j:
   ‖A‖² ‖B‖² (1 + K ρ²/3), where ρ² = ‖O‖² / (α² ‖A‖² ‖B‖²) ≤ 1 is the mean squared cosine.
2. Equal rows (columns) round alike, so their errors add instead of their variances: ‖A‖² becomes
   ‖A‖² + ‖Cd1‖² (‖B‖²: + ‖Cw1‖²), which is r‖a‖² + r²‖a‖² for r equal rows.
3. Equal steps of one sign round in one direction (a row of softmax outputs on a constant V). Then the worst
   case counts: u Σ_k |S_k| ≤ u (K/2) |O_ij|, with the same sums over i and j.
4. bfloat16 operands are summed in float32, and the sum is rounded once: + c ρ u' of that rounding u', with u
   of float32 elsewhere. (Where autocast narrows the operands too, u is that of bfloat16 throughout.)
5. The scale α costs one more rounding: K + 1 steps. The check in float64 (roundoff v) adds the share (v/u)²
   (I J/K + I + J) to the variance; flushed products I J K times the smallest normal number.

    τ = u α √(‖A‖² + ‖Cd1‖²) √(‖B‖² + ‖Cw1‖²) (c (1 + ρ √(K/3)) + ρ K/2),
        c = SIGMAS/√3 √(1 + (v/u)² (I J/K + I + J))

A damaged O can raise ρ, but to 1 at most: τ stays bounded whatever O holds. Almost every deviation is below
u α c ‖Cd1‖ ‖Cw1‖ ≤ τ already, which needs no norm of a matrix: only for what is not is τ itself computed, and
only from operands that still have the sums they had.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import inf, prod, sqrt
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.abft.checksum import counted
from holdfast.abft.events import Guard
from holdfast.abft.ladder import recover
from holdfast.abft.product import CHUNK, Window, index_of
from holdfast.abft.threshold import ROUNDOFF, SIGMAS, Thresholds, rounding_dtype
from holdfast.core.errors import InputDamaged
from holdfast.kernels import BatchStats, block_sums

_WIDE = torch.float64
_TINY = torch.finfo(_WIDE).tiny


def compute(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """α A B, not checked."""
    if alpha == 1.0:
        return torch.bmm(a, b)
    return torch.baddbmm(a.new_zeros(()), a, b, beta=0, alpha=alpha)


def multiply(
    a: Tensor,
    b: Tensor,
    name: str,
    guard: Guard,
    alpha: float = 1.0,
    *,
    shape: tuple[int, ...] = (),
) -> Tensor:
    """α A B (B, I, J) of ``a`` (B, I, K) and ``b`` (B, K, J), checked; any strides, any float dtype.

    ``name`` is that of the event; ``shape`` are the batch dimensions that B stands for, for its location.
    Raises FaultError, InputDamaged (see ``ladder.recover``).
    """
    if not (a.numel() and b.numel()):
        return compute(a, b, alpha)
    before = _Operands(a.detach(), b.detach(), alpha)
    if guard.tap is not None:
        guard.tap(name, "cd1", before.cd1)
        guard.tap(name, "cw1", before.cw1)
    expected = before.co5()
    if guard.tap is not None:
        guard.tap(name, "co5", expected)
    out = compute(a, b, alpha)
    values = out.detach()
    units = _Units.of(a, out)
    deviation = np.abs(_array(_sums(values)) - _array(expected))
    if guard.watch is not None:
        tau = before.tau(values, units)
        worst = int((_array(tau.reciprocal()) * deviation).argmax())
        guard.watch(name, float(np.nan_to_num(deviation[worst], nan=np.inf)), float(tau[worst]))
    if (deviation <= before.least_tau(units)).all():
        return out
    return _settle(before, out, expected, units, _Place(name, guard, shape))


@dataclass(frozen=True)
class _Place:
    name: str
    guard: Guard
    shape: tuple[int, ...]


class _Units(NamedTuple):
    """What a product computes in: the dtype of its partial sums, and that of the result."""

    inner: torch.dtype
    result: torch.dtype

    @classmethod
    def of(cls, a: Tensor, out: Tensor) -> _Units:
        if a.dtype is out.dtype is torch.bfloat16:
            return cls(torch.float32, torch.bfloat16)
        coarse = rounding_dtype(a, out)
        return cls(coarse, coarse)


def _settle(before: _Operands, out: Tensor, expected: Tensor, units: _Units, place: _Place) -> Tensor:
    """``out``, after a comparison with the thresholds themselves, and corrected where it is off."""
    # Of an operand that has changed since, the norm says nothing: it is judged by its checksum.
    tau = before.tau(out.detach(), units) if before.unchanged() else torch.from_numpy(before.least_tau(units))
    call = _Call(before, out, expected, tau, place.name)
    violated = call.violated()
    if not len(violated):
        return out
    first = int(violated[0])
    call.threshold = float(tau[first])
    deviation = (_sums(out.detach()) - expected).abs().nan_to_num(float("inf"), float("inf"))
    location = index_of(first, place.shape) if place.shape else None
    recover(call, place.guard, location=location, deviation=float(deviation.max()))
    return call.out


def batch_shape(*operands: Tensor) -> tuple[int, ...]:
    """What the batch dimensions of ``operands`` (..., rows, columns) broadcast to."""
    shape = operands[0].shape[:-2]
    if all(each.shape[:-2] == shape for each in operands[1:]):
        return tuple(shape)
    # 40 µs in torch 2.13.
    broadcast = torch.broadcast_shapes(*(each.shape[:-2] for each in operands))  # type: ignore[no-untyped-call]
    return tuple(broadcast)


def as_batch(x: Tensor, batch: tuple[int, ...]) -> Tensor:
    """``x`` (..., rows, columns) as (B, rows, columns), B the product of ``batch``, a view where possible."""
    rows, columns = x.shape[-2:]
    if x.shape[:-2] != batch:
        x = x.expand(*batch, rows, columns)
    return x.reshape(prod(batch), rows, columns)


def _sums(out: Tensor) -> Tensor:
    """S5 (B,) in float64."""
    b, i, j = out.shape
    return block_sums(out.reshape(1, b * i, j), True).view(b, i).sum(1)


def _norm(x: Tensor, *dims: int) -> Tensor:
    """Euclidean norm over ``dims`` in float64."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=dims, dtype=_WIDE)
    return norm


def _array(x: Tensor) -> NDArray[np.float64]:
    """A (B,) tensor for numpy, whose calls on short vectors take a fifth of torch's."""
    array: NDArray[np.float64] = x.cpu().numpy()
    return array


class _Operands:
    """The operands, and their sums cd1, cw1 (B, K) in float64, taken before the product runs."""

    def __init__(self, a: Tensor, b: Tensor, alpha: float) -> None:
        self.a, self.b, self.alpha = a, b, alpha
        self.cd1, self.cw1 = self._summed()

    def _summed(self) -> tuple[Tensor, Tensor]:
        return self.a.sum(1, dtype=_WIDE), self.b.sum(2, dtype=_WIDE)

    def unchanged(self) -> bool:
        """Whether the operands still have the sums they had; false for NaN."""
        return all(map(torch.equal, self._summed(), (self.cd1, self.cw1)))

    @property
    def size(self) -> tuple[int, int, int]:
        """I, J, K."""
        return self.a.shape[1], self.b.shape[2], self.a.shape[2]

    def co5(self) -> Tensor:
        """Co5 (B,)."""
        co5: Tensor = torch.linalg.vecdot(self.cd1, self.cw1)
        return co5 if self.alpha == 1.0 else co5 * self.alpha

    def least_tau(self, units: _Units) -> NDArray[np.float64]:
        """What τ (B,) is at least."""
        cd1, cw1 = _array(self.cd1), _array(self.cw1)
        squares = np.einsum("bk,bk->b", cd1, cd1) * np.einsum("bk,bk->b", cw1, cw1)
        least: NDArray[np.float64] = np.sqrt(squares)
        least *= _steps(self.size, units.inner) * ROUNDOFF[units.inner] * abs(self.alpha)
        return least

    def tau(self, out: Tensor, units: _Units) -> Tensor:
        """τ (B,) of the output ``out`` (B, I, J)."""
        a, b = (_norm(self.a, 1, 2), _norm(self.cd1, 1)), (_norm(self.b, 1, 2), _norm(self.cw1, 1))
        return _tau(a, b, _norm(out, 1, 2), self.alpha, self.size, units)


def _steps(size: tuple[int, int, int], dtype: torch.dtype) -> float:
    """c of the formula."""
    i, j, k = size
    return SIGMAS / sqrt(3) * sqrt(1 + (ROUNDOFF[_WIDE] / ROUNDOFF[dtype]) ** 2 * (i * j / k + i + j))


def _tau(
    a: tuple[Tensor, Tensor],
    b: tuple[Tensor, Tensor],
    norm_out: Tensor,
    alpha: float,
    size: tuple[int, int, int],
    units: _Units,
) -> Tensor:
    """The formula; ``a``: ‖A‖ and ‖Cd1‖, ``b``: ‖B‖ and ‖Cw1‖. Where O is not finite, ρ = 1."""
    i, j, k = size
    alpha = abs(alpha)
    c = _steps(size, units.inner)
    aligned = c * sqrt((k + 1) / 3) + (k + 1) / 2
    largest = (a[0] * b[0] * alpha).clamp_min(_TINY)
    cosine = (norm_out / largest).nan_to_num(1.0).clamp(max=1.0)
    unit = ROUNDOFF[units.inner]
    by_cosine = unit * aligned
    if units.result is not units.inner:
        by_cosine += ROUNDOFF[units.result] * c
    tau: Tensor = torch.hypot(*a) * torch.hypot(*b) * (cosine * by_cosine + c * unit) * alpha
    return tau + i * j * k * torch.finfo(units.result).tiny


class _Product:
    """``product.Product`` as far as the ladder uses it, with other weights at each position."""

    window = Window()
    groups = 1

    def __init__(self, operands: _Operands) -> None:
        self._operands = operands

    def weight(self) -> Tensor:
        """B as (J, K, B)."""
        return self._operands.b.permute(2, 1, 0)

    @property
    def cw1(self) -> Tensor:
        """Cw1 (K, B)."""
        return self._operands.cw1.mT

    @cached_property
    def cw2(self) -> Tensor:
        """Cw2 (K, B) of B as it is now."""
        b = self._operands.b
        return torch.einsum("bkj,j->kb", b.to(_WIDE), counted(b.shape[2], b))

    def by_kernels(self, d: Tensor, positions: Tensor) -> Tensor:
        """``d`` (N, K, B) times B at ``positions`` (V,): (N, J, V) float64."""
        at = d[:, :, positions].to(_WIDE).permute(2, 0, 1)
        product = torch.bmm(at, self._operands.b[positions].to(_WIDE)) * self._operands.alpha
        return product.permute(1, 2, 0)

    def by_sums(self, d: Tensor, positions: Tensor, sums: list[Tensor]) -> Tensor:
        """``d`` (N, K, B) times each of ``sums`` (K, B) at ``positions``: (N, len(sums), V) float64."""
        kernels = torch.stack([each[:, positions] for each in sums])
        at = d[:, :, positions].to(_WIDE)
        return torch.einsum("nkv,skv->nsv", at, kernels) * self._operands.alpha


class _Call:
    """``ladder.Call`` of one product: image i is a row of A, kernel j a column of B, position b."""

    threshold = 0.0
    whole = True

    def __init__(self, before: _Operands, out: Tensor, expected: Tensor, tau: Tensor, name: str) -> None:
        self.name, self.out, self.outputs = name, out, out.shape[-1]
        self._before, self._expected, self._tau = before, expected, tau
        self._fine = torch.zeros_like(tau, dtype=torch.bool)
        self.d = before.a.permute(1, 2, 0)
        self.cd1 = before.cd1.mT
        finite = bool(before.cd1.isfinite().all() and before.cw1.isfinite().all())
        self.stats = BatchStats(0.0, 0.0 if finite else inf, 0.0, 0.0)
        self.product: Any = _Product(before)

    def violated(self) -> Tensor:
        """The matrices (V,) that are off now."""
        deviation = (_sums(self.out.detach()) - self._expected).abs()
        return (~(deviation <= self._tau) & ~self._fine).nonzero()[:, 0]

    def expected(self, positions: Tensor) -> Tensor:
        """Co5 (V,) float64."""
        return self._expected[positions]

    def read(self, positions: Tensor) -> Tensor:
        """Blocks (I, J, V) float64."""
        return self.out.detach()[positions].to(_WIDE).permute(1, 2, 0)

    def write(self, positions: Tensor, blocks: Tensor, changed: Tensor) -> None:
        """Put the ``changed`` ones of ``blocks`` (I, J, V) into the output."""
        i, j, v = changed.nonzero(as_tuple=True)
        self.out.detach()[positions[v], i, j] = blocks[i, j, v].to(self.out.dtype)

    def discard(self, positions: Tensor) -> None:
        """Believe the output at ``positions``."""
        self._fine[positions] = True

    def sum_input(self) -> tuple[Tensor, BatchStats]:
        """Cd1 (K, B) and ``stats``, as they were: raises InputDamaged where A or B no longer has its sum."""
        if not self._before.unchanged():
            raise InputDamaged(self.name, expected="operands as they were summed", got="changed ones")
        return self.cd1, self.stats

    def expect(self, cd1: Tensor) -> None:
        """Use ``cd1`` (K, B) and its Co5 from now on."""
        self._expected = self._before.co5()

    def sound(self) -> bool:
        """Whether all of O is α A B, also where errors cancel in S5: by other weights (see ``freivalds``)."""
        before, out = self._before, self.out.detach()
        q, r = (_weights(x.shape[dim]) for x, dim in ((out, 1), (out, 2)))
        left, right = (q @ before.a.to(_WIDE)), (before.b.to(_WIDE) @ r)
        expected = torch.linalg.vecdot(left, right) * before.alpha
        return bool((((q @ out.to(_WIDE)) @ r - expected).abs() <= 2 * self._tau).all())  # false for NaN

    def repair_weights(self) -> str:
        """Nothing to repair: ``sum_input`` has looked at both operands."""
        return ""

    def recompute(self) -> None:
        """Multiply the matrices that are off again."""
        off = self.violated()
        before = self._before
        self.out.detach()[off] = compute(before.a[off], before.b[off], before.alpha).to(self.out.dtype)

    def near_co1(self, positions: Tensor) -> Tensor:
        """Co1 (J, V) at ``positions``."""
        co1: Tensor = self.product.by_kernels(self.cd1[None], positions)[0]
        return co1

    def thresholds(self) -> Thresholds:
        """The largest thresholds of the matrices that are off; t1, t3 (J, 1), t2, t4 (I, 1)."""
        i, j, _ = self._before.size
        parts = [self._thresholds(part) for part in torch.split(self.violated(), max(1, CHUNK // (i * j)))]
        largest = [torch.stack(each).amax(0) for each in zip(*parts, strict=True)]
        t1, t2, t3, t4 = (each[:, None] for each in largest[:4])
        return Thresholds(t1, t2, t3, t4, *(float(each) for each in largest[4:]))

    def _thresholds(self, at: Tensor) -> list[Tensor]:
        """τ1 … τ4 (J or I,), τ5 … τ7 (): of one row i, ‖Cd1‖ is ‖a_i‖; weighted sums have i a_i and j b_j."""
        before = self._before
        a, b, out = (x.detach()[at].to(_WIDE) for x in (before.a, before.b, self.out))
        i, j, _ = before.size
        by_n, by_m = counted(i, a)[:, None], counted(j, b)
        rows, columns = (_norm(a, 2),) * 2, (_norm(b, 1),) * 2
        left, left_n = (_whole(x, 1) for x in (a, a * by_n))
        right, right_m = (_whole(x, 2) for x in (b, b * by_m))
        out_n, out_m = out * by_n, out * by_m
        cases = (
            (left, columns, _norm(out, 1)),
            (rows, right, _norm(out, 2)),
            (left_n, columns, _norm(out_n, 1)),
            (rows, right_m, _norm(out_m, 2)),
            (left, right, _norm(out, 1, 2)[:, None]),
            (left, right_m, _norm(out_m, 1, 2)[:, None]),
            (left_n, right, _norm(out_n, 1, 2)[:, None]),
        )
        units = _Units.of(before.a, self.out)
        taus = [_tau(x, y, norm, before.alpha, before.size, units).amax(0) for x, y, norm in cases]
        return [*taus[:4], *(each[0] for each in taus[4:])]


def _weights(count: int) -> Tensor:
    """Numbers between ½ and 1, always the same ones."""
    generator = torch.Generator().manual_seed(count)
    return 0.5 + 0.5 * torch.rand(count, generator=generator, dtype=_WIDE)


def _whole(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The norm of each matrix (V, 1), and that of its sum over ``dim``."""
    return _norm(x, 1, 2)[:, None], _norm(x.sum(dim), 1)[:, None]
