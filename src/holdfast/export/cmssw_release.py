"""Which ONNX files the ONNX Runtime of a CMSSW release reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import onnx

from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.export.onnx import inspect


@dataclass(frozen=True)
class Release:
    """A CMSSW release cycle: its ONNX Runtime, and the newest operator set and IR version that it reads."""

    name: str
    onnxruntime: str
    opset: int
    ir: int


_RUNTIMES = {"1.14.1": (18, 8), "1.17.1": (20, 9)}
"""Operator set and IR version by ONNX Runtime (its compatibility table: ONNX 1.13 and 1.15)."""
_CYCLES = {"13_1": "1.14.1", "13_2": "1.14.1", "13_3": "1.14.1", "14_0": "1.17.1", "14_1": "1.17.1"}
"""ONNX Runtime by release cycle (cms-sw/cmssw pull requests 41118, 44354 and 44355)."""
RELEASES = {
    f"CMSSW_{cycle}_X": Release(f"CMSSW_{cycle}_X", version, *_RUNTIMES[version])
    for cycle, version in _CYCLES.items()
}


def find_release(name: str) -> Release:
    """The cycle of a release: CMSSW_14_0_X of itself and of CMSSW_14_0_7_patch1. Raises UnknownNameError."""
    found = re.fullmatch(r"(CMSSW_\d+_\d+)_(X|\d+\w*)", name)
    cycle = f"{found[1]}_X" if found else name
    if cycle not in RELEASES:
        raise UnknownNameError("CMSSW release", name, RELEASES)
    return RELEASES[cycle]


def check_readable(path: Path, release: Release) -> None:
    """Raise UsageError for a file that ``release`` would refuse: operator set, IR version, foreign operators.

    Also for inputs other than float32, since CMSSW hands over nothing else.
    """
    found = inspect(path)
    runtime = f"{release.name} with ONNX Runtime {release.onnxruntime}"
    remedy = "export the model anew: holdfast export onnx writes opset 17 and IR 8"
    for what, got, most in (("opset", found.opset, release.opset), ("IR version", found.ir, release.ir)):
        if not 1 <= got <= most:
            raise UsageError(f"{path}, for {runtime}", expected=f"{what} <= {most}", got=got, remedy=remedy)
    model = onnx.load(path, load_external_data=False)
    if any(item.data_location == onnx.TensorProto.EXTERNAL for item in model.graph.initializer):
        raise UsageError(f"{path}, for {runtime}", expected="one file", got="weights in other files")
    foreign = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if foreign:
        raise UsageError(
            f"{path}, for {runtime}",
            expected="standard operators",
            got=f"those of {', '.join(sorted(foreign))}",
        )
    fed = {item.name for item in model.graph.initializer}
    for item in model.graph.input:
        if item.name not in fed and item.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            raise UsageError(f"{path}, input {item.name}", expected="float32", got="another type")
