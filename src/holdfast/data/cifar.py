"""CIFAR-10 and CIFAR-100 in their official Python layout (Krizhevsky 2009), read without trusting pickle."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError
from holdfast.data.lookup import find
from holdfast.data.table import PixelTable, files_fingerprint

_SHAPE = (3, 32, 32)
# All that a dictionary of lists, bytes and arrays needs. numpy moved these functions since 2009.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"): ("numpy._core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"): ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
    ("_codecs", "encode"): ("_codecs", "encode"),
}


def cifar10() -> PixelTable:
    """Images (3, 32, 32) of 10 classes with the official test set. Raises DataError."""
    train = [f"data_batch_{number}" for number in range(1, 6)]
    return _cifar("cifar10", "cifar-10-batches-py", train, "test_batch", "batches.meta", b"labels")


def cifar100() -> PixelTable:
    """Images (3, 32, 32) of 100 (fine) classes with the official test set. Raises DataError."""
    return _cifar("cifar100", "cifar-100-python", ["train"], "test", "meta", b"fine_labels")


def _cifar(
    name: str, folder_name: str, train: list[str], test: str, meta: str, label_key: bytes
) -> PixelTable:
    folder = find(name, [folder_name])
    names_key = label_key.removesuffix(b"s").replace(b"labels", b"label") + b"_names"
    names = read_pickle(folder / meta).get(names_key)
    if not isinstance(names, list) or not all(isinstance(item, bytes | str) for item in names):
        raise DataError(str(folder / meta), expected=f"a list {names_key.decode()}", got=type(names).__name__)
    classes = [item.decode() if isinstance(item, bytes) else item for item in names]
    files = [*train, test]
    parts = [_batch(folder / file, label_key, len(classes)) for file in files]
    return PixelTable(
        name,
        np.concatenate([pixels for pixels, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
        classes,
        fingerprint=files_fingerprint([folder / file for file in [*files, meta]]),
        official=np.concatenate(
            [np.full(len(labels), file == test) for file, (_, labels) in zip(files, parts, strict=True)]
        ),
    )


def read_pickle(path: Path) -> dict[bytes, Any]:
    """The dictionary in an official batch file, with keys as bytes.

    Only arrays, lists, bytes, text and numbers are loaded: a pickle that asks for anything else is refused.
    Raises DataError.
    """
    try:
        value = _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except FileNotFoundError as error:
        raise DataError(
            str(path),
            expected="an official batch file",
            got="no such file",
            remedy="unpack the archive again",
        ) from error
    except DataError as error:
        raise DataError(str(path), expected=error.expected, got=error.got, remedy=error.remedy) from error
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise DataError(
            str(path),
            expected="a whole pickled batch",
            got=f"{type(error).__name__}: {error}",
            remedy="the file is truncated or damaged: unpack the archive again",
        ) from error
    if not isinstance(value, dict):
        raise DataError(str(path), expected="a dictionary", got=type(value).__name__)
    return {key.encode() if isinstance(key, str) else key: item for key, item in value.items()}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DataError(
                "pickle",
                expected="arrays and plain values only",
                got=f"{module}.{name}",
                remedy="this is not an official file; do not open it otherwise",
            )
        return super().find_class(*_ALLOWED[module, name])


def _batch(path: Path, label_key: bytes, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batch = read_pickle(path)
    pixels, labels = batch.get(b"data"), batch.get(label_key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,):
        got = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(f"{path}, data", expected="uint8 (N, 3072)", got=got)
    if not isinstance(labels, list) or len(labels) != len(pixels):
        got = str(len(labels)) if isinstance(labels, list) else type(labels).__name__
        raise DataError(f"{path}, {label_key.decode()}", expected=f"a list of {len(pixels)} labels", got=got)
    numbers = np.asarray(labels)
    if numbers.dtype.kind not in "iu" or numbers.min(initial=0) < 0 or numbers.max(initial=0) >= classes:
        raise DataError(f"{path}, {label_key.decode()}", expected=f"labels 0 to {classes - 1}", got="others")
    return pixels.reshape(-1, *_SHAPE), numbers.astype(np.int64)
