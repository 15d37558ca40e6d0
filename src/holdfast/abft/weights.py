"""The weights as they were when the model was protected: their checksums, and a copy to reload them from."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from holdfast.core.errors import DataError, UsageError, WeightsChanged
from holdfast.core.paths import atomic_path

Pristine = str | Path | Callable[[str], Tensor] | None
_MOSTLY = 0.5
_MANY = 64


@dataclass(frozen=True)
class WeightFault:
    """A tensor that is not as it was: its name in the model's state dict, and how many elements differ.

    ``elements`` is None where there is no copy to compare with. ``repaired``: it was reloaded.
    """

    name: str
    elements: int | None
    repaired: bool


@dataclass
class _Mark:
    """What one tensor was like: CRC-32 of its bytes, its place in memory, how often torch had written it."""

    crc: int
    place: int
    version: int


class Keeper:
    """Knows the pristine parameters and buffers of a model, and reloads them.

    A CRC-32 finds every change of up to three bits and every burst of up to 32, and others with probability 1
    − 2⁻³². ``pristine``: ``memory`` keeps a copy; a path names a safetensors file of the state dict, written
    if it does not exist, and never overwritten if it did; a function derives the tensor of a name; None:
    damage is found, not repaired. What comes from a file or a function is converted to the tensor's dtype.
    Raises UsageError where a file that was there has other weights, DataError where it is none.
    """

    def __init__(self, model: nn.Module, pristine: Pristine = "memory") -> None:
        self._model = (model,)  # in a tuple, so that no module registers it
        self._pristine = str(pristine) if isinstance(pristine, Path) else pristine
        self._copies: dict[str, Tensor] = {}
        self._marks: dict[str, _Mark] = {}
        self._wrote_file = False
        self.refresh()

    @property
    def bytes_kept(self) -> int:
        """Size of the copy in memory, in bytes."""
        return sum(copy.nbytes for copy in self._copies.values())

    def refresh(self) -> None:
        """Take the tensors as they are now for the pristine ones."""
        tensors = dict(self._tensors())
        marks = {name: _mark(tensor) for name, tensor in tensors.items()}
        if self._pristine == "memory":
            self._copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        elif isinstance(self._pristine, str):
            self._into_file(tensors, marks, self._pristine)
        self._marks = marks

    def damaged(self, prefix: str = "") -> list[str]:
        """Names of the tensors below ``prefix`` whose bytes have changed."""
        return [name for name, tensor in self._tensors(prefix) if crc(tensor) != self._marks[name].crc]

    def repair(self, prefix: str = "") -> list[WeightFault]:
        """Reload what has changed below ``prefix``; what has no copy stays, and is told.

        Raises WeightsChanged where most of a tensor differs, if torch itself has written it or if it is no
        small one, as after a write to ``.data``: that was meant, and wants ``refresh()``. It is no soft
        error, so nobody records an Event.
        """
        faults = []
        for name, tensor in self._tensors(prefix):
            mark = self._marks[name]
            if crc(tensor) == mark.crc:
                continue
            copy = self._pristine_of(name, tensor.dtype)
            if copy is None or crc(copy) != mark.crc:
                faults.append(WeightFault(name, None, False))
                continue
            with torch.inference_mode():
                different = int((_bits(tensor) != _bits(copy.to(tensor.device))).any(-1).sum())
                written = mark.place != tensor.data_ptr() or mark.version != _version(tensor)
                meant = written or tensor.numel() >= _MANY
                if meant and different > _MOSTLY * tensor.numel():
                    raise WeightsChanged(
                        f"weights {name!r}",
                        expected="as they were protected",
                        got=f"{different} of {tensor.numel()} elements changed",
                        remedy="after a deliberate change call refresh() on the protected model; "
                        "else load its weights again",
                    )
                tensor.detach().copy_(copy)
            mark.version = _version(tensor)
            faults.append(WeightFault(name, different, True))
        return faults

    def _tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self._model[0].state_dict(keep_vars=True).items():
            inside = not prefix or name == prefix or name.startswith(prefix + ".")
            if inside and isinstance(tensor, Tensor) and not is_lazy(tensor) and tensor.numel():
                yield name, tensor

    def _pristine_of(self, name: str, dtype: torch.dtype) -> Tensor | None:
        if callable(self._pristine):
            return self._pristine(name).to(dtype)
        if isinstance(self._pristine, str) and self._pristine != "memory":
            from safetensors import SafetensorError, safe_open

            try:
                with safe_open(self._pristine, "pt") as file:
                    copy: Tensor = file.get_tensor(name)
                    return copy.to(dtype)
            except (OSError, SafetensorError):
                return None  # the file is gone, or no longer what it was
        return self._copies.get(name)

    def _into_file(self, tensors: Mapping[str, Tensor], marks: Mapping[str, _Mark], path: str) -> None:
        from safetensors.torch import load_file, save_file

        target = Path(path)
        if target.exists():
            try:
                stored = load_file(target)
            except Exception as error:
                raise DataError(
                    f"pristine weights {path}",
                    expected="a safetensors file",
                    got=str(error),
                    remedy="remove it to have it written anew",
                ) from error
            different = [
                name
                for name, mark in marks.items()
                if name not in stored or crc(stored[name].to(tensors[name].dtype)) != mark.crc
            ]
            if not different:
                return
            if not self._wrote_file:
                raise UsageError(
                    f"pristine weights {path}",
                    expected="the weights of the model",
                    got=f"others for {', '.join(different[:3])}",
                    remedy="name another file, or remove this one to have it written anew",
                )
        self._wrote_file = True
        with atomic_path(target) as temporary:
            save_file(
                {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, temporary
            )


def crc(tensor: Tensor) -> int:
    """CRC-32 of the bytes of ``tensor`` in row-major order."""
    flat = tensor.detach().contiguous().cpu()
    return zlib.crc32(_bits(flat).numpy().data) if flat.numel() else 0


def _bits(tensor: Tensor) -> Tensor:
    flat = tensor.detach().contiguous().reshape(-1)[:, None]  # of reshape(-1, 1) the stride may be wrong
    return flat.view(torch.uint8)


def _mark(tensor: Tensor) -> _Mark:
    return _Mark(crc(tensor), tensor.data_ptr(), _version(tensor))


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version
