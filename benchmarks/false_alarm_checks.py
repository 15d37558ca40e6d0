"""Do fault-free runs ever raise an alarm? ``python -m benchmarks.false_alarm_checks --pieces 228``.

Runs protected models and layers with no fault anywhere, and counts layer checks, alarms, and the largest
deviation over threshold. Every model of the zoo with random weights (half of them hostile), trained ones, and
single layers of random shape, on CIFAR-10 and e/γ images and on hostile inputs (``_hostile``); float32 on the
fast path, module by module, and without the native core; bfloat16 and float64 module by module. A round is
ROUND = 114 pieces: each model and dtype once, and as many pieces of single layers. All of it with one thread
and with two.

Resumable: every piece is drawn from the seed, the number of threads and its own number, and is added to the
records when it is done; the same command goes on where it stopped. Runs with different seeds or threads may
run side by side. ``HOLDFAST_DATA`` names the folder of the data.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks._hostile import DTYPES, SIZES, TRAINED, layer_inputs, model_inputs, random_layer, zoo_model
from benchmarks._tally import Call, Tally, done, kept, ratio, record
from holdfast import protect
from holdfast.abft.fused.workspace import Workspace
from holdfast.abft.protect import Protected
from holdfast.core import seeding
from holdfast.kernels import native

RECORDS = Path(__file__).parent / "records" / "false_alarm_checks.jsonl"
LAYERS = "single layers"
JOBS = [job for name in (*SIZES, *TRAINED) for dtype in DTYPES for job in ((name, dtype), (LAYERS, None))]
ROUND = len(JOBS)
BATCHES = defaultdict(lambda: 50, {"cnn": 400, "vit": 120, "alexnet": 20, "alexnet_caffe": 4})
"""Batches of a model in a piece."""
CHECKS = 4000
"""Checks of single layers in a piece, at least."""
REPEATS = 20
"""How often a single layer meets every kind of input, newly drawn."""


# ---- the three ways a model runs ---------------------------------------------------------------------------


def by_module(model: Protected) -> Call:
    """Through its modules, in Python."""

    def call(x: Tensor) -> None:
        model.fault_site(x)

    return call


def without_core(model: Protected) -> Call:
    """The same without the native core: sums in float32 by torch."""

    def call(x: Tensor) -> None:
        with mock.patch.object(native, "load", return_value=None):
            model.fault_site(x)

    return call


def fast(model: Protected, x: Tensor) -> Call | None:
    """On the fast path, if it takes ``x``; returns the ratios of the layers that are fused."""
    path = model.fast
    if path is None or not path.applies((x,), {}):
        return None
    ratios: list[float] = []

    def watched(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def running(*args: Any) -> Tensor:
            out = run(*args)
            (workspace,) = (each for each in args if isinstance(each, Workspace))
            threshold, deviation = workspace.check.memory[:2].tolist()
            ratios.append(ratio(deviation, threshold))
            return out

        return running

    for layer in path.program.layers if path.program else ():
        layer.run = watched(type(layer).run.__get__(layer))  # type: ignore[method-assign]

    def call(x: Tensor) -> list[float]:
        ratios.clear()
        path(x)
        return list(ratios)

    return call


# ---- pieces ------------------------------------------------------------------------------------------------


def piece(number: int, threads: int, seed: int) -> Tally:
    """One piece: a model or some single layers, on every path that takes it."""
    seed = seeding.derive(seed, f"false alarms, {threads} threads, piece {number}")
    draw = random.Random(seed)
    torch.manual_seed(seed)
    tally = Tally()
    name, dtype = JOBS[number % ROUND]
    if dtype is None:
        while tally.checks.total() < CHECKS:
            layer, shape = random_layer(draw)
            batches = (x for _ in range(REPEATS) for x in layer_inputs(shape, draw))
            _meet(tally, name, nn.Sequential(layer).eval(), draw.choice(DTYPES), batches)
    else:
        model, shape = zoo_model(name, draw)
        _meet(tally, name, model, dtype, model_inputs(shape, BATCHES[name.split(",")[0]], draw))
    return tally


def _meet(tally: Tally, name: str, model: nn.Module, dtype: torch.dtype, batches: Iterator[Tensor]) -> None:
    """All ``batches`` through protected ``model`` in ``dtype``, one path after the other."""
    kind = str(dtype).removeprefix("torch.")
    protected = protect(model.to(dtype), plan=None, on_fault="record", pristine=None)
    bare = protect(model, plan=None, on_fault="record", pristine=None, fuse=False)
    for number, x in enumerate(batches):
        x = x.to(dtype)
        if number == 0:
            try:
                protected(x)
            except NotImplementedError as error:  # torch has no such norm in bfloat16
                print(f"{name} in {dtype}: {error}")
                return
        quick = fast(protected, x)
        if quick is not None and number % 2 == 0:
            tally.run((name, "fast path", kind), protected, quick, x)
        elif dtype is torch.float32 and number % 4 == 3:
            tally.run((name, "without core", kind), bare, without_core(bare), x)
        else:
            tally.run((name, "module by module", kind), protected, by_module(protected), x)


def campaign(threads: int, seed: int, pieces: int, until: float, out: Path) -> None:
    """Run the pieces that are missing, each added to the records when it is done."""
    with torch.inference_mode():
        for number in range(done(out, threads, seed), pieces):
            begin = time.perf_counter()
            if begin > until:
                break
            made = piece(number, threads, seed)
            record(out, made, threads, seed, number + 1)
            spent, worst = time.perf_counter() - begin, max(made.worst.values(), default=0.0)
            what = f"{JOBS[number % ROUND]}: {made.checks.total()} checks"
            print(f"piece {number}, {what}, {spent:.1f} s, {worst:.2f} thresholds", flush=True)


def main() -> None:
    """Run the pieces that are missing, add each to the records, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pieces", type=int, default=ROUND)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no piece after that long")
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments, _ = parser.parse_known_args()
    start = time.perf_counter()
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        campaign(threads, arguments.seed, arguments.pieces, start + arguments.seconds, arguments.out)
        tally = kept(arguments.out, threads)
        table = Table("model", "path", "dtype", "checks", "alarms", "largest deviation / threshold")
        for key, checks in sorted(tally.checks.items()):
            table.add_row(*key, str(checks), str(tally.alarms[key]), f"{tally.worst[key]:.3f}")
        Console(width=100).print(table)
        print(f"{threads} threads: {tally.alarms.total()} alarms in {tally.checks.total()} checks")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
