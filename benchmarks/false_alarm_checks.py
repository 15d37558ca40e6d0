"""Do fault-free runs ever raise an alarm? ``python -m benchmarks.false_alarm_checks``.

Runs protected models and layers on hostile data, no fault anywhere, and counts layer checks and alarms:
every model of the zoo (small inputs, random weights and norms), and single layers of random shape, whose
weights are positive, constant, binary, repeated or drifting and scaled by 10⁻⁶ … 10⁶. Inputs are normal,
rectified, zero, constant, one image many times, one spike, eight decades wide, offset; scaled by 10⁻⁶ … 10⁶
too. float32 (fast path and module by module), bfloat16, float64. Run it for each number of threads; with
``--add`` the checks are added to those recorded, so that a long run can be cut into short ones by ``--only``
and ``--seed``.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from holdfast import models, protect
from holdfast.abft.protect import Protected
from holdfast.core import seeding
from holdfast.core.result import Label, Record, read_records, write_records
from holdfast.core.stats import wilson

RECORDS = Path(__file__).parent / "records" / "false_alarm_checks.jsonl"
DTYPES = (torch.float32, torch.bfloat16, torch.float64)
INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda x: x,
    "relu": torch.relu,
    "zero": torch.zeros_like,
    "constant": lambda x: torch.full_like(x, 0.1),
    "the same image": lambda x: x[:1].expand_as(x).contiguous(),
    "one spike": lambda x: (x * 1e-3).flatten().index_fill(0, torch.tensor(x.numel() // 2), 100.0).view_as(x),
    "eight decades": lambda x: x * 10 ** (4 * x.roll(1, 0).clamp(-1, 1)),
    "offset": lambda x: x + 100,
}
WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "initial": lambda w: w,
    "positive": torch.abs,
    "constant": lambda w: torch.full_like(w, 0.1),
    "the same kernel": lambda w: w[:1].expand_as(w).contiguous(),
    "binary": lambda w: w.sign() * 0.3,
    "drifting": lambda w: w + 0.5 * w.abs().mean(),
}
BATCHES: dict[str, tuple[int, int]] = {
    "cnn": (32, 3000), "vit": (32, 1000), "resnet20": (32, 1000), "resnet32": (32, 500),
    "resnet18": (32, 200), "resnet34": (32, 100), "resnet50": (32, 100), "mobilenetv2": (32, 300),
    "vgg11": (32, 20), "vgg13": (32, 20), "vgg16": (32, 20), "vgg19": (32, 20),
    "alexnet": (64, 20), "alexnet_caffe": (227, 10), "yolov2": (64, 40),
}  # fmt: skip
"""Size of the input, and batches for 10⁶ checks in all: fewer of what takes long."""
LAYERS = "single layers"
REPEATS = 20
"""How often a single layer meets every kind of input, newly drawn."""


def random_layer(draw: random.Random) -> tuple[nn.Module, tuple[int, ...]]:
    """A Linear or a convolution of any kind, and the shape of its input."""
    bias, n = draw.random() < 0.6, draw.choice([1, 2, 3, 16])
    kind = draw.choice(["linear", "conv", "conv", "conv", "1d", "3d", "transposed"])
    if kind == "linear":
        features = draw.choice([1, 3, 7, 64, 512, 2048])
        middle = draw.choice([(), (1,), (5,)])
        return nn.Linear(features, draw.choice([1, 2, 10, 100]), bias=bias), (n, *middle, features)
    groups = draw.choice([1, 1, 2, 8])
    channels, outputs = groups * draw.choice([1, 3, 8]), groups * draw.choice([1, 3, 16])
    kernel, size = draw.choice([1, 3, 3, 5]), draw.choice([5, 7, 8])
    options = {"stride": draw.choice([1, 1, 2]), "padding": kernel // 2, "groups": groups, "bias": bias}
    if kind == "transposed":
        return nn.ConvTranspose2d(channels, outputs, kernel, **options), (n, channels, size, size)
    mode = draw.choice(["zeros", "zeros", "circular", "reflect", "replicate"])
    dimensions = {"1d": 1, "conv": 2, "3d": 3}[kind]
    make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    return make(channels, outputs, kernel, padding_mode=mode, **options), (n, channels, *[size] * dimensions)


def zoo_model(name: str, dtype: torch.dtype) -> tuple[nn.Module, tuple[int, ...]]:
    """A model with norms that are no identities, and the shape of one input."""
    size = BATCHES[name][0]
    model = models.create(name, in_channels=3, classes=10, size=size).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.to(dtype), (3, size, size)


class Tally:
    """Checks and alarms by (what, dtype), and the largest deviation over threshold."""

    def __init__(self) -> None:
        self.checks: Counter[tuple[str, str]] = Counter()
        self.alarms: Counter[tuple[str, str]] = Counter()
        self.worst: dict[tuple[str, str], float] = defaultdict(float)

    def run(self, key: tuple[str, str], model: Protected, x: Tensor, checks: int | None) -> int:
        """Call ``model``; with ``checks`` None they are counted, module by module, and returned."""
        model.clear_events()
        if checks is None:
            ratios: list[float] = []
            with model.guard.watched(lambda name, off, tau: ratios.append(off / tau if tau else off)):
                model(x)
            checks = len(ratios)
            self.worst[key] = max(self.worst[key], *ratios)
        else:
            model(x)
        self.checks[key] += checks
        self.alarms[key] += len(model.events)
        return checks

    def add(self, records: list[Record]) -> None:
        """Count what earlier runs have recorded."""
        for record in records:
            key = str(record.labels.get("model")), str(record.labels.get("dtype"))
            if "model" not in record.labels or record.value is None or record.n is None:
                continue
            if record.metric == "largest_deviation":
                self.worst[key] = max(self.worst[key], record.value)
            else:
                self.checks[key] += record.n
                self.alarms[key] += round(record.value * record.n)

    def records(self, threads: int, seed: int) -> list[Record]:
        """The rate of alarms, in all and by model and dtype, and the largest deviations."""
        made = [_rate(self.alarms.total(), self.checks.total(), seed, {"threads": threads})]
        for key, checks in sorted(self.checks.items()):
            labels: dict[str, Label] = {"threads": threads, "model": key[0], "dtype": key[1]}
            made.append(_rate(self.alarms[key], checks, seed, labels))
            made.append(
                Record(
                    metric="largest_deviation",
                    value=self.worst[key],
                    unit="thresholds",
                    direction="lower",
                    n=checks,
                    seed=seed,
                    labels=labels,
                )
            )
        return made


def _rate(alarms: int, checks: int, seed: int, labels: Mapping[str, Label]) -> Record:
    return Record(
        metric="false_alarm_rate",
        value=alarms / checks,
        unit="of the checks",
        direction="lower",
        n=checks,
        interval=wilson(alarms, checks),
        seed=seed,
        labels=dict(labels),
    )


def inputs(shape: tuple[int, ...], dtype: torch.dtype, draw: random.Random) -> Iterator[Tensor]:
    """Batches of every kind, each of its own scale."""
    for make in INPUTS.values():
        x = make(torch.randn(shape)) * 10 ** draw.uniform(-6, 6)
        if x.dim() == 4 and draw.random() < 0.5:
            x = x.to(memory_format=torch.channels_last)
        yield x.to(dtype)


def zoo(tally: Tally, draw: random.Random, names: list[str], share: float) -> None:
    """Every model in every dtype, ``share`` of BATCHES."""
    for name in names:
        for dtype in DTYPES:
            model, shape = zoo_model(name, dtype)
            protected = protect(model, plan=None, on_fault="record", pristine=None)
            checks: int | None = None
            for number in range(max(3, round(share * BATCHES[name][1] / len(DTYPES)))):
                batch = (draw.choice([1, 1, 2, 3]), *shape)
                x = draw.choice(list(INPUTS.values()))(torch.randn(batch)) * 10 ** draw.uniform(-3, 3)
                watched = None if number % 4 == 0 else checks
                try:
                    checks = tally.run((name, _short(dtype)), protected, x.to(dtype), watched)
                except NotImplementedError as error:  # torch has no such norm in bfloat16
                    print(f"{name} in {dtype}: {error}")
                    break


def single_layers(tally: Tally, draw: random.Random, wanted: int) -> None:
    """Layers with every kind of input, on the fast path and module by module, until there are enough."""
    enough = tally.checks.total() + wanted
    while tally.checks.total() < enough:
        layer, shape = random_layer(draw)
        dtype = draw.choice(DTYPES)
        layer.weight.copy_(WEIGHTS[draw.choice(list(WEIGHTS))](layer.weight) * 10 ** draw.uniform(-6, 6))
        if layer.bias is not None:
            layer.bias.mul_(10 ** draw.uniform(-3, 6))
        protected = protect(layer.to(dtype), plan=None, on_fault="record", pristine=None)
        for _ in range(REPEATS):
            for x in inputs(shape, dtype, draw):
                tally.run((LAYERS, _short(dtype)), protected, x, draw.choice([None, 1]))


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def main() -> None:
    """Run the checks, print a table, replace the records of this number of threads, or add to them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checks", type=int, default=1_000_000, help="of single layers; the models in proportion"
    )
    parser.add_argument("--only", nargs="*", default=[*models.names(), LAYERS])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments, _ = parser.parse_known_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(seeding.derive(arguments.seed, f"false alarms, {arguments.threads} threads"))
    kept = read_records(arguments.out) if arguments.out.exists() else []
    before = [record for record in kept if record.labels.get("threads") == arguments.threads]
    tally, start = Tally(), time.perf_counter()
    if arguments.add:
        tally.add(before)
    draw = random.Random(arguments.seed + arguments.threads)
    with torch.inference_mode():
        zoo(tally, draw, [n for n in arguments.only if n != LAYERS], arguments.checks / 1_000_000)
        if LAYERS in arguments.only:
            single_layers(tally, draw, arguments.checks)
    table = Table("model", "dtype", "checks", "alarms", "largest deviation / threshold")
    for key, checks in sorted(tally.checks.items()):
        table.add_row(*key, str(checks), str(tally.alarms[key]), f"{tally.worst[key]:.3f}")
    Console().print(table)
    seconds = time.perf_counter() - start
    Console().print(
        f"{tally.alarms.total()} alarms in {tally.checks.total()} checks; this run {seconds:.0f} s"
    )
    others = [record for record in kept if record not in before]
    write_records(arguments.out, [*others, *tally.records(arguments.threads, arguments.seed)])


if __name__ == "__main__":
    main()
