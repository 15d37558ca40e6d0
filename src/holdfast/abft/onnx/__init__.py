"""Protection of ONNX models: checksums in standard operators, so that any ONNX Runtime runs them."""

from importlib.util import find_spec

from holdfast.core.errors import UsageError

if find_spec("onnx") is None:
    raise UsageError(
        "ONNX models", expected="the package onnx", got="none", remedy="pip install 'holdfast[onnx]'"
    )

from holdfast.abft.onnx.files import copy
from holdfast.abft.onnx.protect import CORRECTED, DEVIATION, LayerReport, protect_onnx

__all__ = ["CORRECTED", "DEVIATION", "LayerReport", "copy", "protect_onnx"]
