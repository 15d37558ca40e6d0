"""Faults in memory at a bit error rate, with and without ECC, as a stressor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from holdfast.core.errors import FaultError, UsageError
from holdfast.core.protocols import Stressed, fault_site
from holdfast.core.result import Label
from holdfast.stress.fault import check_word
from holdfast.stress.injection import computing_store
from holdfast.stress.registry import stressors
from holdfast.stress.sampling import eligible
from holdfast.stress.secded import CODE_BITS, DATA_BITS, DETECTED, decode, encode
from holdfast.stress.sites import find_layer, first_tensor, weight_storage

Ecc = Literal["none", "secded"]
Contents = Literal["weights", "all"]
Uncorrectable = Literal["stop", "use"]
_WORD = DATA_BITS // 8
_SEEDS = 2**62


class UncorrectableError(FaultError):
    """The memory found a word that its code cannot correct."""


@stressors.register("memory_faults")
@dataclass(frozen=True)
class MemoryFaults:
    """Every stored bit is inverted with probability ``ber`` a trial.

    ``contents``: the "weights" of the layers that have a matrix or kernel, or "all" parameters and floating
    buffers; with ``activations`` also the feature maps that those layers read, each time one does (in a
    protected layer: after its checksum was taken). ``layers``: only these, by name. ``ecc``: "secded" stores
    64-bit words with 8 check bits, which are hit as well (``stress.secded``). A word found uncorrectable
    makes the run "stop", as a machine check does (FaultError, so the outcome is ``detected``), or "use" it
    as it is.

    The number of flips is binomial, their places are uniform; a tensor fills whole words. Raises UsageError
    for a rate outside [0, 1] and for words not named here.
    """

    ber: float = 1e-6
    ecc: Ecc = "none"
    contents: Contents = "weights"
    activations: bool = False
    layers: tuple[str, ...] | None = None
    uncorrectable: Uncorrectable = "stop"
    name: str = "memory_faults"
    judged_by: ClassVar[str] = "outcome"

    def __post_init__(self) -> None:
        if not (isfinite(self.ber) and 0 <= self.ber <= 1):
            raise UsageError("ber", expected="a probability", got=self.ber)
        check_word("ecc", self.ecc, get_args(Ecc))
        check_word("contents", self.contents, get_args(Contents))
        check_word("uncorrectable", self.uncorrectable, get_args(Uncorrectable))
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            if self.contents == "all":
                raise UsageError("layers", expected='contents="weights"', got='contents="all"')

    @property
    def labels(self) -> dict[str, Label]:
        """Rate, code, and what is hit."""
        memory = f"{self.contents}+activations" if self.activations else self.contents
        return {"ber": self.ber, "ecc": self.ecc, "memory": memory}

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield the model with damaged memory; leaving puts every former bit back."""
        rng = np.random.default_rng(int(torch.randint(_SEEDS, (), generator=generator)))
        layers = [place.layer for place in eligible(model, x, "weight", self.layers)]
        with ExitStack() as undo:
            flips, stopped = self._damage_stored(model, layers, rng, undo)
            stressed: nn.Module = model
            if self.activations:
                for name in layers:
                    hook = self._reader(name, rng, undo)
                    layer = find_layer(model, name)
                    undo.callback(layer.register_forward_pre_hook(hook, with_kwargs=True).remove)
            if stopped:
                stressed = _Stopped(stopped)
            yield Stressed(stressed, x, y, {"memory_flips": flips})

    def _damage_stored(
        self, model: nn.Module, layers: Sequence[str], rng: np.random.Generator, undo: ExitStack
    ) -> tuple[int, int]:
        """Flip bits of what is stored; how many, and in how many words they cannot be corrected."""
        tensors = self._stored(model, layers)
        hit = _draw([_words(tensor) for tensor in tensors], self.ber, self.ecc, rng)
        stores = {} if self.contents == "all" else {name: computing_store(model, name) for name in layers}
        damaged = 0
        for number, flips in hit.items():
            tensor = tensors[number]
            store = stores.get(layers[number]) if stores else None
            if store is not None:
                # As if the copy that computes had been made from the damaged original: the same bits.
                undo.callback(store.restore)
                dense = torch.empty_like(tensor.detach()).copy_(store.read())
                _flip(_bytes(dense), flips, self.ecc)
                store.write(dense)
            content = _bytes(tensor)
            numbers, former, detected = _flip(content, flips, self.ecc)
            undo.callback(_put, content, numbers, former)
            damaged += detected
        count = sum(len(flips) for flips in hit.values())
        return count, damaged if self.uncorrectable == "stop" else 0

    def _stored(self, model: nn.Module, layers: Sequence[str]) -> list[Tensor]:
        if self.contents == "weights":
            return [weight_storage(find_layer(model, name), name) for name in layers]
        site = fault_site(model)
        return [t for t in (*site.parameters(), *site.buffers()) if t.is_floating_point() and t.numel()]

    def _reader(
        self, name: str, rng: np.random.Generator, undo: ExitStack
    ) -> Callable[[nn.Module, Any, Any], None]:
        """A hook that damages the input of a layer in memory."""

        def hook(layer: nn.Module, args: Any, kwargs: Any) -> None:
            tensor = first_tensor((args, kwargs))
            if tensor is None or not tensor.is_floating_point() or not tensor.numel():
                return
            for flips in _draw([_words(tensor)], self.ber, self.ecc, rng).values():
                content = _bytes(tensor)
                where, former, detected = _flip(content, flips, self.ecc)
                undo.callback(_put, content, where, former)  # it may be the caller's
                if detected and self.uncorrectable == "stop":
                    raise _uncorrectable(f"input of {name!r}", detected)

        return hook


