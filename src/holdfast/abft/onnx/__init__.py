"""Protection of ONNX models: checksums in standard operators, so that any ONNX Runtime runs them."""

from holdfast.abft.onnx.protect import CORRECTED, DEVIATION, LayerReport, protect_onnx

__all__ = ["CORRECTED", "DEVIATION", "LayerReport", "protect_onnx"]
