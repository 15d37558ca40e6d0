"""Ways to make a network smaller or faster: each builds a file, and a function that runs it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.export.onnx import INPUT, Array, logits, session
from holdfast.export.portable import make_portable

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
Run = Callable[[Array], Array]
"""Images (n, C, H, W) float32 to logits (n, classes) float32."""


@dataclass(frozen=True)
class Workshop:
    """What candidates are made of: the float32 model, its ONNX file, images to calibrate with, a folder."""

    model: nn.Module
    onnx: Path
    calibration: Sequence[Array]
    folder: Path


@dataclass(frozen=True)
class Built:
    """A candidate's file and what runs it."""

    path: Path
    run: Run


@dataclass(frozen=True)
class Candidate:
    """A name, the runtime whose float32 it is compared with, and what builds it."""

    name: str
    runtime: str
    build: Callable[[Workshop], Built]


def find(names: Sequence[str] | None = None) -> list[Candidate]:
    """Candidates by name, all of them by default. Raises UnknownNameError."""
    for name in names or ():
        if name not in CANDIDATES:
            raise UnknownNameError("candidate", name, CANDIDATES)
    return [CANDIDATES[name] for name in names or CANDIDATES]


def float32(runtime: str, workshop: Workshop) -> Run:
    """The unchanged model in ``runtime``: onnxruntime, torch (eager) or inductor (torch.compile)."""
    if runtime == "onnxruntime":
        return _session(workshop.onnx).run
    if runtime == "torch":
        return _torch(workshop.model)
    return _compiled(workshop.model, workshop.calibration[0])


def _dynamic(workshop: Workshop) -> Built:
    """Weights in 8 bits, activations quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = workshop.folder / "onnx-dynamic.onnx"
    with _quietly():  # older runtimes have integer convolutions for unsigned weights only
        quantize_dynamic(_prepared(workshop), target, weight_type=QuantType.QUInt8)
    make_portable(target)
    return _session(target)


def _static(workshop: Workshop) -> Built:
    """Weights and activations in 8 bits, ranges from training images (QDQ)."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(workshop.calibration)

        def get_next(self) -> dict[str, Array] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    target = workshop.folder / "onnx-static.onnx"
    with _quietly():
        # The products alone, without the first: in 8 bits over the range of the largest energies the small
        # ones, which are most of an image, would be lost, raw or compressed.
        prepared = _prepared(workshop)
        quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=list(PRODUCTS),
            nodes_to_exclude=first_products(onnx.load(prepared).graph),
        )
    make_portable(target)
    return _session(target)


def first_products(graph: onnx.GraphProto) -> list[str]:
    """Names of the products whose operands depend on no other product: they read the images."""
    found: list[str] = []
    later: set[str] = set()
    for node in graph.node:  # in the order of their dependence
        follows = bool(later.intersection(node.input))
        if node.op_type in PRODUCTS and not follows:
            found.append(node.name)
        if node.op_type in PRODUCTS or follows:
            later.update(node.output)
    return found


def _float16(workshop: Workshop) -> Built:
    """Weights and arithmetic in float16, input and output in float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    target = workshop.folder / "onnx-float16.onnx"
    with _quietly():
        onnx.save(convert_float_to_float16(onnx.load(workshop.onnx), keep_io_types=True), target)
    make_portable(target)
    return _session(target)


def _bfloat16(workshop: Workshop) -> Built:
    """PyTorch in bfloat16, as an exported program."""
    from copy import deepcopy

    lowered = _Lowered(deepcopy(workshop.model).to(torch.bfloat16)).eval()
    target = workshop.folder / "torch-bfloat16.pt2"
    with _quietly():
        torch.export.save(_exported(lowered, workshop.calibration[0]), target)
    return Built(target, _torch(lowered))


def _pt2e(workshop: Workshop) -> Built:
    """8 bits by torchao's quantiser for x86 processors, compiled by torch.compile."""
    if find_spec("torchao") is None:
        raise UsageError(
            "torchao", expected="the package torchao", got="none", remedy="pip install 'holdfast[quantize]'"
        )
    target = workshop.folder / "torchao-pt2e.pt2"
    with _quietly():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
            X86InductorQuantizer,
            get_default_x86_inductor_quantization_config,
        )

        quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
        first = workshop.calibration[0]
        prepared = prepare_pt2e(_exported(workshop.model, first).module(), quantizer)
        with torch.inference_mode():
            for batch in workshop.calibration:
                prepared(torch.from_numpy(batch))
        converted = convert_pt2e(prepared)
        torch.export.save(_exported(converted, first), target)
        return Built(target, _compiled(converted, first))


class _Lowered(nn.Module):
    """A bfloat16 model between float32 images and logits."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(x.to(torch.bfloat16)).float()
        return result


def _prepared(workshop: Workshop) -> Path:
    """The ONNX file with shapes inferred and norms folded, as the quantisers of ONNX Runtime want it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    target = workshop.folder / "prepared.onnx"
    if not target.exists():
        # Its symbolic inference does not follow the reshapes of attention; ONNX's own does what is needed.
        quant_pre_process(str(workshop.onnx), str(target), skip_symbolic_shape=True)
    return target


def _session(path: Path) -> Built:
    active = session(path)
    return Built(path, lambda images: logits(active, images))


def _exported(model: nn.Module, images: Array) -> Any:
    x = torch.from_numpy(images[:2])
    return torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))


def _torch(model: Callable[[Tensor], Tensor]) -> Run:
    def run(images: Array) -> Array:
        with torch.inference_mode():
            found: Array = model(torch.from_numpy(images)).numpy()
        return found

    return run


def _compiled(model: nn.Module, images: Array) -> Run:
    # Compiled once for all batches but one of a single image, which the compiler takes by itself.
    with _quietly():
        compiled = torch.compile(model, dynamic=True)

    def run(images: Array) -> Array:
        with torch.no_grad():
            found: Array = compiled(torch.from_numpy(images)).numpy()
        return found

    with _quietly():
        for batch in (images, images[:1]):
            run(batch)
    return run


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the quantisers say of their own future: what they make is measured."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        Candidate("onnx-dynamic", "onnxruntime", _dynamic),
        Candidate("onnx-static", "onnxruntime", _static),
        Candidate("onnx-float16", "onnxruntime", _float16),
        Candidate("torch-bfloat16", "torch", _bfloat16),
        Candidate("torchao-pt2e", "inductor", _pt2e),
    )
}
