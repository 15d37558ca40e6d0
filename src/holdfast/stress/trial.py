"""One trial: one stressor against one batch, beside the clean run of the same model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast, get_args, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from holdfast.core import seeding
from holdfast.core.errors import FaultError, HoldfastError, UsageError
from holdfast.core.protocols import Protected, Stressor
from holdfast.stress.outcome import action, binary_scores, corrected, decisions, deviation, judge, recovery
from holdfast.stress.sites import evaluating, first_tensor

_MESSAGE_LENGTH = 300

Line = dict[str, Any]
"""A finished trial as it stands in trials.jsonl."""


@runtime_checkable
class Turns(Protocol):
    """A stressor that spreads its choices evenly over the trials of a campaign."""

    def at_trial(self, index: int, seed: int) -> Stressor:
        """The stressor for trial ``index`` of a campaign with ``seed``."""


@runtime_checkable
class ChoosesBatches(Protocol):
    """A stressor whose trials belong to certain batches."""

    def batch_of(self, index: int) -> int | None:
        """The number of the batch for trial ``index``; None for any."""


Judgement = Literal["outcome", "quality", "alarms"]


def judged_by(stressor: Stressor) -> Judgement:
    """What counts under a stressor, by its attribute ``judged_by``.

    "outcome" (default): faults, what became of each; "quality": harmed inputs, how often the answer is still
    right; "alarms": nothing is harmed, every alarm is a false one.
    """
    found = getattr(stressor, "judged_by", "outcome")
    if found not in get_args(Judgement):
        raise UsageError(f"judged_by of {stressor.name!r}", expected=get_args(Judgement), got=found)
    return cast(Judgement, found)


class Batches:
    """Batches of a stream by number, read forward where possible; only the current one is in memory."""

    def __init__(self, data: Any, batch_size: int) -> None:
        self.data, self.batch_size = data, batch_size
        self._iterator: Iterator[Any] | None = None
        self._next = 0

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        if self._iterator is None or number < self._next or number > self._next + 16:
            self._iterator = iter(self.data.batches(self.batch_size, epoch=0, shuffle=False, skip=number))
            self._next = number
        for x, y in self._iterator:
            self._next += 1
            if self._next > number:
                return torch.as_tensor(x), torch.as_tensor(y)
        raise UsageError("campaign data", expected=f"at least {number + 1} batches", got=self._next)


@dataclass(frozen=True)
class Reference:
    """A batch and the clean output of the model on it."""

    number: int
    x: Tensor
    y: Tensor
    output: Tensor


class Laboratory:
    """A model and the data to try it on; runs trials one after another and keeps nothing but one batch."""

    def __init__(self, model: nn.Module, data: Any, *, batch_size: int, seed: int) -> None:
        self.model, self.data, self.seed, self.batch_size = model, data, seed, batch_size
        self._batches = Batches(data, batch_size)
        self._reference: Reference | None = None
        self._channels_last: bool | None = None
        self._protected: Protected | None = model if isinstance(model, Protected) else None
        parameter = next(model.parameters(), None)
        self._device = parameter.device if parameter is not None else torch.device("cpu")

    def run(self, stressor: Stressor, trial: int, batch: int) -> Line:
        """Run ``trial`` of ``stressor`` on batch number ``batch``; never raises for what the model does.

        Raises HoldfastError for a stressor that cannot be applied as described.
        """
        reference = self.clean(batch)
        generator = Generator().manual_seed(seeding.derive(self.seed, stressor.name, trial))
        acting = stressor.at_trial(trial, self.seed) if isinstance(stressor, Turns) else stressor
        line: Line = {"trial": trial, "batch": batch}
        if self._protected is not None:
            self._protected.clear_events()
        answering, injection = False, None
        try:
            with acting.apply(self.model, reference.x, reference.y, generator) as stressed:
                line["labels"] = dict(stressed.labels)
                injection = stressed.injection
                answering = True
                output = _forward(stressed.model, stressed.x)
                answering = False
        except FaultError as error:
            verdict: Line = {"outcome": "detected", "message": str(error)[:_MESSAGE_LENGTH]}
        except Exception as error:
            if isinstance(error, UsageError) or (isinstance(error, HoldfastError) and not answering):
                raise  # the stressor's own words: it cannot be applied as described
            message = f"{type(error).__name__}: {error}"[:_MESSAGE_LENGTH]
            verdict = {"outcome": "crash", "message": message}
        else:
            events = list(self._protected.events) if self._protected is not None else []
            if events:
                line["actions"] = sorted({action(event) for event in events})
                line["recovered_by"] = sorted({recovery(event) for event in events if corrected(event)})
            verdict = _verdict(judged_by(stressor), reference, output, events)
        return line | _struck(injection) | verdict

    def clean(self, batch: int) -> Reference:
        """Batch number ``batch`` on the device of the model, with the clean output on it."""
        if self._reference is None or self._reference.number != batch:
            x, y = (tensor.to(self._device) for tensor in self._batches[batch])
            x = self._fast_layout(x)
            self._reference = Reference(batch, x, y, _forward(self.model, x))
        return self._reference

    def _fast_layout(self, x: Tensor) -> Tensor:
        """Images channels last on a CPU, where convolution and pooling take half the time that way."""
        if x.dim() != 4 or self._device.type != "cpu":
            return x
        laid_out = x.to(memory_format=torch.channels_last)
        if self._channels_last is None:
            try:
                _forward(self.model, laid_out)
                self._channels_last = True
            except RuntimeError:  # the model takes views that only the usual layout allows
                self._channels_last = False
        return laid_out if self._channels_last else x


def _struck(injection: Any) -> Line:
    """The faults of the trial, everything drawn filled in; those that never struck are left out."""
    if injection is None:
        return {}
    pairs = zip(injection.faults, injection.fired, strict=True)
    return {"faults": [fault.to_dict() for fault, fired in pairs if fired]}


def _forward(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        output = first_tensor(model(x))
    if output is None or output.dim() == 0:
        raise UsageError(
            "campaign", expected="a model whose output is a tensor (N, ...)", got=type(output).__name__
        )
    return output


def _verdict(judgement: Judgement, reference: Reference, output: Tensor, events: list[Any]) -> Line:
    if judgement == "alarms":
        return {"outcome": "detected" if events else "answered"}
    if judgement == "quality":
        samples = _samples(reference, output)
        return {"outcome": "detected" if events else "answered", "samples": samples}
    right, clean = (_right(out, reference.y) for out in (output, reference.output))
    return {
        "outcome": judge(output, reference.output, events),
        "deviation": deviation(output, reference.output),
        "n": len(reference.y),
        "right": right,
        "clean_right": clean,
    }


def _right(output: Tensor, y: Tensor) -> int:
    decided = decisions(output)
    return int((decided == y).sum()) if decided.shape == y.shape else 0


def _samples(reference: Reference, output: Tensor) -> dict[str, list[Any]]:
    """Per sample: label, decision and, for two classes, score; of the stressed and of the clean run."""
    columns = {"label": reference.y.tolist()}
    for prefix, out in (("", output), ("clean_", reference.output)):
        columns[f"{prefix}decision"] = decisions(out).tolist()
        scores = binary_scores(out)
        if scores is not None:
            finite = torch.isfinite(scores).tolist()
            columns[f"{prefix}score"] = [
                s if ok else None for s, ok in zip(scores.double().tolist(), finite, strict=True)
            ]
    return columns


@contextmanager
def laboratory(model: Any, data: Any, *, batch_size: int, seed: int) -> Iterator[Laboratory]:
    """A laboratory on one thread, its model in eval mode while the block runs.

    ``model`` and ``data`` may be given as factories without arguments. One thread, because sums are rounded
    differently on several: the outcome must not depend on the number of workers.
    """
    built: object = model if isinstance(model, nn.Module) else model()
    stream = data if hasattr(data, "batches") else data()
    if not isinstance(built, nn.Module):
        raise UsageError(
            "campaign model", expected="an nn.Module or a factory of one", got=type(built).__name__
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with evaluating(built):
            yield Laboratory(built, stream, batch_size=batch_size, seed=seed)
    finally:
        torch.set_num_threads(threads)
