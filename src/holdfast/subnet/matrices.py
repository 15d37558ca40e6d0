"""A sparse network as sparse matrices: what attacks differentiate in place of dense convolutions of zeros.

A convolution of maps (C, H, W) is a matrix (M·H'·W', C·H·W) with an entry for each kept weight at each place.
Maps stay in the layout (C, H, W, N) between layers, so that a product runs along whole batches.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from holdfast.core.errors import UsageError
from holdfast.subnet.layers import prunable, replace

MOST_ENTRIES = 4_000_000
"""Entries of all matrices of a network up to which they are worth their memory."""

MOST_SHARE = 1 / 12
"""Share of a dense network's multiplications up to which they are worth their time.

Measured: at 1/26 a gradient takes 0.37 of the time.
"""


def worth_matrices(model: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Whether ``as_matrices`` is faster than ``model``, and fits into memory."""
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return False  # torch has no such product then
    places = {name: places for name, (_, places) in _input_sizes(model, shape).items()}
    weights = {name: layer.weight for name, layer in prunable(model).items() if name in places}
    kept = sum(int(weight.count_nonzero()) * places[name] for name, weight in weights.items())
    dense = sum(weight.numel() * places[name] for name, weight in weights.items())
    return kept <= min(MOST_ENTRIES, MOST_SHARE * dense)


class Twin(nn.Module):
    """``differentiable`` where a gradient is asked for, ``answer`` elsewhere: two forms of one network."""

    def __init__(self, differentiable: nn.Module, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.differentiable = differentiable
        self._answer = (answer,)  # in a tuple, so that it is no submodule: its parameters are the same ones

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of (N, C, H, W)."""
        if torch.is_grad_enabled() and x.requires_grad:
            logits: Tensor = self.differentiable(x)
            return logits
        return self._answer[0](x.contiguous())


def as_matrices(model: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """A copy of ``model`` in eval mode for maps of ``shape`` (C, H, W), its layers products with matrices.

    Outputs and gradients are those of ``model`` up to rounding. Raises UsageError for padding other than
    zeros.
    """
    network = copy.deepcopy(model).eval().requires_grad_(False)
    sizes = _input_sizes(network, shape)
    for name, layer in prunable(network).items():
        if name in sizes:
            replace(network, name, _Product(layer, sizes[name][0]))
    for name, module in list(network.named_modules()):
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            replace(network, name, _Scaled(module))
    return network


class _Product(nn.Module):
    """A convolution or linear layer for inputs of one size."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, size: tuple[int, ...]) -> None:
        super().__init__()
        self.outputs, entries = _entries(layer, size)
        rows, columns, values = entries
        self.inputs = int(np.prod(size))
        shape = (int(np.prod(self.outputs)), self.inputs)
        self.matrix, self.transposed = (
            _csr(rows, columns, values, shape),
            _csr(columns, rows, values, shape[::-1]),
        )
        self.bias = None if layer.bias is None else layer.bias.detach().reshape(-1, *[1] * (len(size) - 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, M, H', W') or (N, M) of (N, C, H, W) or (N, K)."""
        batch_last = x.permute(*range(1, x.dim()), 0).reshape(self.inputs, len(x))
        y: Tensor = _Times.apply(batch_last, self.matrix, self.transposed)  # type: ignore[no-untyped-call]
        y = y.view(*self.outputs, len(x)).permute(-1, *range(len(self.outputs)))
        return y if self.bias is None else y + self.bias


class _Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed @ gradient.contiguous(), None, None


class _Scaled(nn.Module):
    """A norm in eval mode, element by element, so that the layout of its input stays."""

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        scale = scale if norm.weight is None else scale * norm.weight
        shift = -norm.running_mean * scale
        self.scale = scale.detach()
        self.shift = (shift if norm.bias is None else shift + norm.bias).detach()

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x`` (N, C, …)."""
        shape = (1, -1, *[1] * (x.dim() - 2))
        return torch.addcmul(self.shift.view(shape), x, self.scale.view(shape))


def _input_sizes(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, tuple[tuple[int, ...], int]]:
    """By layer that is called: the size of one input, and at how many places each weight is used."""
    found: dict[str, tuple[tuple[int, ...], int]] = {}

    def note(name: str) -> Any:
        def hook(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            found[name] = (tuple(args[0].shape[1:]), int(output[0, 0].numel()))

        return hook

    hooks = [layer.register_forward_hook(note(name)) for name, layer in prunable(model).items()]
    try:
        with torch.no_grad():
            model(torch.zeros(1, *shape))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _entries(
    layer: nn.Conv2d | nn.Linear, size: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[Any, Any, Any]]:
    """Size of one output, and rows, columns and values of the matrix."""
    weight = layer.weight.detach().numpy()
    if isinstance(layer, nn.Linear):
        rows, columns = np.nonzero(weight)
        return (len(weight),), (rows, columns, weight[rows, columns])
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise UsageError(
            "matrix of a convolution", expected="zero padding, as a number", got=layer.padding_mode
        )
    (_, high, wide), stride, padding, dilation = size, layer.stride, layer.padding, layer.dilation
    places = [
        (extent + 2 * padding[i] - dilation[i] * (layer.kernel_size[i] - 1) - 1) // stride[i] + 1
        for i, extent in enumerate((high, wide))
    ]
    m, c, i, j = (index[:, None, None] for index in np.nonzero(weight))
    y, x = np.arange(places[0])[None, :, None], np.arange(places[1])[None, None, :]
    from_y, from_x = (
        y * stride[0] - padding[0] + i * dilation[0],
        x * stride[1] - padding[1] + j * dilation[1],
    )
    group = m // (len(weight) // layer.groups)
    column = ((group * weight.shape[1] + c) * high + from_y) * wide + from_x
    row = (m * places[0] + y) * places[1] + x
    inside = (from_y >= 0) & (from_y < high) & (from_x >= 0) & (from_x < wide)
    values = np.broadcast_to(weight[np.nonzero(weight)][:, None, None], inside.shape)
    row = np.broadcast_to(row, inside.shape)
    return (len(weight), *places), (row[inside], column[inside], values[inside])


def _csr(rows: Any, columns: Any, values: Any, shape: tuple[int, ...]) -> Tensor:
    indices = torch.from_numpy(np.stack([rows, columns]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR|invariant)", UserWarning)
        return (
            torch.sparse_coo_tensor(indices, torch.from_numpy(values.copy()), shape)
            .coalesce()
            .to_sparse_csr()
        )
