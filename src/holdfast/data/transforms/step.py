"""What every step of a pipeline is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import UsageError
from holdfast.data.transforms.layout import Layout

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Step(ABC):
    """One transform of images (n, C, H, W) float32, none of which depends on the others.

    All arithmetic is float32, so that C++ can repeat it.
    """

    name: ClassVar[str]

    @abstractmethod
    def apply(self, images: Images) -> Images:
        """The transformed images; the given ones stay as they are."""

    def outgoing(self, layout: Layout) -> Layout:
        """What ``layout`` becomes. Raises UsageError if the step does not fit it."""
        return layout

    def bound(self, layout: Layout) -> Step:
        """The step with what it needs to know of the images that come to it. Raises UsageError."""
        return self

    def to_json(self) -> dict[str, Any]:
        """Name and parameters as plain JSON; parameters that are None are left out."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return {"name": self.name, **plain}

    def _refuse(self, expected: str, got: object, remedy: str | None = None) -> UsageError:
        return UsageError(f"transform {self.name}", expected=expected, got=got, remedy=remedy)
