"""ONNX files: read whole, converted where they are old, checked, and written atomically."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, checker, inliner, version_converter

from holdfast.core.errors import DataError, UsageError
from holdfast.core.paths import atomic_path, storage_errors

MIN_OPSET = 13
_MESSAGE_LIMIT = (1 << 31) - (1 << 20)


def load(source: str | Path | ModelProto) -> tuple[ModelProto, bool]:
    """The model, of opset 13 or later and without functions, and whether its weights were in other files.

    Raises DataError for what is no valid ONNX model, UsageError for one that is protected already.
    """
    name = "the model" if isinstance(source, ModelProto) else f"model {source}"
    external = False
    if isinstance(source, ModelProto):
        model = ModelProto()
        model.CopyFrom(source)
    else:
        path = Path(source)
        if not path.is_file():
            raise DataError(name, expected="a file", got="none there")
        try:
            model = onnx.load(path, load_external_data=False)
            external = any(item.data_location == TensorProto.EXTERNAL for item in model.graph.initializer)
            if external:
                onnx.load_external_data_for_model(model, str(path.parent))
        except (DecodeError, OSError, ValueError, checker.ValidationError) as error:
            raise DataError(name, expected="an ONNX model", got=str(error) or "something else") from error
    if not model.graph.node or not model.opset_import:
        raise DataError(name, expected="an ONNX model", got="a file without nodes or opset")
    if any(item.name == "holdfast_deviation" for item in model.graph.output):
        raise UsageError(name, expected="a plain model", got="one that is protected already")
    check(model, name)
    if model.functions:
        model = inliner.inline_local_functions(model)
    return _converted(model, name), external


def opset(model: ModelProto) -> int:
    """The version of the standard operators."""
    return max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)


def _converted(model: ModelProto, name: str) -> ModelProto:
    found = opset(model)
    if found >= MIN_OPSET:
        return model
    try:
        converted = version_converter.convert_version(model, MIN_OPSET)
        check(converted, name)
    except (RuntimeError, DataError) as error:
        raise UsageError(
            name,
            expected=f"opset {MIN_OPSET} or later",
            got=f"{found}, which cannot be converted ({str(error).splitlines()[0]})",
            remedy="export the model again with a later opset",
        ) from error
    return converted


def check(model: ModelProto, name: str) -> None:
    """Raise DataError unless ONNX's full check with strict shape inference passes."""
    if model.ByteSize() > _MESSAGE_LIMIT:
        return  # the checker takes such models from a file only: see ``save``
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise DataError(name, expected="a valid ONNX model", got=str(error).strip()) from error


def save(model: ModelProto, target: Path, external: bool) -> None:
    """Write ``model`` atomically; its weights to ``<target>.data`` if ``external`` or if it exceeds 2 GB."""
    if not external and model.ByteSize() <= _MESSAGE_LIMIT:
        with atomic_path(target) as temporary:
            temporary.write_bytes(model.SerializeToString())
        return
    data = target.with_name(target.name + ".data")
    with atomic_path(target) as temporary, storage_errors(data):
        # The data are appended to by onnx, so an old file has to go first.
        data.unlink(missing_ok=True)
        onnx.save(model, temporary, save_as_external_data=True, location=data.name, size_threshold=1024)
        checker.check_model(str(temporary), full_check=True)


def copy(source: Path, target: Path) -> None:
    """Copy an ONNX file, and its weights where they are in another one. Raises StorageError."""
    model = onnx.load(source, load_external_data=False)
    external = any(item.data_location == TensorProto.EXTERNAL for item in model.graph.initializer)
    if external:
        onnx.load_external_data_for_model(model, str(source.parent))
    save(model, target, external)


def inner_nodes(node: NodeProto) -> Iterator[NodeProto]:
    """The nodes of a node's branches and bodies, at any depth."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield inner
                yield from inner_nodes(inner)
