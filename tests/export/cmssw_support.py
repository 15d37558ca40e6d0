"""Exported CMSSW packages, compiled against stand-ins of the framework and run on events."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from holdfast import models
from holdfast.data.transforms import Pipeline
from holdfast.export.cmssw import CmsswPackage

STUBS = Path(__file__).parent / "cmssw_stubs"
STRICT = ("-std=c++20", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-pedantic", "-Werror")
CXX = shutil.which("g++") or shutil.which("clang++")
LIBRARY = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*"), None)
needs_cxx = pytest.mark.skipif(
    CXX is None or LIBRARY is None, reason="needs a C++ compiler, and ONNX Runtime's C library in its wheel"
)

EGAMMA = [
    {"name": "zero_suppress", "gev": 0.03, "unit_gev": [1.0, 0.0]},
    {"name": "crop", "size": 32, "around": "hottest"},
    {"name": "scale", "factors": [0.02, 1.0]},
]
"""From maps in GeV and ns to the seed at [16, 16] and energies in units of 50 GeV."""


def network(images: NDArray[np.float32], classes: int = 2) -> torch.nn.Module:
    """A small untrained CNN whose scores differ between images such as these (n, C, size, size)."""
    torch.manual_seed(5)
    _, channels, size, _ = images.shape
    model = models.create("cnn", in_channels=channels, classes=classes, size=size, width=0.5, dropout=0.0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.from_numpy(images))
        spread = model.eval()(torch.from_numpy(images)).std(0).mean()
        model.classifier.weight.div_(spread)  # type: ignore[operator, union-attr]
    return model


def maps(events: int, channels: int, rows: int, columns: int, seed: int = 1) -> NDArray[np.float32]:
    """Maps (events, channels, rows, columns) with one shower each: energies in GeV, a seed anywhere."""
    rng = np.random.default_rng(seed)
    found = rng.exponential(0.05, (events, channels, rows, columns)).astype(np.float32)
    found[rng.random(found.shape) < 0.7] = 0
    places = np.stack([rng.integers(0, rows, events), rng.integers(0, columns, events)], 1)
    i, j = np.arange(rows)[:, None], np.arange(columns)
    for event, (row, column) in enumerate(places):
        spread = np.exp(-np.hypot(i - row, (j - column) / rng.uniform(0.5, 3)) / 0.8)
        found[event, 0] += np.float32(rng.uniform(20, 60)) * spread.astype(np.float32)
    return found


def transformed(transform: list[dict[str, Any]], events: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps as training would have them."""
    return Pipeline.from_json(transform).apply(events)


def scores(model: torch.nn.Module, transform: list[dict[str, Any]], events: NDArray[np.float32]) -> Any:
    """Probabilities (n, classes) as Python has them: the transform of training, the model, softmax."""
    images = torch.from_numpy(transformed(transform, events))
    with torch.inference_mode():
        return model(images).softmax(1).numpy()


@dataclass
class Module:
    """A compiled package; calling it with events gives what its products hold."""

    program: Path
    search: Path

    def __call__(
        self, events: NDArray[np.float32], seeds: list[list[int]] | None = None, wrap: bool = False
    ) -> tuple[list[str], list[list[NDArray[np.float32]]]]:
        """Names of the products, and for each event the values of each."""
        done = self.run(events, seeds, wrap)
        assert done.returncode == 0, done.stderr.decode()
        names = done.stderr.decode().split()
        values, at, found = np.frombuffer(done.stdout, np.float32), 0, []
        while at < len(values):
            found.append([])
            for _ in names:
                count = int(values[at : at + 1].view(np.int32)[0])
                found[-1].append(values[at + 1 : at + 1 + count])
                at += 1 + count
        return names, found

    def run(
        self, events: NDArray[np.float32], seeds: list[list[int]] | None = None, wrap: bool = False
    ) -> subprocess.CompletedProcess[bytes]:
        """The finished process."""
        raw = b""
        for number, event in enumerate(events):
            raw += np.ascontiguousarray(event, np.float32).tobytes()
            if seeds is not None:
                raw += np.array([len(seeds[number]), *seeds[number]], np.int32).tobytes()
        words = [f"wrapColumns={int(wrap)}", *(["seeds=1"] if seeds is not None else [])]
        environment = {
            **os.environ,
            "CMSSW_SEARCH_PATH": str(self.search),
            "ONNXRUNTIME_LIBRARY": str(LIBRARY),
        }
        return subprocess.run(
            [self.program, *words], input=raw, capture_output=True, env=environment, timeout=60
        )


class Builder:
    """Compiles packages; what they share is compiled once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = [self._compiled(STUBS / name, folder) for name in ("runtime.cc", "driver.cc")]

    def __call__(self, package: CmsswPackage) -> Module:
        """The package's program, every warning an error."""
        search = package.folder.parents[1]
        sources = sorted(path for path in package.files if path.suffix == ".cc")
        own = [self._compiled(path, search) for path in sources]
        program = search / "driver"
        _run(CXX or "", *map(str, [*own, *self.objects]), "-ldl", "-o", str(program))
        return Module(program, search)

    def _compiled(self, source: Path, search: Path) -> Path:
        target = search / f"{source.stem}.o"
        _run(CXX or "", *STRICT, "-O0", f"-I{search}", f"-I{STUBS}", "-c", str(source), "-o", str(target))
        return target


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
