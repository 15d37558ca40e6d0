"""Which rungs each layer should use, by the rule of FT-CNN, from times measured on this machine.

With t0 the time of CoC + FC, t1 of CoC + RC, t2 of CoC + RC + FC, RC saves t0 − t1 on a row error, which it
corrects, and costs t2 − t0 on a column error, which it does not: it is enabled where p_r (t0 − t1) > p_c (t2
− t0). ClC likewise with rows and columns exchanged. p_r and p_c, the probabilities of a row and of a column
error, come from the sizes of what a fault can hit, |D| and |W|, or from a campaign. At batch 1 a row is the
whole output, and RC is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from threading import RLock, get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from holdfast.abft.events import RUNGS, Guard
from holdfast.abft.ladder import correct
from holdfast.abft.layer_call import LayerCall
from holdfast.core import plan_file
from holdfast.core.environment import machine
from holdfast.core.errors import UsageError
from holdfast.kernels import backend, batch_sum

if TYPE_CHECKING:
    from holdfast.abft.layers import ProtectedLayer

_MAKING = RLock()  # one plan at a time: what it captures is the guard's
FORMAT = "holdfast.plan/1"
REPEATS = 3


@dataclass(frozen=True)
class LayerPlan:
    """One layer: the rungs to use, the times in ms they come from, and the probabilities.

    ``t0``: CoC + FC; ``t1_row``, ``t2_row``: CoC + RC, CoC + RC + FC; ``t1_column``, ``t2_column``: the same
    with ClC. ``p_row``, ``p_column``: how likely an error of this layer fills part of a row, of a column.
    """

    layer: str
    rungs: tuple[str, ...]
    t0_ms: float
    t1_row_ms: float
    t2_row_ms: float
    t1_column_ms: float
    t2_column_ms: float
    p_row: float
    p_column: float


@dataclass(frozen=True)
class Plan:
    """The rungs of every layer, and ``key``: machine, threads, shapes and batch they were measured for."""

    key: Mapping[str, Any]
    layers: tuple[LayerPlan, ...]

    @property
    def rungs(self) -> dict[str, tuple[str, ...]]:
        """Rungs by layer, as ``Guard.plan`` takes them."""
        return {layer.layer: layer.rungs for layer in self.layers}

    def describe(self) -> str:
        """What it was measured for, and why each layer uses what it uses, a line a layer."""
        key = ", ".join(f"{name} {value}" for name, value in self.key.items() if name != "layers")
        return "\n".join((key, *(_in_words(each) for each in self.layers)))


def save(plans: Sequence[Plan], path: Path) -> None:
    """Write ``plans`` as JSON, atomically."""
    plan_file.save(path, FORMAT, ((plan.key, [asdict(each) for each in plan.layers]) for plan in plans))


def load(path: Path) -> list[Plan]:
    """Read the plans of a file. Raises DataError for anything else, and for one that is incomplete."""
    return [Plan(key, layers) for key, layers in plan_file.load(path, FORMAT, _layer)]


def _layer(entry: dict[str, Any]) -> LayerPlan:
    if set(entry) != {field.name for field in fields(LayerPlan)} or not set(entry["rungs"]) <= set(RUNGS):
        raise ValueError(f"layer {entry!r}")
    return LayerPlan(**{**entry, "rungs": tuple(entry["rungs"])})


def key_of(layers: Iterable[ProtectedLayer], x: Tensor) -> dict[str, Any]:
    """What a plan depends on: processor, threads, kernels, input, and the layers' shapes."""
    return {
        "processor": machine()["processor"],
        "threads": torch.get_num_threads(),
        "kernels": backend(),
        "input": list(x.shape),
        "dtype": str(x.dtype).removeprefix("torch."),
        "layers": {layer.name: list(layer.weight().shape) for layer in layers},
    }


class Planner:
    """Measures every layer that a run calls, while its tensors are at hand: a ``Guard.capture``.

    ``probabilities``: (p_r, p_c) by layer, from a campaign; default: |D| and |W| of each layer over their
    sum.
    """

    def __init__(self, probabilities: Mapping[str, tuple[float, float]] | None = None) -> None:
        self.probabilities = probabilities or {}
        self.planned: dict[str, LayerPlan] = {}

    def __call__(self, layer: ProtectedLayer, d: Tensor, out: Tensor) -> None:
        """Plan ``layer``, which made ``out`` of ``d``."""
        if layer.name in self.planned:
            return
        weights = layer.weight().numel()
        total = d.numel() + weights
        odds = self.probabilities.get(layer.name, (d.numel() / total, weights / total))
        self.planned[layer.name] = _layer_plan(layer, d.detach(), out.detach(), *odds)


