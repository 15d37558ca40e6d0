"""What the events themselves say of their labels: gluon jets are heavier, electrons wider along phi."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from holdfast.core.result import Interval
from holdfast.data.groups import Group
from holdfast.data.schema import SIZE
from holdfast.data.statistics import ScalarMoments, separation
from holdfast.data.survey import FileFound, Survey

SIGNIFICANCE = 5.0
"""Standard deviations from which on a label's meaning is taken for certain, as in ``schema``."""


@dataclass(frozen=True)
class Evidence:
    """Which class label 1 is, judged by ``quantity``, of which ``larger`` has more than ``smaller``.

    ``auc`` of the quantity for label 1 against 0; ``deviations`` from 0.5 in standard deviations of
    Mann-Whitney's statistic; ``one`` is None where these are fewer than five; ``declared`` is what the files
    say that 1 means, None where they do not.
    """

    quantity: str
    larger: str
    smaller: str
    means: tuple[float, float]
    auc: float
    interval: Interval
    deviations: float
    declared: str | None

    @property
    def one(self) -> str | None:
        """What label 1 stands for, by the evidence."""
        if abs(self.deviations) < SIGNIFICANCE:
            return None
        return self.larger if self.auc > 0.5 else self.smaller

    @property
    def contradicts(self) -> bool:
        """Whether the files say otherwise."""
        return None not in (self.one, self.declared) and self.one != self.declared


RULES = (("m0", "gluon", "quark"), ("energy: phi width", "electron", "photon"))
"""Quantity, the class with more of it, and the other one."""


def odd_files(found: Survey) -> list[tuple[FileFound, str, float]]:
    """Files in which label 1 has more of a quantity where in most events it has less, or the reverse.

    With the quantity, and the deviations of the file's two means from each other (Welch 1947). Files of one
    class, and those where deviations are fewer than five, cannot be odd.
    """
    odd = []
    for quantity, _, _ in RULES:
        signed = [(file, _deviations(file, quantity)) for file in found.files]
        sure = [(file, z) for file, z in signed if abs(z) >= SIGNIFICANCE]
        most = sum(file.read if z > 0 else -file.read for file, z in sure)
        odd += [(file, quantity, z) for file, z in sure if z * most < 0]
    return odd


def _deviations(file: FileFound, quantity: str) -> float:
    zero, one = (file.means.get((quantity, label), ScalarMoments()) for label in ("0", "1"))
    if min(zero.n, one.n) < 2:
        return 0.0
    error = sqrt(zero.variance / zero.n + one.variance / one.n)
    return (one.mean - zero.mean) / error if error > 0 else 0.0


def label_evidence(group: Group) -> list[Evidence]:
    """Evidence on labels 0 and 1 of ``group``: by the mass m0, or by the width of 32×32 energy images."""
    zero, one = group.classes.get("0"), group.classes.get("1")
    if zero is None or one is None:
        return []
    names = next(iter(group.names)) if len(group.names) == 1 else None
    found = []
    for quantity, larger, smaller in RULES:
        if quantity not in zero.quantities or quantity not in one.quantities:
            continue
        if quantity != "m0" and group.shape[1:] != (SIZE, SIZE):
            continue
        declared = names[1] if names is not None and set(names) == {larger, smaller} else None
        low, high = zero.quantities[quantity], one.quantities[quantity]
        measured = separation(low, high)
        if measured is None or (names is not None and declared is None):
            continue
        auc, interval = measured
        deviations = (auc - 0.5) / sqrt((low.n + high.n + 1) / (12 * low.n * high.n))
        means = (low.mean, high.mean)
        found.append(Evidence(quantity, larger, smaller, means, auc, interval, deviations, declared))
    return found
