"""Hostile inputs made against one model and shown to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

from torch import Generator, Tensor, nn

from holdfast.core.protocols import Stressed, Stressor
from holdfast.core.result import Label
from holdfast.stress.robustness import Staged


@dataclass(frozen=True)
class Transferred:
    """``attack`` made against the model that ``source`` makes, whatever model is stressed.

    ``source`` is picklable and hashable, and called once a process. Against an equal network that runs
    faster, such as ``subnet.Twin``, the attack is as strong as against the model itself.
    """

    attack: Stressor
    source: Callable[[], nn.Module]

    @property
    def name(self) -> str:
        """That of the attack."""
        return self.attack.name

    @property
    def judged_by(self) -> str:
        """As the attack is."""
        return getattr(self.attack, "judged_by", "outcome")

    @property
    def labels(self) -> dict[str, Label]:
        """Those of the attack."""
        return dict(getattr(self.attack, "labels", {}))

    def stages(self, classes: int) -> Sequence[tuple[str, Stressor]]:
        """Those of the attack, each against the source."""
        if not isinstance(self.attack, Staged):
            return [(self.name, self)]
        return [(name, replace(self, attack=stage)) for name, stage in self.attack.stages(classes)]

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield ``model`` with the inputs that the attack finds against the source."""
        with self.attack.apply(_made(self.source), x, y, generator) as stressed:
            yield Stressed(model, stressed.x, stressed.y, stressed.labels)


@lru_cache(maxsize=2)
def _made(source: Callable[[], nn.Module]) -> nn.Module:
    return source().eval()
