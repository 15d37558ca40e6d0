"""The fast path: convolutions with prepacked weights, each followed by one native pass over its output.

That pass compares S5 with Co5, adds the residual, applies the activation and sums the result over the
batch, which is the Cd1 of the next layer. ``build`` makes it from a protected model; whatever it cannot do
is left to the protected modules.
"""

from holdfast.abft.fused.fast_path import FastPath, build
from holdfast.abft.fused.program import Program

__all__ = ["FastPath", "Program", "build"]
