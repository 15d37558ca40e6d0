"""Inputs moved into [0, 1], where a ball in L∞ has one radius: what many published attacks ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.stress.attacks import wrong_unit
from holdfast.stress.channels import normalise_range

_TOLERANCE = 1e-5


@dataclass(frozen=True)
class UnitBox:
    """A batch ``x`` (N, C, H, W) as ``start`` (N, C', H, W) in [0, 1], and the way back.

    x = ``low`` + ``scale`` · z in the channels with a radius, whose radius in z is ``eps``. The others must
    not change, and an attack must not see them: each image carries its number in the bits of one more channel
    of zeros and ones, which a ball of ``eps`` < 0.5 cannot flip, and they are looked up by it.
    """

    x: Tensor
    start: Tensor
    low: Tensor
    scale: Tensor
    eps: float
    attacked: Tensor

    def decode(self, z: Tensor) -> Tensor:
        """Inputs (n, C, H, W) of any of the images, in any order, of ``z`` (n, C', H, W)."""
        if bool(self.attacked.all()):
            return self.low + self.scale * z
        number = _number(z[:, -1], len(self.x))
        moved = self.low + self.scale * z[:, :-1]
        x = self.x[number].clone()
        x[:, self.attacked] = moved.to(x.dtype)
        return x

    @classmethod
    def of(
        cls,
        x: Tensor,
        radius: Tensor,
        value_range: Sequence[float | None] | None,
        unit_gev: float | Sequence[float | None] | None,
    ) -> UnitBox:
        """The box of images ``x`` (N, C, H, W) in a ball of ``radius`` (1, C or 1, …), constant in a channel.

        Between two bounds the box is that range. Without an upper one it is so large that the ball never
        reaches its end: a power of two times the radius, from the lowest value up.

        Raises UsageError for inputs that are no images or lie below the range, and where channels of
        different radius have the same two bounds, or channels without one images too small for their number.
        """
        if x.dim() != 4:
            raise UsageError("attack", expected="images (N, C, H, W)", got=tuple(x.shape))
        low, high = normalise_range(value_range, unit_gev)
        radii = radius.expand(1, x.shape[1], *radius.shape[2:])[0].flatten(1)[:, 0]
        attacked = radii > 0
        moved, radii = x[:, attacked], radii[attacked]
        if low is not None and float(moved.min()) < low - _TOLERANCE * max(1.0, abs(low)):
            raise wrong_unit("inputs of an attack in [0, 1]", f"values from {low}", float(moved.min()))
        tallest = moved.amax((0, 2, 3))
        if high is not None:
            if low is None or not torch.allclose(radii, radii[:1]):
                expected = "a lower bound and one radius for all channels, or no upper bound"
                raise UsageError("attack in [0, 1]", expected=expected, got=f"{low}, radii {radii.tolist()}")
            lowest, scale = torch.full_like(radii, low), torch.full_like(radii, high - low)
            eps = float(radii[0]) / (high - low)
        else:
            lowest = torch.full_like(radii, low) if low is not None else moved.amin((0, 2, 3)) - radii
            times = 2.0 ** ceil(log2(max(4.0, float(((tallest - lowest) / radii).max()) + 1)))
            scale, eps = times * radii, 1 / times
        shape = (1, -1, 1, 1)
        lowest, scale = lowest.reshape(shape), scale.reshape(shape)
        start = torch.clamp((moved - lowest) / scale, 0, 1).contiguous()
        if not bool(attacked.all()):
            if eps >= 0.5:
                raise UsageError(
                    "attack that spares channels", expected="a radius below half the range", got=eps
                )
            start = torch.cat([start, _tag(x)], 1)
        return cls(x, start, lowest, scale, eps, attacked)


class Logits(nn.Module):
    """``model`` on inputs of a UnitBox, with a logit a class."""

    def __init__(self, model: nn.Module, box: UnitBox) -> None:
        super().__init__()
        self.model, self.box = model, box

    def forward(self, z: Tensor) -> Tensor:
        """Logits (n, classes) of ``z``; a single logit becomes the second of two."""
        logits: Tensor = self.model(self.box.decode(_Contiguous.apply(z)))  # type: ignore[no-untyped-call]
        if logits.dim() == 1 or logits.shape[1] == 1:
            logits = logits.reshape(-1, 1)
            return torch.cat([torch.zeros_like(logits), logits], 1)
        return logits


class _Contiguous(torch.autograd.Function):
    """The identity whose gradient lies in memory as its input does, whatever layout the model prefers.

    pyautoattack takes views of gradients.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


def _tag(x: Tensor) -> Tensor:
    """The number of each image in the first bits of a channel (N, 1, H, W) of zeros and ones."""
    n, bits = len(x), len(x).bit_length()
    pixels = x.shape[2] * x.shape[3]
    if pixels < bits:
        expected = f"at least {bits} pixels for {n} images"
        raise UsageError("attack that spares channels", expected=expected, got=pixels)
    tag = torch.zeros(n, pixels, dtype=x.dtype, device=x.device)
    number = torch.arange(n, device=x.device)
    for bit in range(bits):
        tag[:, bit] = ((number >> bit) & 1).to(x.dtype)
    return tag.reshape(n, 1, *x.shape[2:])


def _number(tag: Tensor, n: int) -> Tensor:
    bits = n.bit_length()
    powers = 2 ** torch.arange(bits, device=tag.device)
    return ((tag.flatten(1)[:, :bits] > 0.5).long() * powers).sum(1)
