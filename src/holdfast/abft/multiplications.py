"""How each function of torch that multiplies is checked: as a layer, or as a batch of products.

A matrix on the right is a weight: ``x @ w`` with w of two dimensions goes the way of ``linear``, which has a
checksum for every index between the first dimension and the features. Everything else is a batch of products
(``batched``). What does not fit runs unchecked: integers, ``out=``, sparse operands, odd einsums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from holdfast.abft.attention import attend
from holdfast.abft.batched import as_batch, batch_shape, multiply
from holdfast.abft.events import Guard
from holdfast.abft.layers import ProtectedConv, ProtectedLayer, ProtectedLinear
from holdfast.abft.weights import Keeper, WeightFault

_FLOATS = (torch.float32, torch.float64, torch.bfloat16)


class WeightNames:
    """Which memory belongs to which parameter of a model: what lies there stays between calls."""

    def __init__(self, model: nn.Module, keeper: Keeper | None) -> None:
        self._model = (model,)  # in a tuple, so that no module registers it
        self.keeper = keeper
        self._names: dict[int, str] = {}

    def name(self, tensor: Tensor) -> str | None:
        """The parameter that ``tensor`` is, or is a view of."""
        if not self._names:
            tensors = self._model[0].state_dict(keep_vars=True).items()
            self._names = {t.untyped_storage().data_ptr(): n for n, t in tensors if isinstance(t, Tensor)}
        return self._names.get(tensor.untyped_storage().data_ptr())

    def clear(self) -> None:
        """Look again: tensors may have moved."""
        self._names = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_names": {}}


class _OneWeight:
    """A keeper that knows one parameter, whatever the layer is called."""

    def __init__(self, keeper: Keeper, name: str) -> None:
        self._keeper, self._name = keeper, name

    def repair(self, _: str = "") -> list[WeightFault]:
        return self._keeper.repair(self._name)

    def damaged(self, _: str = "") -> list[str]:
        return self._keeper.damaged(self._name)


@dataclass(frozen=True)
class Site:
    """Where a product is computed: its name in events, the guard, and the layers made for static weights."""

    name: str
    guard: Guard
    weights: WeightNames
    layers: dict[Any, ProtectedLayer]

    def layer(self, weight: Tensor, key: Any, make: Callable[[str], ProtectedLayer]) -> ProtectedLayer:
        """The layer with ``weight``: made once where that is a parameter, anew where it was computed."""
        parameter = self.weights.name(weight)
        if parameter is None:
            return make(self.name)
        key = (weight.data_ptr(), weight.shape, weight.stride(), key)
        layer = self.layers.get(key)
        if layer is None:
            module = self.name.partition(":")[0]
            layer = make(f"{self.name}({parameter.removeprefix(module + '.')})")
            if self.weights.keeper is not None:
                layer.keeper = _OneWeight(self.weights.keeper, parameter)  # type: ignore[assignment]
            self.layers[key] = layer
        return layer


_Function = Callable[..., Any]
_Check = Callable[..., Any]
CHECKED: dict[_Function, _Check] = {}
"""The check of each function: called with (site, args, kwargs) instead of the function."""


def why_unchecked(func: _Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Why a call of a function in CHECKED would run unchecked; None if it is checked."""
    tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
    if not tensors or "out" in kwargs:
        return "it writes into a tensor of the caller"
    if any(each.layout is not torch.strided for each in tensors):
        return "an operand is sparse"
    if tensors[0].dtype not in _FLOATS:
        return f"{tensors[0].dtype} is not covered"
    if func is torch.einsum and (len(args) != 3 or not _batched_letters(args[0], args[1:])):
        return "this einsum is no batch of products of two matrices"
    return None


def _checks(*functions: _Function) -> Callable[[_Check], _Check]:
    """Register the check of ``functions``."""

    def add(check: _Check) -> _Check:
        CHECKED.update(dict.fromkeys(functions, check))
        return check

    return add


