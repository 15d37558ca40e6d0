"""Reading packed files: what ``packed`` writes, and nothing that is damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes

from holdfast.core.errors import DataError
from holdfast.models import ModelConfig
from holdfast.subnet import golomb
from holdfast.subnet.packed import HEADER, Packed, PackedLayer, digest, restored
from holdfast.subnet.signs import sign_bits

_REMEDY = "fetch the file again, or pack the network again"


def load_packed(path: Path | str) -> Packed:
    """Read what ``Packed.save`` wrote. Raises DataError for a file that is damaged or of another kind."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"packed network {path}", expected="a file", got="none there")
    raw = path.read_bytes()
    try:
        tensors = from_bytes(raw)
        length = int.from_bytes(raw[:8], "little")
        text = json.loads(raw[8 : 8 + length])["__metadata__"][HEADER]
        header = json.loads(text)
        stated = header.pop("sha256")
        actual = digest(header, tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"a header {HEADER}", f"{type(error).__name__}: {error}") from error
    if actual != stated:
        raise _damaged(path, f"SHA-256 {str(stated)[:12]}…", f"{actual[:12]}…")
    try:
        return _unpacked(header, tensors, str(path))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _damaged(path, "a packed network", f"{type(error).__name__}: {error}") from error


def _unpacked(header: dict[str, Any], tensors: dict[str, NDArray[Any]], source: str) -> Packed:
    masks, seed = tensors["masks"].tobytes(), header["seed"]
    count = sum(int(kept) for _, _, kept, *_ in header["layers"])
    explicit, left = None, _left(header.get("full", []), tensors)
    if seed is None:
        explicit = np.unpackbits(tensors["signs"], count=count, bitorder="little").astype(np.bool_)
    layers, at, before = [], 0, 0
    for name, shape, kept, rice, length, scale in header["layers"]:
        size = int(np.prod(shape, dtype=np.int64))
        mask, used = golomb.decode(masks[at : at + int(length)], size, int(kept), int(rice))
        signs = explicit[before : before + kept] if explicit is not None else np.zeros(0, dtype=np.bool_)
        layer = PackedLayer(
            str(name), mask.reshape(shape), signs, float(scale), *left.get(name, (None, None))
        )
        layers.append(layer if explicit is not None else replace(layer, signs=_generated(seed, layer)))
        at, before = at + used, before + kept
    stats, at = {}, 0
    for name, length in header["stats"]:
        stats[name] = restored(name, tensors["stats"][at : at + length])
        at += length
    config = ModelConfig.from_json(header["config"], source)
    return Packed(config, tuple(layers), stats, seed, header["meta"])


def _left(full: Any, tensors: Mapping[str, NDArray[Any]]) -> dict[str, tuple[NDArray[np.bool_], ...]]:
    """Rows and columns that are left of the layers that ``full`` names."""
    if not full:
        return {}
    bits = np.unpackbits(tensors["channels"], bitorder="little").astype(np.bool_)
    ends = np.cumsum([size for _, *sizes in full for size in sizes])
    rows_and_columns = np.split(bits, ends)
    return {name: tuple(rows_and_columns[2 * i : 2 * i + 2]) for i, (name, *_) in enumerate(full)}


def _generated(seed: int, layer: PackedLayer) -> NDArray[np.bool_]:
    """The signs of the kept weights of ``layer`` by the generator."""
    shape = layer.full_shape
    signs = sign_bits(seed, layer.name, int(np.prod(shape, dtype=np.int64))).reshape(shape)
    if layer.rows is not None and layer.columns is not None:
        signs = signs[layer.rows][:, layer.columns]
    return signs[layer.mask]


def _damaged(path: Path, expected: str, got: str) -> DataError:
    return DataError(f"packed network {path}", expected=expected, got=got, remedy=_REMEDY)
