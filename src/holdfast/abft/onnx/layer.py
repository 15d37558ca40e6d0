"""What a check and a correction ask of a layer, whatever its operator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from holdfast.abft.onnx.builder import Builder

_GOLDEN = 0.6180339887498949
IRREGULAR = 8
"""The largest weight of the third sum."""


class Unprotected(Exception):  # noqa: N818 - a verdict, caught where layers are listed
    """Why a node's product is not checked."""


@dataclass
class Layer(ABC):
    """A node whose output is a product O = D ⊗ W with outputs m = 1 … M along one ``axis``.

    Every other index of the output is a position with checksums of its own: image and pixel for a
    convolution, row for a matrix product. So each image is a batch of one, for which Cd1 = D_n and
    Co5 = Cd1 ⊗ Cw1 = D_n ⊗ Cw1 is compared with S5 = Σ_m O_nm. Names of tensors stand for tensors.
    """

    node: NodeProto
    name: str
    axis: int
    kind: int = TensorProto.FLOAT
    exact = False  # whether the sums are free of rounding

    @abstractmethod
    def delta(self, g: Builder, out: str) -> str:
        """S5 − Co5 of the output ``out``: float64, the size of ``axis`` is 1."""

    @abstractmethod
    def tau(self, g: Builder) -> str:
        """How far ``delta`` may be off: float64, broadcast against it. Called once, in the main graph."""

    @abstractmethod
    def sums(self, g: Builder) -> list[str]:
        """Co5, Co6 and the irregular sum: products of D with Σ_m c_m W_m, shaped like ``delta``.

        c_m is 1, m (from 1), and ``irregular``, each times ``signs``. The bias is included. For use after a
        fault.
        """

    def signs(self, g: Builder) -> str:
        """The signs s_m = ±1 along ``axis`` with which outputs are summed, float64; "" for ones."""
        return ""

    @abstractmethod
    def counts(self, g: Builder) -> tuple[str, str, str]:
        """The vectors m and ``irregular`` along ``axis``, broadcast against the output, and M; float64."""

    def again(self, g: Builder) -> str:
        """Compute the layer anew."""
        node = NodeProto()
        node.CopyFrom(self.node)
        node.output[0] = node.name = g.name("again")
        g.nodes.append(node)
        return str(node.output[0])


def irregular(m: int) -> NDArray[np.float64]:
    """Whole numbers in 1 … IRREGULAR that no line through m = 1 … ``m`` meets."""
    x = _GOLDEN * np.arange(1, m + 1)
    return np.asarray(1 + np.floor(IRREGULAR * (x - np.floor(x))))


def weightings(m: int) -> NDArray[np.float64]:
    """c_m of the three sums, (3, m)."""
    return np.stack([np.ones(m), np.arange(1.0, m + 1), irregular(m)])


def fixed_counts(g: Builder, m: int, shape: tuple[int, ...]) -> tuple[str, str, str]:
    """``Layer.counts`` of an M that is known beforehand."""
    _, number, third = weightings(m)
    return g.constant(number.reshape(shape)), g.constant(third.reshape(shape)), g.constant(float(m))


def computed_counts(g: Builder, out: str, shape: list[int]) -> tuple[str, str, str]:
    """``Layer.counts`` of an M that is the last size of ``out``."""
    size = g.op("Gather", g.op("Shape", out), g.constant(np.array(-1, np.int64)))
    count = g.cast(size, TensorProto.DOUBLE)
    one = g.constant(1.0)
    number = g.op("Range", one, g.op("Add", count, one), one)
    number = g.op("Reshape", number, g.constant(np.array(shape, np.int64)))
    x = g.op("Mul", number, g.constant(_GOLDEN))
    steps = g.op("Floor", g.op("Mul", g.op("Sub", x, g.op("Floor", x)), g.constant(float(IRREGULAR))))
    return number, g.op("Add", steps, one), count
