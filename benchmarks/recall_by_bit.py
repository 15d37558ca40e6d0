"""What share of flips the checks catch, by site and bit: ``python -m benchmarks.recall_by_bit``.

The trained ResNet-20 on CIFAR-10 test images. A trial flips one bit in one layer's output, weight, input,
Cd1, Cw1 or Co5 while the layer runs, and compares what the check says with what the flip did to the sums: its
effect is the largest change of a position's S5 (or, for a checksum, of its Co5). Every flip with an effect of
at least twice the threshold must be found; the others are counted too. ``verify_weights`` must find every
weight flip.

The other checksums are used only after a fault: Cd2, Cw2, Co1 … Co4, Co6 and Co7 are struck, any bit, while
they correct a damaged block, row or column, with and without computing the layer again allowed. There every
flip, whatever its effect, must end in a right output (within the bound of the ladder) or, where nothing may
be computed again, in FaultError.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from holdfast import data, models, protect
from holdfast.abft.layers import ProtectedLayer
from holdfast.abft.protect import Protected
from holdfast.core.errors import FaultError
from holdfast.core.result import Record, write_records
from holdfast.core.stats import wilson
from holdfast.kernels import batch_sum
from holdfast.stress.bits import flipped, read_words, write_words

RECORDS = Path(__file__).parent / "records" / "recall_by_bit.jsonl"
WEIGHTS = "cifar10_weights/resnet20-12fca82f.th"
SITES = ("output", "weight", "input", "cd1", "cw1", "co5")
LATER = {
    "cd2": "row", "cw2": "column", "co1": "row", "co2": "column", "co3": "row", "co4": "column",
    "co6": "block", "co7": "block",
}  # fmt: skip
"""Checksums used only after a fault, and the fault that calls for them."""
BOUND = 3.5
"""Of the ladder, in τ5: 2 max(τ1, τ2) + τ5 and a rounding, where τ1 and τ2 are at most 1.16 τ5."""
Counts = dict[tuple[str, int], list[int]]


def trained() -> torch.nn.Module:
    """The published ResNet-20, from ``HOLDFAST_DATA``."""
    for root in os.environ.get("HOLDFAST_DATA", ".data").split(os.pathsep):
        path = Path(root) / WEIGHTS
        if path.exists():
            model = models.create("resnet20", in_channels=3, classes=10, size=32)
            models.load_weights(model, path)
            return model.eval()
    raise SystemExit(f"no {WEIGHTS} below HOLDFAST_DATA")


def captured(model: Protected, x: Tensor) -> list[tuple[ProtectedLayer, Tensor, Tensor]]:
    """Every layer with its input and clean output."""
    calls: list[tuple[ProtectedLayer, Tensor, Tensor]] = []
    with model.guard.captured(lambda layer, d, out: calls.append((layer, d.clone(), out.clone()))):
        model(x)
    return calls


def effect_on_sums(layer: ProtectedLayer, clean: Tensor, damaged: Tensor) -> float:
    """Largest change of S5 over the positions; +Inf where it is not finite."""
    change = layer.canonical(damaged.double() - clean.double()).sum((0, 1)).abs()
    return float(change.max()) if change.isfinite().all() else float("inf")


def trial(
    model: Protected,
    layer: ProtectedLayer,
    x: Tensor,
    clean: Tensor,
    site: str,
    bit: int,
    draw: torch.Generator,
) -> tuple[float, float, bool]:
    """Flip ``bit`` of a random element at ``site``; the effect, the threshold, and whether it was found."""
    seen: dict[str, Any] = {"threshold": 0.0, "out": clean}

    def strike(tensor: Tensor) -> Tensor:
        seen["number"] = torch.randint(tensor.numel(), (1,), generator=draw)
        seen["former"] = read_words(tensor, seen["number"])
        write_words(tensor, seen["number"], flipped(seen["former"], bit))
        return tensor

    def tap(name: str, at: str, values: Tensor) -> None:
        if at == site:
            seen["before"] = values.clone()
            seen["live"] = strike(values)

    def watch(name: str, deviation: float, threshold: float) -> None:
        seen["threshold"] = threshold

    def keep(module: Any, args: Any, out: Tensor) -> Tensor:
        seen["out"] = strike(out.clone()) if site == "output" else out
        return seen["out"]  # type: ignore[no-any-return]

    model.clear_events()
    handles = [layer.fault_site.register_forward_hook(keep)]
    if site == "input":
        handles.append(
            layer.fault_site.register_forward_pre_hook(lambda module, args: (strike(args[0].clone()),))
        )
    undo = None
    if site == "weight":
        weight = layer.weight()
        undo = weight.clone()
        strike(weight)
        missed = not model.verify_weights(repair=False)
        assert not missed, "verify_weights missed a flipped weight"
    checksum = site in ("cd1", "cw1", "co5")
    if checksum:
        model.guard.tap = tap
    try:
        with model.guard.watched(watch):
            layer(x)
    finally:
        model.guard.tap = None
        for handle in handles:
            handle.remove()
        if undo is not None:
            weight.copy_(undo)
    found = bool(model.events)
    if not checksum:
        return effect_on_sums(layer, clean, seen["out"]), seen["threshold"], found
    # The change of Co5 that the damaged checksum made.
    total, _ = batch_sum(layer.arrange(x)[0])
    last = layer.arrange(x)[1]
    if site == "co5":
        change = (seen["live"] - seen["before"]).abs()
    elif site == "cd1":
        change = (layer.expected(seen["live"], last) - layer.expected(total, last)).abs()
    else:
        damaged = layer.expected(total, last)
        write_words(seen["live"], seen["number"], seen["former"])
        change = (damaged - layer.expected(total, last)).abs()
    effect = float(change.max()) if change.isfinite().all() else float("inf")
    return effect, seen["threshold"], found


def later_trial(
    model: Protected,
    layer: ProtectedLayer,
    x: Tensor,
    clean: Tensor,
    site: str,
    bit: int,
    draw: torch.Generator,
) -> str:
    """Flip ``bit`` in ``site`` while it helps to correct; "right", "raised", "wrong" or "unused"."""
    seen: dict[str, Any] = {}

    def tap(name: str, at: str, values: Tensor) -> None:
        if at == site and "live" not in seen:
            seen["live"], seen["number"] = values, torch.randint(values.numel(), (1,), generator=draw)
            seen["former"] = read_words(values, seen["number"])
            write_words(values, seen["number"], flipped(seen["former"], bit))

    def watch(name: str, deviation: float, threshold: float) -> None:
        seen["threshold"] = threshold

    def damage(module: Any, args: Any, out: Tensor) -> Tensor | None:
        if "struck" in seen:
            return None
        seen["struck"] = True
        struck = out.clone()
        blocks = layer.canonical(struck).flatten(2) if struck.dim() > 2 else struck[:, :, None]
        n, m, position = (int(torch.randint(size, (), generator=draw)) for size in blocks.shape)
        pattern = LATER[site]
        rows = slice(None) if pattern == "column" else slice(n, n + 1)
        columns = slice(None) if pattern == "row" else slice(m, m + 1)
        hit = blocks[rows, columns, position]
        hit += float(clean.abs().max()) * (1 + torch.rand(hit.shape, generator=draw))
        return struck

    model.clear_events()
    model.guard.tap = tap
    handle = layer.fault_site.register_forward_hook(damage)
    try:
        with model.guard.watched(watch):
            out = layer(x)
    except FaultError:
        return "raised" if "live" in seen else "unused"
    finally:
        model.guard.tap = None
        handle.remove()
        if site == "cw2" and "live" in seen:
            write_words(seen["live"], seen["number"], seen["former"])
    if "live" not in seen:
        return "unused"
    return "right" if float((out - clean).abs().max()) <= BOUND * seen["threshold"] else "wrong"


def later(model: Protected, calls: list[Any], each: int, draw: torch.Generator) -> dict[str, Counter[str]]:
    """All of LATER, every bit: how its trials ended."""
    ended: dict[str, Counter[str]] = defaultdict(Counter)
    every = model.guard.rungs
    model.guard.on_fault = "correct"
    for number, (site, bit, _) in enumerate(product(LATER, range(64), range(each))):
        again = number % 2 == 1
        model.guard.rungs = every if again else every[:-1]
        layer, d, clean = calls[number % len(calls)]
        end = later_trial(model, layer, d, clean, site, bit, draw)
        assert end in ("right", "unused") or (end == "raised" and not again), (layer.name, site, bit, end)
        ended[site][end] += 1
    model.guard.on_fault, model.guard.rungs = "record", every
    return ended


def main() -> None:
    """Run the trials, print a table, replace the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=120, help="trials for each site and bit")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments, _ = parser.parse_known_args()
    stream = data.open("cifar10", split="test", seed=0, limit=arguments.batch)
    x = next(stream.batches(arguments.batch))[0]
    model = protect(trained(), on_fault="record", plan=None, fuse=False)
    draw = torch.Generator().manual_seed(0)
    large: Counts = defaultdict(lambda: [0, 0])
    every: Counts = defaultdict(lambda: [0, 0])
    with torch.inference_mode():
        calls = captured(model, x)
        for site in SITES:
            for bit in range(64 if site in ("cd1", "cw1", "co5") else 32):
                for number in range(arguments.each):
                    layer, d, clean = calls[number % len(calls)]
                    effect, threshold, found = trial(model, layer, d, clean, site, bit, draw)
                    every[site, bit][0] += 1
                    every[site, bit][1] += found
                    if effect >= 2 * threshold:
                        large[site, bit][0] += 1
                        large[site, bit][1] += found
                        assert found, f"{layer.name}: bit {bit} of {site} with effect {effect} was missed"
        after = later(model, calls, arguments.each // 6, draw)
    made = [*_records(large, "recall"), *_records(every, "caught_rate")]
    for site, ends in after.items():
        labels = {"model": "resnet20", "site": site}
        struck = ends["right"] + ends["raised"]
        made.append(_rate("right_or_raised", struck, struck, labels))
        made.append(_rate("right", ends["right"], struck, labels))
    write_records(arguments.out, made)
    table = Table("site", "bit", "effect of 2τ and more", "found", "all flips", "found")
    for key in every:
        table.add_row(*map(str, (*key, *large[key], *every[key])))
    Console().print(table)
    for site, ends in after.items():
        print(f"{site}, used after a fault: {dict(ends)}")


def _records(counts: Counts, metric: str) -> list[Record]:
    return [
        _rate(metric, found, n, {"model": "resnet20", "site": site, "bit": bit})
        for (site, bit), (n, found) in counts.items()
        if n
    ]


def _rate(metric: str, found: int, n: int, labels: dict[str, Any]) -> Record:
    return Record(
        metric=metric,
        value=found / n,
        unit="of the flips",
        direction="higher",
        n=n,
        interval=wilson(found, n),
        seed=0,
        labels=labels,
    )


if __name__ == "__main__":
    main()
