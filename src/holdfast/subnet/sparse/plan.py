"""How each layer of a network runs, chosen by measurement on this machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from holdfast import kernels
from holdfast.core import plan_file
from holdfast.core.environment import machine
from holdfast.kernels import native
from holdfast.subnet.sparse.build import METHODS, Choice
from holdfast.subnet.sparse.graph import Network
from holdfast.subnet.sparse.layout import Size
from holdfast.subnet.sparse.program import Program

FORMAT = "holdfast.sparse_plan/1"
TILES = (1, 2, 3, 4, 5, 6, 7, 8)
REPEATS = 3
Times = Mapping[str, float]


@dataclass(frozen=True)
class LayerPlan:
    """One layer: how it runs, and the times in ms behind that, each with its best ``tile``.

    None where a method was not measured: for layers that cannot, or need not, run by it.
    """

    layer: str
    method: str
    tile: int
    planes_ms: float | None
    lanes_ms: float | None
    dense_ms: float | None


@dataclass(frozen=True)
class Plan:
    """All layers, and ``key``: processor, threads, kernels, images a batch, and the network's layers."""

    key: Mapping[str, Any]
    layers: tuple[LayerPlan, ...]

    @property
    def choices(self) -> dict[str, Choice]:
        """By layer, as ``Program`` takes them."""
        return {each.layer: Choice(each.method, each.tile) for each in self.layers}


def key_of(network: Network, images: int) -> dict[str, Any]:
    """What a plan depends on."""
    return {
        "processor": machine()["processor"],
        "threads": torch.get_num_threads(),
        "kernels": kernels.backend(),
        "images": images,
        "layers": {
            layer.name: [*layer.shape, *network.size(layer.source)[1:], _kept(layer.weights)]
            for layer in network.layers.values()
        },
    }


def make(network: Network, images: int, x: Tensor) -> Plan:
    """Measure every layer by every method on ``x`` (``images``, C, H, W); takes seconds.

    Planes or lanes are chosen for all layers with outputs of one size, which then need no copies in between:
    by the sum of their times, each with its fastest tile. A layer is dense where that is faster still. That
    choice, and each method for all, is timed as a whole: the fastest stays.
    """
    core = native.load()
    names = [layer.name for layer in network.layers.values()]
    dense = dict.fromkeys(names, Choice("dense"))
    if core is None:
        return Plan(key_of(network, images), tuple(LayerPlan(n, "dense", 1, None, None, None) for n in names))
    able = [layer for layer in network.layers.values() if layer.weights is not None]
    times: dict[str, dict[Choice, float]] = {name: {} for name in names}

    def measure(choices: Mapping[str, Choice]) -> None:
        program = Program(network, images, core, choices)
        program(x)
        for _ in range(REPEATS):
            for name, seconds in program.time(x).items():
                choice = choices[name]
                times[name][choice] = min(seconds, times[name].get(choice, seconds))

    for kind in ("planes", "lanes"):
        for tile in TILES:
            measure({**dense, **{layer.name: Choice(kind, tile) for layer in able}})
    measure(dense)
    best = {name: _best(found) for name, found in times.items()}
    sizes: dict[Size, list[str]] = defaultdict(list)
    for layer in able:
        sizes[layer.window.output(network.size(layer.source)[1:])].append(layer.name)
    mixed = dict(dense)
    for members in sizes.values():
        total = {kind: sum(best[name][kind][0] for name in members) for kind in ("planes", "lanes")}
        kind = min(total, key=total.__getitem__)
        mixed.update({name: best[name][kind][1] for name in members})
    faster = {
        name: dense[name] if best[name]["dense"][0] < times[name][choice] else choice
        for name, choice in mixed.items()
    }
    alone = [
        {name: best[name].get(kind, best[name]["dense"])[1] for name in names} for kind in ("planes", "lanes")
    ]
    chosen = _fastest(network, images, core, [mixed, faster, *alone], x)
    return Plan(key_of(network, images), tuple(_layer_plan(name, chosen[name], best[name]) for name in names))


def _best(found: Mapping[Choice, float]) -> dict[str, tuple[float, Choice]]:
    """The least time of each method, and the choice that took it."""
    best: dict[str, tuple[float, Choice]] = {}
    for choice, seconds in found.items():
        if choice.method not in best or seconds < best[choice.method][0]:
            best[choice.method] = seconds, choice
    return best


def _fastest(
    network: Network, images: int, core: native.Kernels, candidates: Sequence[dict[str, Choice]], x: Tensor
) -> dict[str, Choice]:
    """That of ``candidates`` with the least time of a few, taken in turn."""
    different = [c for i, c in enumerate(candidates) if c not in candidates[:i]]
    programs = [Program(network, images, core, choices) for choices in different]
    took = [float("inf")] * len(programs)
    for _ in range(1 + 2 * REPEATS):
        for index, program in enumerate(programs):
            begin = perf_counter()
            program(x)
            took[index] = min(took[index], perf_counter() - begin)
    return different[took.index(min(took))]


def _layer_plan(name: str, choice: Choice, best: Mapping[str, tuple[float, Choice]]) -> LayerPlan:
    ms = {method: round(1e3 * best[method][0], 5) if method in best else None for method in METHODS}
    return LayerPlan(name, choice.method, choice.tile, ms["planes"], ms["lanes"], ms["dense"])


def _kept(weights: Any) -> int:
    return -1 if weights is None else weights.kept


def save(plans: Sequence[Plan], path: Path) -> None:
    """Write ``plans`` as JSON, atomically."""
    plan_file.save(path, FORMAT, ((plan.key, [asdict(each) for each in plan.layers]) for plan in plans))


def load(path: Path) -> list[Plan]:
    """Read the plans of a file. Raises DataError for anything else."""
    return [Plan(key, layers) for key, layers in plan_file.load(path, FORMAT, _layer)]


def _layer(entry: dict[str, Any]) -> LayerPlan:
    wanted = {field.name for field in fields(LayerPlan)}
    if set(entry) != wanted or entry["method"] not in METHODS or entry["tile"] not in TILES:
        raise ValueError(f"layer {entry!r}")
    return LayerPlan(**entry)
