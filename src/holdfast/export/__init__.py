"""Networks in forms that other software runs: C source, ONNX, a CMSSW package; and in fewer bits.

What needs the extra ``onnx`` is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from holdfast.export.c_source import Exported, export_c

_LAZY = {
    "Choice": "quantization",
    "CmsswPackage": "cmssw",
    "Measured": "quantization",
    "OnnxFile": "onnx",
    "choose": "quantization",
    "export_cmssw": "cmssw",
    "quantize": "quantization",
    "to_onnx": "onnx",
}

__all__ = ["Exported", "export_c", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
