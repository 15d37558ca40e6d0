"""Files of Keras networks, read without Keras: what the layers are and what their weights."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError, UsageError
from holdfast.models.state import why_unreadable

SUFFIXES = (".keras", ".h5", ".hdf5")
CONV, DENSE, NORM = "conv2d", "dense", "batch_normalization"
"""Layers with weights, as Keras names their groups; a number follows from the second on."""
_GROUP = re.compile(rf"({CONV}|{DENSE}|{NORM})(?:_(\d+))?")
_PARTS = ("layers", "_layer_checkpoint_dependencies")
"""The group of all layers: in Keras 3, and in the last releases before it."""
_LARGEST = 2**31
"""Bytes of unpacked weights beyond which a ``.keras`` archive is refused."""

Arrays = list[NDArray[Any]]


@dataclass(frozen=True)
class KerasFile:
    """``layers`` are the configurations of a Sequential model (None: a file of weights alone).

    ``weights`` are the arrays of all layers of one kind (``CONV``, ``DENSE``, ``NORM``), in their order.
    """

    path: Path
    layers: list[dict[str, Any]] | None
    weights: dict[str, list[Arrays]]


def read_keras(path: Path) -> KerasFile:
    """Read a ``.keras`` archive, an ``.h5`` model, or ``.weights.h5``, without running any code of it.

    Raises UsageError for another kind of file, DataError for one that is damaged, for a model that is not
    Sequential, and for layers with weights that are none of the three kinds.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"network {path}", expected=f"a file ending in {', '.join(SUFFIXES)}", got=path.suffix
        )
    if not path.is_file():
        raise DataError(f"network {path}", expected="a file", got="none there")
    try:
        with _opened(path) as (config, file):
            parts = next((file[name] for name in _PARTS if name in file), None)
            weights = _by_name(path, file) if parts is None else _by_layer(path, parts)
    except DataError:
        raise
    # The readers raise whatever the damaged byte leads them into; the file is at fault in every case.
    except Exception as error:
        raise DataError(
            f"network {path}", expected="a readable Keras file", got=why_unreadable(error)
        ) from error
    return KerasFile(path, None if config is None else _layers(path, config), weights)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The model's configuration, if there is one, and the HDF5 group of its weights."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("model.weights.h5").file_size > _LARGEST:
                raise DataError(f"network {path}", expected="at most 2 GiB of weights", got="more")
            config = json.loads(archive.read("config.json"))
            with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
                yield config, file
    else:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
            yield None if text is None else json.loads(text), file.get("model_weights", file)


def _layers(path: Path, config: Any) -> list[dict[str, Any]]:
    kind = config.get("class_name") if isinstance(config, dict) else None
    if kind != "Sequential":
        raise DataError(f"network {path}", expected="a Sequential model", got=kind)
    inner = config["config"]
    found = inner["layers"] if isinstance(inner, dict) else inner  # a bare list before Keras 2.2.3
    return [{"kind": layer["class_name"], **layer["config"]} for layer in found]


def _by_layer(path: Path, parts: Any) -> dict[str, list[Arrays]]:
    """Weights in the format of Keras 3: ``conv2d_1/vars/0``."""
    found: dict[str, dict[int, Arrays]] = {CONV: {}, DENSE: {}, NORM: {}}
    for name, group in parts.items():
        variables = group.get("vars", {})
        match = _GROUP.fullmatch(name)
        if match:
            kind, number = match.groups()
            found[kind][int(number or 0)] = [variables[str(i)][()] for i in range(len(variables))]
        elif len(variables):
            raise _unknown(path, name)
    return {kind: [layers[number] for number in sorted(layers)] for kind, layers in found.items()}


def _by_name(path: Path, file: Any) -> dict[str, list[Arrays]]:
    """Weights in the format of Keras 2: attributes name the layers, and the arrays of each, in order."""
    found: dict[str, list[Arrays]] = {CONV: [], DENSE: [], NORM: []}
    for name in _texts(file.attrs["layer_names"]):
        names = _texts(file[name].attrs["weight_names"])
        if not names:
            continue
        arrays = [file[name][each][()] for each in names]
        last = [each.split("/")[-1].split(":")[0] for each in names]
        if "moving_mean" in last:
            found[NORM].append(arrays)
        elif last[0] == "kernel" and arrays[0].ndim in (2, 4):
            found[DENSE if arrays[0].ndim == 2 else CONV].append(arrays)
        else:
            raise _unknown(path, name)
    return found


def _texts(values: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes | np.bytes_) else str(value) for value in values]


def _unknown(path: Path, name: str) -> DataError:
    return DataError(f"network {path}", expected="weights of Conv2D, Dense or BatchNormalization", got=name)
