"""What a program that runs an ONNX file has to know of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.export.onnx import session

DEVIATION = "holdfast_deviation"
"""Output of a protected network: how far its checksums are off, in units of their thresholds."""


@dataclass(frozen=True)
class Face:
    """Names of input, logits and deviations, shape (C, H, W) of an image, number of classes."""

    input: str
    output: str
    shape: tuple[int, int, int]
    classes: int
    deviation: str | None

    @classmethod
    def of(cls, path: Path) -> Face:
        """Read a file. Raises UsageError unless it makes float logits (n, classes) of (n, C, size, size)."""
        active = session(path)
        inputs, outputs = active.get_inputs(), active.get_outputs()
        shape = inputs[0].shape if inputs else []
        fixed = len(shape) == 4 and all(isinstance(side, int) for side in shape[1:])
        if len(inputs) != 1 or not fixed or shape[2] != shape[3]:
            got = "; ".join(f"{item.name} {item.shape}" for item in inputs)
            raise UsageError(f"{path.name}, inputs", expected="one of (n, C, size, size)", got=got)
        if isinstance(shape[0], int):
            got = f"{shape[0]} at a time"
            raise UsageError(f"{path.name}, input {inputs[0].name}", expected="any number of images", got=got)
        logits = outputs[0].shape
        if outputs[0].type != "tensor(float)" or len(logits) != 2 or not isinstance(logits[1], int):
            raise UsageError(f"{path.name}, output", expected="logits float32 (n, classes)", got=logits)
        deviation = next((item.name for item in outputs if item.name == DEVIATION), None)
        return cls(inputs[0].name, outputs[0].name, (shape[1], shape[2], shape[3]), logits[1], deviation)

    def context(self) -> dict[str, Any]:
        """The same for templates."""
        return {
            "input": self.input,
            "output": self.output,
            "channels": self.shape[0],
            "size": self.shape[1],
            "protected": self.deviation is not None,
            "deviation": self.deviation,
        }