class _Stopped(nn.Module):
    """A machine that has met a word that it cannot correct."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = words

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise _uncorrectable("weights", self.words)


def _uncorrectable(where: str, words: int) -> UncorrectableError:
    got = f"{words} with two wrong bits or more"
    return UncorrectableError(f"memory of {where}", expected="words that the code can correct", got=got)


def _words(tensor: Tensor) -> int:
    return -(-tensor.numel() * tensor.element_size() // _WORD)


def _draw(
    words: Sequence[int], ber: float, ecc: Ecc, rng: np.random.Generator
) -> dict[int, NDArray[np.int64]]:
    """Flips in memories of these sizes: for each that is hit, the numbers of its bits (word by word)."""
    width = CODE_BITS if ecc == "secded" else DATA_BITS
    starts = np.cumsum([0, *words]) * width
    total = int(starts[-1])
    bits = np.sort(rng.choice(total, int(rng.binomial(total, ber)), replace=False, shuffle=False))
    owners = np.searchsorted(starts, bits, side="right") - 1
    return {int(number): bits[owners == number] - starts[number] for number in np.unique(owners)}


def _bytes(tensor: Tensor) -> Tensor:
    """The bytes of ``tensor`` in the order of its memory, (B,) uint8, sharing that memory."""
    flat = tensor.detach().permute(sorted(range(tensor.dim()), key=tensor.stride, reverse=True))
    if not flat.is_contiguous():
        raise UsageError("memory faults", expected="tensors without gaps in memory", got=tensor.stride())
    return flat.view(-1).view(torch.uint8)


def _flip(content: Tensor, flips: NDArray[np.int64], ecc: Ecc) -> tuple[Tensor, Tensor, int]:
    """Invert the bits ``flips`` of the memory ``content`` (B,) uint8, as the processor sees it after ECC.

    Returns the numbers of the bytes of all words hit, what they were, and how many words are uncorrectable.
    """
    width = CODE_BITS if ecc == "secded" else DATA_BITS
    hit, owner = np.unique(flips // width, return_inverse=True)
    numbers = (hit[:, None] * _WORD + np.arange(_WORD)).reshape(-1)
    inside = numbers < len(content)  # the last word may reach beyond the tensor
    where = torch.from_numpy(numbers[inside]).to(content.device)
    former = content[where]
    stored = np.zeros(len(numbers), dtype=np.uint8)
    stored[inside] = former.cpu().numpy()
    words = stored.view("<u8").astype(np.uint64)
    position = (flips % width).astype(np.uint64)
    in_data = position < DATA_BITS
    damaged, detected = words.copy(), 0
    one = np.uint64(1)
    np.bitwise_xor.at(damaged, owner[in_data], one << position[in_data])
    if ecc == "secded":
        checks = encode(words)
        flipped = (one << (position[~in_data] - np.uint64(DATA_BITS))).astype(np.uint8)
        np.bitwise_xor.at(checks, owner[~in_data], flipped)
        damaged, status = decode(damaged, checks)
        detected = int((status == DETECTED).sum())
    _put(content, where, torch.from_numpy(damaged.astype("<u8").view(np.uint8)[inside]))
    return where, former, detected


def _put(content: Tensor, where: Tensor, values: Tensor) -> None:
    # Inference mode allows the write whether or not the tensor was itself made in inference mode.
    with torch.inference_mode():
        content[where] = values.to(content.device)
