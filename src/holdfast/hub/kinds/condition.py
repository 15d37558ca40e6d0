"""Conditions of steps: tests of workflow inputs, matrix axes and measured metrics, and their combinations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from holdfast.core.result import Label
from holdfast.hub.inputs import Model

Subject = Literal["input", "matrix", "metric"]
Look = Callable[["When"], list[Any]]
"""The values that a simple condition is about: that of the input or axis, or all those of the metric."""

_SUBJECTS: tuple[Subject, ...] = ("input", "matrix", "metric")
_TESTS = ("equals", "one_of", "at_least", "at_most", "given")
_COMBINATIONS = ("all_", "any_", "not_")


class When(Model):
    """A condition: one test of one subject, or a combination (``all``, ``any``, ``not``) of conditions.

    The subject is a workflow ``input``, an axis of the step's ``matrix``, or a ``metric`` of an earlier step
    (``"train.accuracy"``, of the records with ``labels``). It ``equals`` a value, is ``one_of`` several, is
    ``at_least`` or ``at_most`` a number, or was ``given`` (an input that is not null). All records of a
    metric must pass, and there must be one.
    """

    input: str | None = None
    matrix: str | None = None
    metric: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\..+$")] | None = None
    labels: dict[str, Label] = Field(default_factory=dict)
    equals: Any = None
    one_of: Annotated[list[Any], Field(min_length=1)] | None = None
    at_least: float | None = None
    at_most: float | None = None
    given: Literal[True] | None = None
    all_: list[When] | None = Field(default=None, alias="all", min_length=1)
    any_: list[When] | None = Field(default=None, alias="any", min_length=1)
    not_: When | None = Field(default=None, alias="not")

    @model_validator(mode="after")
    def _one_condition(self) -> When:
        def count(names: tuple[str, ...]) -> int:
            return len(self.model_fields_set.intersection(names))

        if count(_COMBINATIONS):
            if count(_COMBINATIONS) > 1 or count((*_SUBJECTS, *_TESTS, "labels")):
                raise ValueError("a combination is exactly one of 'all', 'any' and 'not', and nothing beside")
            return self
        if count(_SUBJECTS) != 1:
            raise ValueError("give exactly one of 'input', 'matrix' and 'metric'")
        if count(_TESTS) != 1:
            *others, last = map(repr, _TESTS)
            raise ValueError(f"give exactly one of {', '.join(others)} and {last}")
        if self.given and self.input is None:
            raise ValueError("'given' is asked of an input")
        if self.labels and self.metric is None:
            raise ValueError("'labels' belong to a metric")
        return self

    @property
    def subject(self) -> tuple[Subject, str]:
        """What a simple condition is about: kind and name."""
        kind = next(kind for kind in _SUBJECTS if getattr(self, kind) is not None)
        return kind, getattr(self, kind)

    @property
    def combined(self) -> list[When]:
        """The conditions that a combination combines; empty for a simple one."""
        return [*(self.all_ or []), *(self.any_ or []), *([self.not_] if self.not_ is not None else [])]

    def simple(self) -> Iterator[When]:
        """All simple conditions below and including this one."""
        if not self.combined:
            yield self
        for part in self.combined:
            yield from part.simple()

    def implied(self) -> Iterator[When]:
        """Conditions that hold wherever this one does: itself, and the members of ``all``."""
        yield self
        for part in self.all_ or []:
            yield from part.implied()

    def unmet(self, look: Look) -> str | None:
        """Why the condition does not hold; None if it does. ``look`` gives the values of simple ones."""
        if self.all_ is not None:
            return next((why for part in self.all_ if (why := part.unmet(look)) is not None), None)
        if self.any_ is not None:
            reasons = [part.unmet(look) for part in self.any_]
            return None if None in reasons else " and ".join(str(why) for why in reasons)
        if self.not_ is not None:
            return f"not wanted: {self.not_}" if self.not_.unmet(look) is None else None
        values = look(self)
        if not values:
            return f"{self.subject[1]} was not measured"
        return None if all(map(self._passes, values)) else self._negated()

    def __str__(self) -> str:
        """The condition in words."""
        if self.combined:
            words = " or " if self.any_ else " and "
            return ("not " if self.not_ else "") + words.join(map(str, self.combined))
        return self._negated().replace(" is not ", " is ", 1)

    def _passes(self, value: Any) -> bool:
        if self.given:
            return value is not None
        if self.one_of is not None:
            return any(_same(value, wanted) for wanted in self.one_of)
        if self.at_least is not None or self.at_most is not None:
            if not isinstance(value, int | float):
                return False
            return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)
        return _same(value, self.equals)

    def _negated(self) -> str:
        name = self.subject[1]
        if self.given:
            return f"{name} is not given"
        if self.one_of is not None:
            return f"{name} is not one of {', '.join(map(str, self.one_of))}"
        if self.at_least is not None:
            return f"{name} is not at least {self.at_least:g}"
        if self.at_most is not None:
            return f"{name} is not at most {self.at_most:g}"
        return f"{name} is not {self.equals}"


def _same(value: Any, wanted: Any) -> bool:
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
