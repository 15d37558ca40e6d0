"""What the exported C takes: ``python -m benchmarks.c_export [PACKED ...]``.

Flash (text and data of the object, tables included), RAM (arena, static data, and the stack of all functions
together) and time an image, for both kinds of tables and two levels of gcc, beside the packed file and the
same network in PyTorch. Without files: random masks on three networks. One thread, batch 1, x86-64 without
``-march``. Every program first has to give PyTorch's logits.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from holdfast import models
from holdfast.core.result import Record, write_records
from holdfast.export import Exported, export_c
from holdfast.subnet import Packed, Recipe, Subnetwork, adaptive_counts, load_packed
from holdfast.subnet.layers import prunable

RECORDS = Path(__file__).parent / "records" / "c_export.jsonl"
ONE = {"in_channels": 1, "classes": 10, "norm": "batch_no_affine", "last_norm": True}
NETWORKS: dict[str, dict[str, Any]] = {
    "digits convnet": {"name": "convnet", **ONE, "size": 8},
    "MNIST convnet, width 2": {"name": "convnet", **ONE, "size": 28, "strides": [2, 2, 2, 2], "width": 2.0},
    "e/γ cnn": {"name": "cnn", **ONE, "in_channels": 2, "classes": 2, "size": 32},
}
TIMER = """
#define _POSIX_C_SOURCE 199309L
#include "NAME.h"
#include <stdio.h>
#include <time.h>
static float input[UPPER_INPUTS], logits[UPPER_CLASSES], arena[UPPER_ARENA_FLOATS];
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}
int main(void)
{
    for (int i = 0; i < UPPER_INPUTS; i++)
        input[i] = (float)(i % 251) / 256;
    for (int round = 0; round < 31; round++) {
        int runs = 0;
        const double start = now();
        for (; now() - start < 2e4; runs++)
            NAME_run(input, logits, arena);
        printf("%f\\n", (now() - start) / runs);
    }
    return 0;
}
"""


def random_network(arguments: dict[str, Any], prune_rate: float, p: float) -> Packed:
    """A packed network with a random mask; its statistics are those of random images."""
    torch.manual_seed(0)
    model = models.create(**arguments)
    counts = adaptive_counts([layer.weight.numel() for layer in prunable(model).values()], prune_rate, p)
    found = Subnetwork(model.config, Recipe(0, counts))  # type: ignore[arg-type]
    for module in found.model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    with torch.no_grad():
        found.model.train()(torch.rand(64, arguments["in_channels"], arguments["size"], arguments["size"]))
    return found.pack()


def run(*command: str | Path, **options: Any) -> Any:
    """Output of a command that must succeed."""
    return subprocess.run(command, check=True, capture_output=True, **options).stdout


def check(network: Packed, exported: Exported, flags: list[str]) -> float:
    """The largest difference of logits over 64 images, of the largest one. AssertionError above 1e-4."""
    program, size = exported.source.with_name("check"), network.config.size
    run("gcc", "-std=c99", *flags, "-o", program, exported.source, exported.check)
    images = torch.rand(
        64, network.config.in_channels, size, size, generator=torch.Generator().manual_seed(1)
    )
    found = np.frombuffer(run(program, "-", input=images.numpy().tobytes()), dtype=np.float32).reshape(64, -1)
    with torch.inference_mode():
        expected = network.to_module().double()(images.double()).numpy()
    gap = float((np.abs(found - expected).max(1) / np.maximum(np.abs(expected).max(1), 1)).max())
    assert gap <= 1e-4, f"logits differ by {gap}"
    return gap


def measure(
    label: str, network: Packed, flash: str, level: str, folder: Path
) -> tuple[list[Record], list[str]]:
    """The records of one network, and a row of the table."""
    exported = export_c(network, folder, flash=flash)  # type: ignore[arg-type]
    flags, object_ = [level, "-fno-pie"], exported.source.with_suffix(".o")
    gap = check(network, exported, [level])
    run("gcc", "-std=c99", *flags, "-fstack-usage", "-c", "-o", object_, exported.source)
    text, data, bss = map(int, run("size", object_).decode().splitlines()[1].split()[:3])
    usage = object_.with_suffix(".su").read_text().splitlines()
    stack = sum(int(line.split("\t")[1]) for line in usage)
    timer = folder / "timer.c"
    timer.write_text(TIMER.replace("NAME", exported.name).replace("UPPER", exported.name.upper()))
    run("gcc", "-std=c99", level, "-no-pie", "-o", folder / "timer", timer, object_)
    times = sorted(map(float, run(folder / "timer").split()))
    values = {
        "flash_bytes": (text + data, "B", False),
        "ram_bytes": (exported.arena_bytes + bss + stack, "B", False),
        "packed_bytes": (network.nbytes, "B", False),
        "time_per_image": (median(times), "µs", True),
    }
    labels = {
        "network": label,
        "kept": network.kept,
        "flash": flash,
        "level": level,
        "table_bytes": exported.table_bytes,
        "arena_bytes": exported.arena_bytes,
        "stack_bytes": stack,
        "additions": exported.additions,
        "multiplications": exported.multiplications,
        "compiler": run("gcc", "--version").decode().splitlines()[0],
        "largest_difference": gap,
        "time_quarter_µs": times[len(times) // 4],
        "time_three_quarters_µs": times[3 * len(times) // 4],
        "pytorch_µs": pytorch(network),
    }
    records = [
        Record(metric=name, value=value, unit=unit, direction="lower", timed=timed, labels=labels)
        for name, (value, unit, timed) in values.items()
    ]
    row = [label, network.kept, flash, level, network.nbytes, text + data, exported.arena_bytes, stack]
    return records, [*map(str, row), f"{median(times):.1f}", f"{labels['pytorch_µs']:.0f}", f"{gap:.1e}"]


def pytorch(network: Packed) -> float:
    """Median time in µs of an image in PyTorch, eager."""
    module, config = network.to_module(), network.config
    image, times = torch.rand(1, config.in_channels, config.size, config.size), []
    with torch.inference_mode():
        for _ in range(200):
            start = perf_counter()
            module(image)
            times.append(1e6 * (perf_counter() - start))
    return median(times[20:])


def main() -> None:
    """Measure every network, print a table, write the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packed", nargs="*", type=Path)
    parser.add_argument("--prune-rates", nargs="+", type=float, default=[0.9, 0.99])
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments, _ = parser.parse_known_args()
    if shutil.which("gcc") is None or shutil.which("size") is None:
        raise SystemExit("needs gcc and size")
    torch.set_num_threads(1)
    networks = {path.stem: load_packed(path) for path in arguments.packed} or {
        f"{name}, r={rate}": random_network(made, rate, 0.1)
        for name, made in NETWORKS.items()
        for rate in arguments.prune_rates
    }
    sizes = ("packed B", "flash B", "arena B", "stack B")
    table = Table("network", "kept", "tables", "gcc", *sizes, "µs", "PyTorch µs", "difference")
    records = []
    for label, network in networks.items():
        for flash in ("fast", "compact"):
            for level in ("-O2", "-O3"):
                with tempfile.TemporaryDirectory() as folder:
                    found, row = measure(label, network, flash, level, Path(folder))
                records += found
                table.add_row(*row)
    write_records(arguments.out, records)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
