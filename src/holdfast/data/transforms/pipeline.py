"""Steps one after the other, as JSON and back, fitted where one of them learns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.data.transforms.cells import Crop, FoldCells
from holdfast.data.transforms.channels import Channels, SumChannels
from holdfast.data.transforms.layout import Layout
from holdfast.data.transforms.moments import Moments
from holdfast.data.transforms.step import Images, Step
from holdfast.data.transforms.values import Compress, Normalise, Scale, Standardise, ZeroSuppress

STEPS: dict[str, type[Step]] = {
    step.name: step
    for step in (
        Channels,
        Compress,
        Crop,
        FoldCells,
        Normalise,
        Scale,
        Standardise,
        SumChannels,
        ZeroSuppress,
    )
}


@dataclass(frozen=True)
class Pipeline:
    """Steps in order. At most one of them learns (``standardise`` without numbers)."""

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if sum(map(_learns, self.steps)) > 1:
            raise UsageError("transform", expected="one step that learns", got="several standardise")

    def apply(self, images: Images) -> Images:
        """Images (n, C, H, W) float32 after all steps. Raises UsageError before it is fitted and bound."""
        for step in self.steps:
            images = step.apply(images)
        return images

    def bind(self, layout: Layout) -> Pipeline:
        """The pipeline for images of ``layout``. Raises UsageError for a step that does not fit."""
        steps = []
        for step in self.steps:
            steps.append(step.bound(layout))
            layout = steps[-1].outgoing(layout)
        return Pipeline(tuple(steps))

    def outgoing(self, layout: Layout) -> Layout:
        """What images of ``layout`` become. Raises UsageError."""
        for step in self.steps:
            layout = step.outgoing(layout)
        return layout

    def fit(self, blocks: Iterable[Images]) -> Pipeline:
        """The pipeline with what its learning step learns from images of the training split."""
        before, learner, _ = self.parts()
        if learner is None:
            return self
        moments: Moments | None = None
        for images in blocks:
            found = Moments.of(before.apply(images))
            moments = found if moments is None else moments.merged(found)
        return self.with_learnt(moments)

    def with_learnt(self, moments: Moments | None) -> Pipeline:
        """The pipeline fitted to what its learning step would have seen. Raises UsageError without events."""
        before, learner, after = self.parts()
        if learner is None:
            return self
        if moments is None or not moments.count:
            raise UsageError("transform", expected="training events to learn from", got="none")
        return Pipeline((*before.steps, learner.fitted(moments), *after.steps))

    def parts(self) -> tuple[Pipeline, Standardise | None, Pipeline]:
        """What comes before the step that learns, this step, and what comes after it."""
        for place, step in enumerate(self.steps):
            if _learns(step):
                assert isinstance(step, Standardise)
                return Pipeline(self.steps[:place]), step, Pipeline(self.steps[place + 1 :])
        return self, None, Pipeline()

    def to_json(self) -> list[dict[str, Any]]:
        """One object a step: its name and parameters."""
        return [step.to_json() for step in self.steps]

    @classmethod
    def from_json(cls, steps: Sequence[Mapping[str, Any]] | None) -> Pipeline:
        """What ``to_json`` wrote, or a user. Raises UnknownNameError, UsageError."""
        return cls(tuple(map(_step, steps or ())))


def _step(given: Mapping[str, Any]) -> Step:
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise UsageError("transform", expected='steps such as {"name": "crop", "size": 33}', got=given)
    kind = STEPS.get(given["name"])
    if kind is None:
        raise UnknownNameError("transform", given["name"], STEPS)
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items() if key != "name"}
    known = [field.name for field in fields(kind)]
    if not set(values) <= set(known):
        got = ", ".join(sorted(set(values) - set(known)))
        expected = f"parameters among {', '.join(known) or 'none'}"
        raise UsageError(f"transform {kind.name}", expected=expected, got=got)
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(f"transform {kind.name}", expected="its parameters", got=str(error)) from error


def _learns(step: Step) -> bool:
    return isinstance(step, Standardise) and step.mean is None
