"""oneDNN's example cnn_inference_int8, protected: AlexNet's conv3 and ReLU, u8 × s8 → s32 → u8, batch 8.

The sums are compared on s32, before requantisation: a requantised u8 is no longer linear. Integers add
without rounding, so the threshold is 0, and every flipped bit of the output, weights or input is seen. The
checksums themselves need more room than what they sum: Σ of 384 s8 kernels reaches ±49152, Σ of 8 u8 images
2040, and Co5 2·10¹¹, which float32 (exact to 2²⁴) cannot hold either; here they are int64.

Run: python examples/onednn_cnn_inference_int8.py
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

BATCH, INPUTS, OUTPUTS, SIDE = 8, 256, 384, 13
Damage = Callable[[Tensor, Tensor, Tensor], None]


class CheckedConvolution:
    """3×3 convolution, padding 1, whose s32 result is checked exactly and corrected.

    ``weight`` (M, C, 3, 3) int8; ``scales`` (M,) float32 turn s32 into u8. ``found`` lists what happened.
    """

    def __init__(self, weight: Tensor, scales: Tensor) -> None:
        self.weight, self.scales = weight, scales
        self.pristine = weight.clone()
        self.cw1 = weight.long().sum(0)
        self.cw2 = (weight.long() * counted(len(weight))[:, None, None, None]).sum(0)
        self.found: list[str] = []

    def __call__(self, d: Tensor, damage: Damage | None = None) -> Tensor:
        """u8 (N, M, H, W) of ``d`` (N, C, H, W) uint8; ``damage(d, weight, o)`` strikes before the check."""
        cd1, cd2 = d.long().sum(0), (d.long() * counted(len(d))[:, None, None, None]).sum(0)
        o = convolve(d, self.weight).int()
        if damage is not None:
            damage(d, self.weight, o)
        if not torch.equal(d.long().sum(0), cd1):
            raise RuntimeError("the input was damaged after it had been summed: run again")
        if not torch.equal(self.weight.long().sum(0), self.cw1):
            self.found.append("weights reloaded, recomputed")
            self.weight.copy_(self.pristine)
            o = convolve(d, self.weight).int()
        delta = convolve(cd1[None], self.cw1[None])[0, 0] - o.long().sum((0, 1))
        if delta.any():
            o = self._correct(d, o, delta, cd1, cd2)
        return requantise(o, self.scales)

    def _correct(self, d: Tensor, o: Tensor, delta: Tensor, cd1: Tensor, cd2: Tensor) -> Tensor:
        """CoC at each position that is off: row δ7/δ5, column δ6/δ5, from 1; else the layer again."""
        n, m = counted(o.shape[0]), counted(o.shape[1])
        delta6 = convolve(cd1[None], self.cw2[None])[0, 0] - torch.einsum("m,nmyx->yx", m, o.long())
        delta7 = convolve(cd2[None], self.cw1[None])[0, 0] - torch.einsum("n,nmyx->yx", n, o.long())
        for y, x in delta.nonzero().tolist():
            step, row, column = int(delta[y, x]), int(delta7[y, x]), int(delta6[y, x])
            legal = row % step == 0 and column % step == 0
            if not legal or not (1 <= row // step <= len(n) and 1 <= column // step <= len(m)):
                self.found.append("recomputed")
                return convolve(d, self.weight).int()
            index = (row // step - 1, column // step - 1, y, x)
            self.found.append(f"CoC at {index}")
            o[index] = int(o[index]) + step
        return o


def convolve(d: Tensor, weight: Tensor) -> Tensor:
    """The exact integer convolution, int64: float64 holds all integers to 2⁵³, and none here exceeds 2³⁸."""
    return functional.conv2d(d.double(), weight.double(), padding=1).long()


def requantise(o: Tensor, scales: Tensor) -> Tensor:
    """s32 (N, M, H, W) to u8: scaled by channel, ReLU, rounded, saturated."""
    return (o * scales[:, None, None]).relu().round().clamp(max=255).to(torch.uint8)


def counted(count: int) -> Tensor:
    """1, 2, …, ``count``."""
    return torch.arange(1, count + 1)


def conv3(seed: int = 0) -> tuple[Tensor, CheckedConvolution]:
    """Random data and weights in the example's geometry, with its two output scales, a thousandth of them."""
    generator = torch.Generator().manual_seed(seed)
    d = torch.randint(0, 256, (BATCH, INPUTS, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    weight = torch.randint(-128, 128, (OUTPUTS, INPUTS, 3, 3), generator=generator, dtype=torch.int8)
    scales = torch.where(torch.arange(OUTPUTS) < OUTPUTS // 2, 0.3e-3, 0.8e-3)
    return d, CheckedConvolution(weight, scales)


def main() -> None:
    """The clean answer holds with a flipped bit in the s32 output and in a weight."""
    d, layer = conv3()
    clean = layer(d)
    assert not layer.found

    def flip_output(d: Tensor, weight: Tensor, o: Tensor) -> None:
        o[3, 100, 5, 7] ^= 1 << 30

    def flip_weight(d: Tensor, weight: Tensor, o: Tensor) -> None:
        weight[17, 0, 1, 1] ^= 1

    for damage in (flip_output, flip_weight):
        answer = layer(d, damage)
        assert torch.equal(answer, clean)
        print(f"{damage.__name__}: {layer.found.pop()}; the answer is the clean one")


if __name__ == "__main__":
    main()
