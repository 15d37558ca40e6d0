"""Time of a protected model over that of the plain one: ``python -m benchmarks.protect_overhead``.

Fault-free, eager, inference mode, both sides in one process with one allocator, A B A B. Equal outputs and
no event come before any time. Random weights: the time does not depend on them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from holdfast import kernels, models, protect
from holdfast.core.result import Record, write_records
from holdfast.core.timing import time_pairs

RECORDS = Path(__file__).parent / "records" / "protect_overhead.jsonl"


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Input (N, C, H, W)."""
        y = torch.relu_(self.norm1(self.conv1(x)))
        return torch.relu_(self.norm2(self.conv2(y)).add_(self.shortcut(x)))


def resnet18() -> nn.Module:
    """ResNet-18 for 224×224 images (He et al. 2015, table 1)."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = 64
    for width in (64, 128, 256, 512):
        layers += [Block(channels, width, width // channels), Block(width, width, 1)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


MODELS = {
    "cnn": (lambda: models.create("cnn", in_channels=2, classes=2, size=32), (2, 32, 32)),
    "resnet20": (lambda: models.create("resnet20", in_channels=3, classes=10, size=32), (3, 32, 32)),
    "resnet18": (resnet18, (3, 224, 224)),
}
BATCHES = {"cnn": (1, 64), "resnet20": (1, 64), "resnet18": (1, 8)}
LAYOUTS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}


def measure(name: str, batch: int, layout: str, pairs: int) -> Record:
    """The paired ratio protected / plain. Raises AssertionError where the outputs differ."""
    torch.manual_seed(0)
    make, shape = MODELS[name]
    plain = make().eval().to(memory_format=LAYOUTS[layout])
    protected = protect(plain)
    x = torch.rand(batch, *shape).to(memory_format=LAYOUTS[layout])
    with torch.inference_mode():
        assert torch.equal(protected(x), plain(x)), f"{name}: the protected model answers differently"
        assert not protected.events, f"{name}: a false alarm"
        timing = time_pairs(lambda: plain(x), lambda: protected(x), pairs, warmup=5)
        assert not protected.events, f"{name}: a false alarm"
    return Record(
        metric="time_ratio",
        value=timing.ratio,
        unit="protected/plain",
        direction="lower",
        n=pairs,
        interval=timing.interval(),
        timed=True,
        seed=0,
        labels={
            "model": name,
            "batch": batch,
            "layout": layout,
            "threads": torch.get_num_threads(),
            "backend": kernels.backend(),
            "plain_ms": float(np.median(timing.a_ms)),
            "protected_ms": float(np.median(timing.b_ms)),
        },
    )


def main() -> None:
    """Measure every model, batch and layout, print a table, replace the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, help="default: two for each model")
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments, _ = parser.parse_known_args()
    table = Table("model", "batch", "layout", "plain ms", "protected ms", "ratio", "95 % interval")
    records = []
    for name in arguments.models:
        for batch in arguments.batches or BATCHES[name]:
            for layout in LAYOUTS:
                record = measure(name, batch, layout, arguments.pairs)
                records.append(record)
                assert record.interval is not None
                table.add_row(
                    name,
                    str(batch),
                    layout,
                    f"{record.labels['plain_ms']:.2f}",
                    f"{record.labels['protected_ms']:.2f}",
                    f"{record.value:.3f}",
                    f"{record.interval.low:.3f}–{record.interval.high:.3f}",
                )
    write_records(arguments.out, records)
    Console().print(table)


if __name__ == "__main__":
    main()
