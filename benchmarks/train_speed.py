"""What ``holdfast train`` costs beside a plain PyTorch loop: ``python -m benchmarks.train_speed``.

One training runs: the small e/γ CNN at batch 1024 on simulated images, with ``training.fit`` and the stream
of the files. Whenever it asks for its next batch, a plain loop makes a step of its own first (images in
memory, shuffled by index, cross-entropy, AdamW, the same layout and learning rate), and both are timed: A B
A B in one process, step by step, with nothing else between. What fit does once an epoch (judging,
checkpoint) is timed by itself, as labels of the record. Equal losses of both models come before any time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import _records
from holdfast import data, models, training
from holdfast.core.result import Label, Record
from holdfast.core.stats import bootstrap
from holdfast.data.simulate import simulate
from holdfast.training import optimizers
from holdfast.training.schedule import learning_rate

RECORDS = Path(__file__).parent / "records" / "train_speed.jsonl"
LR, DECAY = 3e-3, 1e-2
WARMUP = 2
"""Steps of both that do not count."""


class Plain:
    """The loop that one writes by hand: every image in memory."""

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, batch: int, steps: int) -> None:
        self.model = model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.x, self.y, self.batch, self.steps = x, y, batch, steps
        self.optimizer = optimizers.create("adamw", model, LR, DECAY)
        self.generator = torch.Generator().manual_seed(0)
        self.order, self.done, self.losses = torch.empty(0, dtype=torch.int64), 0, []  # type: ignore[var-annotated]

    def step(self) -> None:
        """One step, on the next images of a random order."""
        if len(self.order) < self.batch:
            self.order = torch.randperm(len(self.y), generator=self.generator)
        index, self.order = self.order[: self.batch], self.order[self.batch :]
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.done, self.steps, LR)
        self.done += 1
        self.optimizer.zero_grad()
        x = self.x[index].contiguous(memory_format=torch.channels_last)
        loss = functional.cross_entropy(self.model(x), self.y[index])
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.detach())


class Interleaved:
    """The training stream of a fit that lets ``plain`` make a step before each of its own."""

    def __init__(self, stream: Any, plain: Plain) -> None:
        self.info, self.stream, self.plain = stream.info, stream, plain
        self.plain_seconds: list[float] = []
        self.fit_seconds: list[float] = []

    def batches(self, *arguments: Any, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """The stream's batches, whole ones only."""
        batches = self.stream.batches(*arguments, **options)
        while True:
            start = perf_counter()
            batch = next(batches, None)
            if batch is None or len(batch[1]) < self.plain.batch:
                return
            read = perf_counter()
            self.plain.step()
            stepped = perf_counter()
            yield batch
            self.plain_seconds.append(stepped - read)
            self.fit_seconds.append(read - start + perf_counter() - stepped)


def measure(
    source: Path | None, events: int, batch: int, epochs: int, folder: Path
) -> tuple[Interleaved, float]:
    """Both sides' seconds a step, and fit's seconds an epoch beyond its steps."""
    if source is None:
        source = folder / "data"
        simulate(source, events=events, seed=0)
    train, val = (data.open(source, split=split) for split in ("train", "val"))  # type: ignore[arg-type]
    x, y = (torch.cat(part) for part in zip(*train.batches(batch), strict=True))
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(models.create("cnn", in_channels=2, classes=2, size=32))
    _same(nets, x[:batch], y[:batch])
    steps = epochs * (len(y) // batch)
    both = Interleaved(train, Plain(nets[0], x, y, batch, steps))
    began = perf_counter()
    training.fit(
        nets[1],
        both,
        val,
        epochs=epochs,
        batch_size=batch,
        lr=LR,
        weight_decay=DECAY,
        trackers=("csv",),
        out=folder / "out",
    )
    whole = perf_counter() - began - sum(both.plain_seconds)
    return both, (whole - sum(both.fit_seconds)) / epochs


def _same(nets: list[nn.Module], x: Tensor, y: Tensor) -> None:
    with torch.no_grad():
        losses = [functional.cross_entropy(net.eval()(x), y) for net in nets]
    torch.testing.assert_close(*losses)


def main() -> None:
    """Measure, print, replace the records of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="simulated images made before (default: made now)")
    parser.add_argument("--events", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        both, beyond = measure(
            arguments.data, arguments.events, arguments.batch, arguments.epochs, Path(folder)
        )
    plain, fit = (np.array(seconds[WARMUP:]) for seconds in (both.plain_seconds, both.fit_seconds))
    ratios = plain / fit
    steps = len(both.fit_seconds) / arguments.epochs
    rates = {
        side: arguments.batch / float(np.median(seconds))
        for side, seconds in (("plain", plain), ("fit", fit))
    }
    labels: dict[str, Label] = {
        "model": "cnn",
        "data": "egamma-simulated",
        "batch": arguments.batch,
        "threads": arguments.threads,
        "baseline": "plain PyTorch loop, images in memory",
        "plain_images_per_s": round(rates["plain"]),
        "fit_images_per_s": round(rates["fit"]),
        "epoch_extra_s": round(beyond, 3),
        "epoch_steps_s": round(float(np.median(fit)) * steps, 3),
    }
    record = Record(
        metric="training_rate_ratio",
        value=float(np.median(ratios)),
        unit="fit/plain",
        direction="higher",
        n=len(ratios),
        interval=bootstrap(ratios, seed=0),
        timed=True,
        seed=0,
        simulated=True,
        labels=labels,
    )
    _records.replace(arguments.out, [record], lambda r: tuple(r.labels[key] for key in ("batch", "threads")))
    assert record.interval is not None
    Console().print(
        f"batch {arguments.batch}, {arguments.threads} threads: plain {rates['plain']:,.0f} images/s, fit "
        f"{rates['fit']:,.0f} images/s; ratio {record.value:.3f} "
        f"[{record.interval.low:.3f}, {record.interval.high:.3f}] over {record.n} pairs; beyond its steps an "
        f"epoch takes {beyond:.2f} s (validation, checkpoint) after {labels['epoch_steps_s']} s of steps"
    )


if __name__ == "__main__":
    main()
