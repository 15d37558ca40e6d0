"""A binary subnetwork as a small file: the seed of its signs, its mask, and the statistics of its norms.

The file is in the safetensors format. Its one header entry ``holdfast.packed/1`` is canonical JSON:

    config   arguments of models.create
    seed     of the signs (subnet/signs.py), or null where the signs are in the file
    layers   [[name, shape, kept, rice, bytes, scale]] in order: rice is the parameter of the layer's
             Golomb-Rice code (subnet/golomb.py), bytes its length, scale what its signs are times
    full     [[name, rows, columns]], only where channels have been taken out (subnet/channels.py): of such
             layers, in order, the first two dimensions before
    stats    [[name, length]] in order, entries of the model's state other than those weights
    meta     what the user gave
    sha256   over the header without this entry and the tensors channels, masks, signs, stats

and its tensors are ``masks`` (uint8: the layers' codes, one after the other), ``stats`` (float16, of
variances the square root), without seed ``signs`` (uint8: for each kept weight, layer by layer and in C
order, a bit, the lowest of a byte first; set is +1), and with full ``channels`` (uint8, such bits: for each
of its layers, which rows and then which columns are left). The generator's signs are of the full shape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as to_bytes
from torch import Tensor, nn

from holdfast.core.canonical import canonical_json
from holdfast.core.errors import UsageError
from holdfast.core.paths import write_bytes
from holdfast.models import ModelConfig
from holdfast.subnet import golomb
from holdfast.subnet.assembly import to_module, to_network
from holdfast.subnet.sparse import Compiled

HEADER = "holdfast.packed/1"


@dataclass(frozen=True)
class PackedLayer:
    """The kept weights of a layer: ``mask`` bool of the weight's shape, ``signs`` bool (kept,), True for +1.

    ``signs`` are in C order; each weight is its sign times ``scale``. Where channels have been taken out,
    ``rows`` and ``columns`` (bool) say which of the first two dimensions are left.
    """

    name: str
    mask: NDArray[np.bool_]
    signs: NDArray[np.bool_]
    scale: float = 1.0
    rows: NDArray[np.bool_] | None = None
    columns: NDArray[np.bool_] | None = None

    @property
    def full_shape(self) -> tuple[int, ...]:
        """Shape of the weights before channels were taken out."""
        if self.rows is None or self.columns is None:
            return tuple(self.mask.shape)
        return (len(self.rows), len(self.columns), *self.mask.shape[2:])

    @property
    def kept(self) -> int:
        """How many weights take part."""
        return len(self.signs)

    def weight(self) -> NDArray[np.float32]:
        """The weights, 0 where none is kept."""
        weight = np.zeros(self.mask.shape, dtype=np.float32)
        weight[self.mask] = np.where(self.signs, self.scale, -self.scale)
        return weight


@dataclass(frozen=True)
class Packed:
    """A binary subnetwork: ``layers`` and ``stats`` (name in the state dict → float32) of a model ``config``.

    ``seed`` is that of the signs, or None where they are none of the generator's.
    """

    config: ModelConfig
    layers: Sequence[PackedLayer]
    stats: Mapping[str, Tensor]
    seed: int | None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _bytes(self) -> bytes:
        codes = [golomb.encode(layer.mask.reshape(-1)) for layer in self.layers]
        header: dict[str, Any] = {
            "config": self.config.to_json(),
            "seed": self.seed,
            "layers": [
                [layer.name, list(layer.mask.shape), layer.kept, rice, len(code), layer.scale]
                for layer, (code, rice) in zip(self.layers, codes, strict=True)
            ],
            "stats": [[name, value.numel()] for name, value in self.stats.items()],
            "meta": dict(self.meta),
        }
        tensors: dict[str, NDArray[Any]] = {
            "masks": np.frombuffer(b"".join(code for code, _ in codes), dtype=np.uint8),
            "stats": np.concatenate([_stored(name, value) for name, value in self.stats.items()]),
        }
        if self.seed is None:
            signs = np.concatenate([layer.signs for layer in self.layers])
            tensors["signs"] = np.packbits(signs, bitorder="little")
        narrow = [layer for layer in self.layers if layer.rows is not None]
        if narrow:
            header["full"] = [[layer.name, *layer.full_shape[:2]] for layer in narrow]
            left = [axis for layer in narrow for axis in (layer.rows, layer.columns) if axis is not None]
            tensors["channels"] = np.packbits(np.concatenate(left), bitorder="little")
        header["sha256"] = digest(header, tensors)
        return to_bytes(tensors, metadata={HEADER: canonical_json(header).decode()})

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes."""
        return len(self._bytes)

    @property
    def kept(self) -> int:
        """How many weights take part, in all layers."""
        return sum(layer.kept for layer in self.layers)

    def save(self, path: Path | str) -> None:
        """Write the file, atomically; equal networks give equal bytes. Raises StorageError."""
        write_bytes(Path(path), self._bytes)

    def to_module(self) -> nn.Module:
        """The network as an ordinary model of ``models.create``, float32, in eval mode, without biases.

        Where channels have been taken out, its layers are narrower than the configuration says. Raises
        DataError where layers or statistics do not fit the model.
        """
        return to_module(self)

    def compile(self, threads: int = 1, plan: Path | str | None = None) -> Compiled:
        """The network as a callable that runs fast on a CPU; see ``sparse.Compiled``.

        Float32 (N, C, H, W) of any N to logits (N, classes). ``plan`` is a file that keeps what was measured;
        it is made if it is not there. Dense weights are made only for layers that run densely.
        """
        shape = (self.config.in_channels, self.config.size, self.config.size)
        return Compiled(to_network(self, shape), shape, threads, plan)


def as_stored(name: str, value: Tensor) -> Tensor:
    """``value`` (float32) as it comes back from a file. Raises UsageError where float16 cannot hold it."""
    return restored(name, _stored(name, value)).reshape(value.shape)


def _stored(name: str, value: Tensor) -> NDArray[np.float16]:
    values = value.detach().cpu().to(torch.float32).reshape(-1)
    stored = (values.sqrt() if _variance(name) else values).to(torch.float16)
    if not bool(torch.isfinite(stored).all()):
        raise UsageError(
            f"statistics {name}",
            expected="finite numbers below 65504 (variances below its square)",
            got=float(values.abs().max()),
            remedy="look for what made the activations that large",
        )
    return stored.numpy()


def restored(name: str, stored: NDArray[np.float16]) -> Tensor:
    """Statistics ``name`` (float32) from what a file stores."""
    values = torch.from_numpy(stored.copy()).to(torch.float32)
    return values.square() if _variance(name) else values


def _variance(name: str) -> bool:
    return name.endswith("running_var")


def digest(header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over the header and the tensors of a file."""
    digest = hashlib.sha256(canonical_json(header))
    for name in ("channels", "masks", "signs", "stats"):
        if name in tensors:
            digest.update(tensors[name].tobytes())
    return digest.hexdigest()