@_checks(functional.linear)
def _linear(site: Site, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002
    if bias is not None and site.weights.name(bias) is None:
        added: Tensor = _linear(site, input, weight) + bias
        return added

    def make(name: str) -> ProtectedLayer:
        sizes = {"in_features": weight.shape[1], "out_features": weight.shape[0]}
        return ProtectedLinear(_holder(nn.Linear, weight, bias, **sizes), name, site.guard)

    return site.layer(weight, None if bias is None else bias.data_ptr(), make).checked(input)


@_checks(torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.mm, torch.Tensor.mm)
@_checks(torch.bmm, torch.Tensor.bmm, torch.mv, torch.Tensor.mv)
def _matmul(site: Site, *args: Any, **kwargs: Any) -> Tensor:
    # The second one is called other, mat2 or vec.
    first = args[0] if args else kwargs.pop("input")
    return _product(site, first, args[1] if len(args) > 1 else kwargs.popitem()[1])


def _product(site: Site, x: Tensor, other: Tensor) -> Tensor:
    """``torch.matmul``."""
    if other.dim() == 1:
        return _linear(site, x, other[None]).squeeze(-1)  # type: ignore[no-any-return]
    if other.dim() == 2:
        return _linear(site, x, other.mT)  # type: ignore[no-any-return]
    if x.dim() == 1:
        return _product(site, x[None], other).squeeze(-2)
    batch = batch_shape(x, other)
    a, b = as_batch(x, batch), as_batch(other, batch)
    return multiply(a, b, site.name, site.guard, shape=batch).view(*batch, a.shape[1], b.shape[2])


@_checks(torch.addmm, torch.Tensor.addmm, torch.baddbmm, torch.Tensor.baddbmm)
def _added(site: Site, *args: Any, beta: float = 1, alpha: float = 1, **kwargs: Any) -> Tensor:
    names = ("input", "mat1" if "mat1" in kwargs else "batch1", "mat2" if "mat2" in kwargs else "batch2")
    added, a, b = (*args, *(kwargs[name] for name in names[len(args) :]))
    product = _product(site, a, b)
    product = product if alpha == 1 else product * alpha
    return product if beta == 0 else product.add(added, alpha=beta)


@_checks(torch.einsum)
def _einsum(site: Site, equation: str, a: Tensor, b: Tensor) -> Tensor:
    found = _batched_letters(equation, (a, b))
    assert found is not None  # why_unchecked has seen to that
    left, right, out, (batch, rows, columns, inner) = found
    sizes = dict(zip(left + right, (*a.shape, *b.shape), strict=True))

    def size(letters: str) -> int:
        return prod(sizes[each] for each in letters)

    def arranged(x: Tensor, letters: str, order: tuple[str, str, str]) -> Tensor:
        together = "".join(order)
        return x.permute([letters.index(each) for each in together]).reshape([size(part) for part in order])

    product = multiply(
        arranged(a, left, (batch, rows, inner)),
        arranged(b, right, (batch, inner, columns)),
        site.name,
        site.guard,
        shape=tuple(sizes[each] for each in batch),
    )
    order = batch + rows + columns
    return product.view([sizes[each] for each in order]).permute([order.index(each) for each in out])


_Letters = tuple[str, str, str, tuple[str, str, str, str]]


def _batched_letters(equation: Any, operands: Sequence[Any]) -> _Letters | None:
    """The letters of both operands and of the result, and which are batch, rows, columns and summed; or None.

    None unless the einsum is a batch of products: every letter once an operand, of one size, and either in
    the result or in both operands.
    """
    if not isinstance(equation, str) or not all(isinstance(each, Tensor) for each in operands):
        return None
    terms, arrow, out = equation.replace(" ", "").partition("->")
    parts = terms.split(",")
    if len(parts) != 2 or not arrow or len(operands) != 2:
        return None
    spare = [each for each in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if each not in equation]
    dots = [x.dim() - len(part.replace("...", "")) for part, x in zip(parts, operands, strict=True)]
    left, right = (
        part.replace("...", "".join(spare[:count])) for part, count in zip(parts, dots, strict=True)
    )
    if "..." in terms and dots[0] != dots[1]:
        return None
    out = out.replace("...", "".join(spare[: dots[0]]))
    for letters, x in ((left, operands[0]), (right, operands[1])):
        if len(set(letters)) != len(letters) or len(letters) != x.dim():
            return None
    sizes = dict(zip(left, operands[0].shape, strict=True))
    if any(sizes.get(each, count) != count for each, count in zip(right, operands[1].shape, strict=True)):
        return None
    both = [each for each in left if each in right]
    batch, inner = ("".join(each for each in both if (each in out) is there) for there in (True, False))
    rows = "".join(each for each in left if each not in right)
    columns = "".join(each for each in right if each not in left)
    if sorted(out) != sorted(batch + rows + columns):
        return None
    return left, right, out, (batch, rows, columns, inner)


@_checks(functional.scaled_dot_product_attention)
def _attention(site: Site, *args: Any, **kwargs: Any) -> Tensor:
    return attend(*args, **kwargs, name=site.name, guard=site.guard)


_ORDER = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_ORDER_TRANSPOSED = (*_ORDER[:5], "output_padding", "groups", "dilation")


def _convolution(
    site: Site,
    kind: type[nn.modules.conv._ConvNd],
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    output_padding: Any = 0,
) -> Tensor:
    """What modules of ``kind`` compute."""
    kernel = tuple(weight.shape[2:])
    if bias is not None and site.weights.name(bias) is None:
        bare = _convolution(
            site, kind, input, weight, None, stride, padding, dilation, groups, output_padding
        )
        return bare + bias.view(-1, *[1] * len(kernel))
    transposed = issubclass(kind, nn.modules.conv._ConvTransposeNd)
    steps, spread, extra = (_each(x, len(kernel)) for x in (stride, dilation, output_padding))
    margin = _margin(padding, kernel, spread)

    def make(name: str) -> ProtectedLayer:
        channels = (weight.shape[1] * groups, weight.shape[0])
        inputs, outputs = channels[::-1] if transposed else channels
        both = [amount for pair in reversed(margin) for amount in pair]
        attributes: dict[str, Any] = {
            "in_channels": inputs,
            "out_channels": outputs,
            "kernel_size": kernel,
            "stride": steps,
            "padding": padding if isinstance(padding, str) else tuple(first for first, _ in margin),
            "dilation": spread,
            "transposed": transposed,
            "output_padding": extra,
            "groups": groups,
            "padding_mode": "zeros",
            "_reversed_padding_repeated_twice": both,
        }
        return ProtectedConv(_holder(kind, weight, bias, **attributes), name, site.guard)

    key = (None if bias is None else bias.data_ptr(), steps, margin, spread, extra, groups)
    return site.layer(weight, key, make).checked(input)


def _check_of(kind: type[nn.modules.conv._ConvNd]) -> _Check:
    order = _ORDER_TRANSPOSED if issubclass(kind, nn.modules.conv._ConvTransposeNd) else _ORDER

    def check(site: Site, *args: Any, **kwargs: Any) -> Tensor:
        return _convolution(site, kind, **dict(zip(order[: len(args)], args, strict=True)), **kwargs)

    return check


def _each(value: Any, dimensions: int) -> tuple[int, ...]:
    values = (value,) * dimensions if isinstance(value, int) else tuple(value)
    return values * dimensions if len(values) < dimensions else values


def _margin(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(before, after) of each dimension."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((amount, amount) for amount in _each(padding, len(kernel)))


for _function, _kind in (
    (functional.conv1d, nn.Conv1d),
    (functional.conv2d, nn.Conv2d),
    (functional.conv3d, nn.Conv3d),
    (functional.conv_transpose1d, nn.ConvTranspose1d),
    (functional.conv_transpose2d, nn.ConvTranspose2d),
    (functional.conv_transpose3d, nn.ConvTranspose3d),
):
    _checks(_function)(_check_of(_kind))


def _holder(kind: type[nn.Module], weight: Tensor, bias: Tensor | None, **attributes: Any) -> nn.Module:
    """A layer of ``kind`` around tensors that live elsewhere: they are no parameters of it."""
    layer = kind.__new__(kind)
    nn.Module.__init__(layer)
    for name, value in {"weight": weight, "bias": bias, **attributes}.items():
        object.__setattr__(layer, name, value)
    return layer.eval()
