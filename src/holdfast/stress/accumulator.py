"""The sums inside a layer: what becomes of an output element if its accumulator goes wrong on the way."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.core.protocols import effective_weight


def accumulates(layer: nn.Module) -> bool:
    """Whether the output of ``layer`` is a sum of products, plus a bias: convolutions and Linear."""
    return isinstance(layer, nn.modules.conv._ConvNd | nn.Linear)


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type that sums of products of ``dtype`` are kept in: float32 for narrower ones."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def partial_sums(layer: nn.Module, x: Tensor, index: tuple[int, ...]) -> Tensor:
    """Sums (K,) of the first 1 … K products of element ``index`` of ``layer(x)``, without the bias.

    In ``accumulator_dtype``, each addition rounded. The products are taken in the order of the input in
    memory's terms: channels, then kernel rows and columns, as im2col does; products with a padding or with a
    weight of zero are left out. Kernels in use sum in blocks and lanes: they have other partial sums, of the
    same size. Raises UsageError for a layer that is no convolution and no Linear.
    """
    if not accumulates(layer):
        raise UsageError("accumulator", expected="a convolution or Linear", got=type(layer).__name__)
    unbatched = x.dim() == 1 if isinstance(layer, nn.Linear) else x.dim() == effective_weight(layer).dim() - 1
    with torch.inference_mode(False), torch.enable_grad():
        image = (x.detach() if unbatched else x.detach()[index[0] : index[0] + 1]).clone()
        image.requires_grad_()
        output: Tensor = type(layer).forward(layer, image)
        # The layer is linear: an element's gradient is the weights that it is multiplied with, in place.
        (weights,) = torch.autograd.grad(output[index if unbatched else (0, *index[1:])], image)
    image = image.detach()
    touched = weights != 0
    dtype = accumulator_dtype(x.dtype)
    products = weights[touched].to(dtype) * image[touched].to(dtype)
    # numpy adds one by one in the type itself; torch's cumsum keeps float32 in float64.
    with np.errstate(all="ignore"):
        return torch.from_numpy(np.cumsum(products.cpu().numpy(), dtype=products.cpu().numpy().dtype))
