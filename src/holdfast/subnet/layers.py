"""Layers whose weights never change: a mask, made from trained scores, chooses which of them take part.

Edge-popup (Ramanujan et al., CVPR 2020): forward, the weights with the k largest scores take part; backward,
the mask is passed over as if it were the score itself (straight-through), so the score of a weight w receives
w ∂L/∂W; ranked by |s|, sign(s) w ∂L/∂W.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from holdfast.core.errors import UsageError
from holdfast.subnet.scores import By, top_mask

if TYPE_CHECKING:
    _Base = nn.Module
else:
    _Base = object


class Masked(_Base):
    """What masked layers share: a fixed ``weight``, trained ``scores`` of its shape, ``kept`` weights.

    The weight is a buffer outside of the state dict, since its seed makes it again. There is no bias. The
    mask is worked out once for each state of the scores.
    """

    weight: Tensor
    scores: nn.Parameter
    kept: int

    def start(self, weight: Tensor, scores: Tensor, kept: int, by: By = "value") -> None:
        """Fix ``weight`` and begin with ``scores``, both of the layer's shape. Raises UsageError."""
        for label, tensor in (("weight", weight), ("scores", scores)):
            if tensor.shape != self.weight.shape:
                raise UsageError(
                    f"{label} of a masked layer",
                    expected=f"the shape {tuple(self.weight.shape)}",
                    got=tuple(tensor.shape),
                )
        del self.weight
        self.register_buffer("weight", weight.detach().clone(), persistent=False)
        self.scores = nn.Parameter(scores.detach().clone())
        self.kept = kept
        self._by = by
        self._made: tuple[object, Tensor, Tensor] | None = None

    @property
    def mask(self) -> Tensor:
        """Bool, of the weight's shape, with exactly ``kept`` ones."""
        return self._current()[0]

    def effective_weight(self) -> Tensor:
        """The weights that take part, 0 elsewhere; its gradient goes to the scores."""
        _, product = self._current()
        if torch.is_grad_enabled() and self.scores.requires_grad:
            by_size = self._by == "magnitude"
            chosen: Tensor = _Chosen.apply(  # type: ignore[no-untyped-call]
                self.scores, self.weight, product, by_size
            )
            return chosen
        return product

    def _current(self) -> tuple[Tensor, Tensor]:
        scores, weight = self.scores, self.weight
        state = (scores.data_ptr(), scores._version, weight.data_ptr(), weight._version, self.kept)
        if self._made is None or self._made[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                mask = top_mask(scores, self.kept, self._by)
                # Of the very strides of the weight: where a dimension is 1, other strides would turn the maps
                # of a convolution, and all that follow, into the other order of memory.
                product = torch.where(mask, weight, weight.new_zeros(()), out=torch.empty_like(weight))
                self._made = state, mask, product
        return self._made[1], self._made[2]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}


class MaskedConv2d(Masked, nn.Conv2d):
    """A Conv2d of fixed weights under a mask."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, M, H', W') of (N, C, H, W)."""
        maps: Tensor = self._conv_forward(x, self.effective_weight(), None)
        return maps


class MaskedLinear(Masked, nn.Linear):
    """A Linear of fixed weights under a mask."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) of (..., K)."""
        return functional.linear(x, self.effective_weight())


class _Chosen(torch.autograd.Function):
    """``product`` = weight · mask, with a gradient as if what is ranked, s or |s|, had been the mask."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, weight: Tensor, product: Tensor, by_size: bool) -> Tensor:
        ctx.save_for_backward(weight, *([scores] if by_size else []))
        return product.detach()  # not a view, which would choose strides of its own where a dimension is 1

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        weight, *scores = ctx.saved_tensors
        found = torch.mul(gradient, weight, out=torch.empty_like(weight))
        return found * scores[0].sign() if scores else found, None, None, None


def prunable(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers of ``model`` whose weights can be masked, by name, in order."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def masked_layers(model: nn.Module) -> dict[str, Masked]:
    """The masked layers of ``model``, by name, in order."""
    return {name: m for name, m in model.named_modules() if isinstance(m, Masked)}


def masked(layer: nn.Conv2d | nn.Linear) -> MaskedConv2d | MaskedLinear:
    """A masked layer of the geometry of ``layer``, without bias; it wants ``start``. Raises UsageError."""
    if isinstance(layer, nn.Linear):
        return MaskedLinear(layer.in_features, layer.out_features, bias=False)
    if layer.padding_mode != "zeros":
        raise UsageError("masked convolution", expected="zero padding", got=layer.padding_mode)
    return MaskedConv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        layer.groups,
        bias=False,
    )


def replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put ``layer`` in the place ``name`` of ``model``."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def without_norm(model: nn.Module) -> list[str]:
    """Names of the masked layers of ``model`` that no normalisation follows, in order of registration."""
    found: list[str] = []
    last = ""
    for name, module in [*_leaves(model), ("", None)]:
        if isinstance(module, nn.modules.batchnorm._NormBase):
            last = ""
        elif module is None or isinstance(module, Masked):
            found += [last] if last else []
            last = name
    return found


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, m) for name, m in model.named_modules() if not list(m.children()))
