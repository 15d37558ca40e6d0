"""A check that nothing cancels in: random weights on both sides (Freivalds).

A fault in D or W strikes every position that reads it. At some of them its errors may cancel in Co5, which
then stays silent there: kernels of ±1, say, often sum to zero. With weights q_n and r_m that have no relation
to the data,

    Σ_nm q_n r_m O_nm = (Σ_n q_n D_n) ⊗ (Σ_m r_m W_m)

fails there too. It costs about as much as CoC-D itself and needs D and W, verified: for use after a fault.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from holdfast.abft.checksum import image_sum, kernel_sum
from holdfast.abft.expected import ExpectedSums
from holdfast.abft.product import Product

_SEED = 20031220
_DRAWS = 4
"""Two weights of one draw may be nearly equal, and what cancels between them passes; not in every draw."""


def product_holds(
    product: Product, d: Tensor, out: Iterable[Tensor], bias: Tensor | None, threshold: float
) -> bool:
    """Whether ``out``, images (M, P) with ``bias`` (M,), is the product of ``d`` (N, C, *space).

    The weights lie between ½ and 1, in ``_DRAWS`` draws from a fixed seed: rounding stays below
    ``threshold``, that of S5, at every position, and an error of one block of eight times as much does not.
    """
    weight, images = product.weight(), list(out)
    generator = torch.Generator().manual_seed(_SEED)
    for _ in range(_DRAWS):
        q, r = (
            0.5 + 0.5 * torch.rand(count, generator=generator, dtype=torch.float64)
            for count in (len(d), weight.shape[0])
        )
        kernels = kernel_sum(weight, product.groups, r)
        expected = ExpectedSums(kernels, product.window)(image_sum(d, q).contiguous(), False)
        if bias is not None:
            expected = expected + q.sum() * (r @ bias.detach().to(torch.float64))
        sums = torch.zeros_like(expected)
        for factor, image in zip(q, images, strict=True):
            sums += factor * (r @ image.detach().to(torch.float64))
        if not bool(((sums - expected).abs() <= threshold).all()):  # true for a NaN
            return False
    return True