class PlanBook:
    """The plans of one model, one for each input shape, made at the first call with it; perhaps in a file.

    Raises DataError for a corrupt file, UsageError for one of another model.
    """

    def __init__(self, layers: Sequence[ProtectedLayer], path: Path | None) -> None:
        self._layers, self._path = layers, path
        self._ready: dict[object, Mapping[str, tuple[str, ...]]] = {}
        self.plans = load(path) if path is not None and path.exists() else []
        shapes = {layer.name: list(layer.weight().shape) for layer in layers}
        for plan in self.plans:
            if plan.key.get("layers") != shapes:
                raise UsageError(
                    f"plan {path}",
                    expected="one of this model",
                    got="other layers or shapes",
                    remedy="name another file",
                )

    @contextmanager
    def used(self, guard: Guard, x: Any) -> Iterator[None]:
        """Let ``guard`` use the plan for ``x`` while the block runs the model on it; make a missing one."""
        if not isinstance(x, Tensor):
            yield
            return
        short = (x.shape, x.dtype, torch.get_num_threads())
        rungs = self._ready.get(short)
        if rungs is None:
            key = key_of(self._layers, x)
            rungs = next((plan.rungs for plan in self.plans if dict(plan.key) == key), None)
        if rungs is not None:
            self._ready[short] = guard.plan = rungs
            yield
            return
        with _MAKING:
            if short not in self._ready:
                planner, thread = Planner(), get_ident()
                guard.plan = {}
                with guard.captured(lambda *call: planner(*call) if get_ident() == thread else None):
                    yield
                plan = Plan(key, tuple(planner.planned.values()))
                self.plans.append(plan)
                self._ready[short] = guard.plan = plan.rungs
                if self._path is not None:
                    save(self.plans, self._path)
                return
        guard.plan = self._ready[short]
        yield


def _layer_plan(layer: ProtectedLayer, d: Tensor, out: Tensor, p_row: float, p_column: float) -> LayerPlan:
    row, column = (_damaged(layer, d, out, kind) for kind in ("row", "column"))
    t0 = (_time(row, ("CoC", "FC")) + _time(column, ("CoC", "FC"))) / 2
    t1_row, t2_row = _time(row, ("CoC", "RC")), _time(column, ("CoC", "RC", "FC"))
    t1_column, t2_column = _time(column, ("CoC", "ClC")), _time(row, ("CoC", "ClC", "FC"))
    single = layer.canonical(d).shape[0] == 1
    enabled = {
        "RC": not single and worth(t0, t1_row, t2_row, p_row, p_column),
        "ClC": worth(t0, t1_column, t2_column, p_column, p_row),
    }
    rungs = tuple(rung for rung in RUNGS if enabled.get(rung, True))
    return LayerPlan(layer.name, rungs, t0, t1_row, t2_row, t1_column, t2_column, p_row, p_column)


def worth(t0: float, t1: float, t2: float, p_solved: float, p_other: float) -> bool:
    """The rule: what a rung saves where it solves the error outweighs what it costs where it does not."""
    return p_solved * (t0 - t1) > p_other * (t2 - t0)


def _damaged(layer: ProtectedLayer, d: Tensor, out: Tensor, kind: str) -> Callable[[], LayerCall]:
    """Makes the call of ``layer`` with an error in part of a row or of a column, at one position."""
    arranged, channels_last = layer.arrange(d)
    total, stats = batch_sum(arranged)
    expected = layer.expected(total, channels_last)
    spoiled = out.clone()
    blocks = layer.canonical(spoiled)
    error = float(out.abs().max()) + 1.0
    middle = tuple(size // 2 for size in blocks.shape[2:])
    count = blocks.shape[1 if kind == "row" else 0]
    where: tuple[Any, ...] = (0, slice(None), *middle) if kind == "row" else (slice(None), 0, *middle)
    blocks[where] += error * torch.linspace(1, 2.3, count).to(blocks.dtype)
    cd1 = total.movedim(-1, 0) if channels_last else total
    threshold = 1e-6 * error

    return lambda: LayerCall(layer, d, spoiled.clone(), cd1, expected, stats, threshold)


def _time(make: Callable[[], LayerCall], rungs: tuple[str, ...]) -> float:
    """The least of a few times in ms of ``rungs`` on that call: what else runs only ever adds."""
    guard, times = Guard("correct"), []
    for _ in range(REPEATS):
        call = make()
        start = perf_counter()
        correct(call, guard, call.violated(), rungs)
        times.append((perf_counter() - start) * 1e3)
    return min(times)


def _in_words(plan: LayerPlan) -> str:
    def rule(name: str, t1: float, t2: float, solved: float, other: float) -> str:
        saved, cost = solved * (plan.t0_ms - t1), other * (t2 - plan.t0_ms)
        sign = ">" if saved > cost else "<="
        word = "on" if name in plan.rungs else "off"
        return f"{name} {word} (saves {saved:.3f} ms {sign} costs {cost:.3f} ms)"

    row = rule("RC", plan.t1_row_ms, plan.t2_row_ms, plan.p_row, plan.p_column)
    column = rule("ClC", plan.t1_column_ms, plan.t2_column_ms, plan.p_column, plan.p_row)
    return f"{plan.layer}: {row}; {column}; p_r {plan.p_row:.2f}, p_c {plan.p_column:.2f}"
