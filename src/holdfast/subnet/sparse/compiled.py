"""A packed network that runs by additions: what ``Packed.compile`` gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

import torch
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.kernels import native
from holdfast.subnet.sparse import plan as plans
from holdfast.subnet.sparse.graph import Network
from holdfast.subnet.sparse.program import Program

PARTS = (16, 8, 4, 2, 1)
"""Images that run at a time: a batch is taken apart into these, so that memory stays bounded."""
_MAKING = RLock()  # one plan at a time: the measurements of two would disturb each other


class Compiled(nn.Module):
    """Call it with a float32 batch (N, C, H, W) of any N for the logits (N, classes); always in eval mode.

    Convolutions and linear layers add and subtract what their kept weights meet, in the native core; what is
    denser than that is worth, and everything else, is done by torch; without the native core, all of it. The
    first call with a new size of batch measures how each layer runs fastest (``plan``); ``plan`` is a
    file in which that is kept. There are no gradients: make attacks on ``Packed.to_module()``. An Inf or NaN
    spreads to what a kept weight connects it with, while a dense model makes 0 · Inf = NaN of all that its
    kernels touch. Several threads may call it at once.

    Raises UsageError for inputs of another shape or dtype and for fewer than 1 thread; DataError for a
    damaged plan.
    """

    def __init__(
        self, network: Network, shape: tuple[int, int, int], threads: int = 1, plan: Path | str | None = None
    ) -> None:
        super().__init__()
        if threads < 1:
            raise UsageError("threads", expected="at least 1", got=threads)
        self.shape, self.threads = shape, threads
        self._network = network
        self._path = None if plan is None else Path(plan)
        self.plans = plans.load(self._path) if self._path is not None and self._path.exists() else []
        self._programs: dict[int, Program] = {}
        super().train(False)

    def train(self, mode: bool = True) -> Compiled:
        """Raises UsageError for anything but eval mode."""
        if mode:
            raise UsageError(
                "a compiled network", expected="eval mode", got="train()", remedy="train a Subnetwork"
            )
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of (N, C, H, W)."""
        self._check(x)
        with torch.no_grad(), _threads(self.threads):
            out: list[Tensor] = []
            at = 0
            for part in PARTS:
                while len(x) - at >= part:
                    out.append(self.program(part)(x[at : at + part]))
                    at += part
            if len(out) == 1:
                return out[0]
            return torch.cat(out) if out else torch.empty(0, *self._network.output)

    def program(self, images: int) -> Program:
        """What runs parts of ``images``, made and measured if it is not there yet."""
        if images not in self._programs:
            with _MAKING:
                if images not in self._programs:
                    self._programs[images] = self._made(images)
        return self._programs[images]

    def _made(self, images: int) -> Program:
        key = plans.key_of(self._network, images)
        found = next((plan for plan in self.plans if dict(plan.key) == key), None)
        if found is None:
            generator = torch.Generator().manual_seed(0)
            found = plans.make(self._network, images, torch.rand(images, *self.shape, generator=generator))
            self.plans.append(found)
            if self._path is not None:
                plans.save(self.plans, self._path)
        return Program(self._network, images, native.load(), found.choices)

    def _check(self, x: Tensor) -> None:
        wanted = f"float32 (N, {', '.join(map(str, self.shape))}) on the CPU"
        if not isinstance(x, Tensor):
            raise UsageError("input of a compiled network", expected=wanted, got=type(x).__name__)
        if x.dtype is not torch.float32 or x.dim() != 4 or x.shape[1:] != self.shape or not x.is_cpu:
            got = f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)} on {x.device.type}"
            raise UsageError("input of a compiled network", expected=wanted, got=got)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
