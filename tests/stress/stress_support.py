"""Small models and data for the tests of stress; a module of its own so that worker processes find it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core import jsonl
from holdfast.core.errors import FaultError
from holdfast.core.result import Record, write_records
from holdfast.stress import FGSM, BitFlips, campaign
from holdfast.stress.bits import flipped, read_words, write_words


def number_of(tensor: Tensor, index: tuple[int, ...]) -> Tensor:
    """The number of one element in row-major order, (1,)."""
    return torch.arange(tensor.numel()).reshape(tensor.shape)[index].reshape(1)


def read_element(tensor: Tensor, index: tuple[int, ...]) -> int:
    """The bits of one element as an integer."""
    return int(read_words(tensor, number_of(tensor, index)))


def flip_element(tensor: Tensor, index: tuple[int, ...], bit: int) -> None:
    """Invert one bit of one element in place."""
    number = number_of(tensor, index)
    write_words(tensor, number, flipped(read_words(tensor, number), bit))


class ArrayStream:
    """Images (n, channels, 8, 8) in [0, 1) whose brighter half is class 1."""

    def __init__(self, n: int = 40, channels: int = 2, unit_gev: Any = (50.0, None)) -> None:
        generator = torch.Generator().manual_seed(n)
        self.x = torch.rand(n, channels, 8, 8, generator=generator)
        brightness = self.x.mean((1, 2, 3))
        self.y = (brightness > brightness.median()).long()
        self.info = SimpleNamespace(
            unit_gev=unit_gev, classes=("dark", "bright"), simulated=True, fingerprint=f"array-{n}"
        )

    def batches(
        self, batch_size: int, epoch: int = 0, shuffle: bool = False, skip: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(skip * batch_size, len(self.y), batch_size):
            yield self.x[start : start + batch_size], self.y[start : start + batch_size]


class Net(nn.Module):
    """Two convolutions and a linear layer; ``unused`` is never called."""

    def __init__(self, channels: int = 2, classes: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 3, padding=1)
        self.block = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1))
        self.head = nn.Linear(6, classes)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.conv1(x)).relu().mean((2, 3)))


def make_net() -> Net:
    """The same trained-looking network at every call, whatever the global random state."""
    net = Net()
    generator = torch.Generator().manual_seed(5)
    for parameter in net.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return net.eval()


class Guard(nn.Module):
    """A stand-in for a protected layer: compares with a second run of the same arithmetic."""

    def __init__(self, layer: nn.Module, events: list[Any], on_fault: str) -> None:
        super().__init__()
        self.layer, self.found, self.on_fault = layer, events, on_fault

    @property
    def fault_site(self) -> nn.Module:
        return self.layer

    def forward(self, x: Tensor) -> Tensor:
        output = self.layer(x)
        truth = self.layer.forward(x)
        if torch.equal(output, truth):
            return output
        if self.on_fault == "raise":
            raise FaultError("a fault in a guarded layer")
        self.found.append({"corrected": self.on_fault == "correct", "action": "recompute"})
        return truth if self.on_fault == "correct" else output


class GuardedNet(nn.Module):
    """``make_net`` with every convolution guarded."""

    def __init__(self, on_fault: str = "correct") -> None:
        super().__init__()
        self.net, self.found = make_net(), []
        self.net.conv1 = Guard(self.net.conv1, self.found, on_fault)
        self.net.block[2] = Guard(self.net.block[2], self.found, on_fault)

    @property
    def fault_site(self) -> nn.Module:
        return self.net

    @property
    def events(self) -> list[Any]:
        return self.found

    def clear_events(self) -> None:
        self.found.clear()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Fragile(nn.Module):
    """Raises (``"raise"``) or kills its process (``"die"``) when a value of the first layer is huge."""

    def __init__(self, manner: str) -> None:
        super().__init__()
        self.net, self.manner = make_net(), manner

    def forward(self, x: Tensor) -> Tensor:
        first = self.net.conv1(x)
        if not bool((first.abs() < 1e30).all()):
            if self.manner == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ArithmeticError("too large")
        return self.net.head(self.net.block(first).relu().mean((2, 3)))


def make_dying() -> Fragile:
    return Fragile("die").eval()


FLIPS = BitFlips(bits="exponent")
STREAM = ArrayStream(40)


def run(
    out: Path, model: Any = make_net, stressors: Any = (FLIPS,), data: Any = STREAM, **changes: Any
) -> list[Record]:
    options = {"trials": 24, "batch_size": 16, "seed": 1, **changes}
    return campaign.run(model, list(stressors), data, out=out, **options)


def stable(records: list[Record]) -> list[dict[str, Any]]:
    return [record.stable() for record in records]


def rates(records: list[Record], **labels: object) -> dict[str, float | None]:
    """Totals by metric."""
    return {
        record.metric: record.value
        for record in records
        if not {"layer", "bit", "bit_class"} & record.labels.keys()
        and all(record.labels.get(key) == value for key, value in labels.items())
    }


def lines(out: Path) -> list[dict[str, Any]]:
    return list(jsonl.read(out / "trials.jsonl"))


class Sleeper(nn.Module):
    """Sleeps for ever when a value of the first layer is huge: a process in a kernel that never returns."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make_net()

    def forward(self, x: Tensor) -> Tensor:
        first = self.net.conv1(x)
        if not bool((first.abs() < 1e30).all()):
            time.sleep(1e6)
        return self.net.head(self.net.block(first).relu().mean((2, 3)))


def make_sleeper() -> Sleeper:
    return Sleeper().eval()


class Foreign(nn.Module):
    """A model protected by others, who show nothing of it: activations are clipped, as Ranger does."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = make_net()
        self.inside.conv1.register_forward_hook(lambda *args: args[-1].nan_to_num(0.0).clamp(-4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x)


def campaign_of_seconds(out: Path) -> None:
    """A campaign of some seconds that saves what it has ten times a second."""
    campaign._FLUSH_S = 0.1
    stressors = [
        BitFlips(layers=("conv1", "block.2", "head")),
        BitFlips(site="weight", bits="all"),
        FGSM(eps=0.1),
    ]
    records = campaign.run(
        GuardedNet(), stressors, ArrayStream(640), trials=500, batch_size=4, seed=9, out=out
    )
    write_records(out / "records.jsonl", records)
