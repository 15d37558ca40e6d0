"""AutoAttack (Croce and Hein, ICML 2020) through pyautoattack: several attacks with nothing to tune."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Stressed
from holdfast.core.result import Label
from holdfast.stress.attacks import LInf
from holdfast.stress.registry import stressors
from holdfast.stress.sites import evaluating
from holdfast.stress.unit_box import Logits, UnitBox

NEEDS_CLASSES = {"apgd-ce": 2, "apgd-dlr": 3, "apgd-t": 4, "fab": 2, "fab-t": 2, "square": 2}
"""The attacks, and how many classes each needs: the DLR loss divides by differences of 3 or 4 logits."""

_TARGETS = 9
"""Classes that the targeted attacks aim at, of more than that."""


@stressors.register("autoattack")
@dataclass(frozen=True)
class AutoAttack(LInf):
    """The standard version in L∞: APGD on cross-entropy, targeted APGD on DLR, targeted FAB, Square.

    Each attacks what those before it left right. With three classes, too few for targeted APGD, the
    untargeted APGD on DLR takes its place; with two classes, too few for any DLR loss, there is none, and
    APGD on cross-entropy, FAB and Square remain. ``attacks`` chooses others, in their order: apgd-ce,
    apgd-dlr, apgd-t, fab, fab-t, square. Inputs are images (N, C, H, W); a single logit counts as two
    classes. An image that no attack broke is left as it was.

    Raises UsageError without pyautoattack, for attacks that need more classes, for a model that answers the
    same batch differently, and for a ball that has no single radius in [0, 1] (``UnitBox.of``).
    """

    attacks: Sequence[str] | None = None
    name: str = "autoattack"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attacks is None:
            return
        chosen = (self.attacks,) if isinstance(self.attacks, str) else tuple(self.attacks)
        unknown = [each for each in chosen if each not in NEEDS_CLASSES]
        if unknown or not chosen:
            got = ", ".join(map(str, unknown)) or "none"
            raise UsageError("attacks of autoattack", expected=f"of {', '.join(NEEDS_CLASSES)}", got=got)
        object.__setattr__(self, "attacks", chosen)

    @property
    def labels(self) -> dict[str, Label]:
        """Radius, and the attacks where others than the standard ones were chosen."""
        return {**super().labels, "attacks": "+".join(self.attacks) if self.attacks else "standard"}

    def stages(self, classes: int) -> list[tuple[str, AutoAttack]]:
        """The attacks that run against a model of so many classes, each for itself. Raises UsageError."""
        chosen = self.attacks
        if chosen is None:
            dlr = {2: (), 3: ("apgd-dlr",)}.get(classes, ("apgd-t",))
            chosen = ("apgd-ce", *dlr, "fab-t", "square")
        for each in chosen:
            if classes < NEEDS_CLASSES[each]:
                expected = f"at least {NEEDS_CLASSES[each]} classes"
                raise UsageError(f"attack {each}", expected=expected, got=classes)
        return [(each, replace(self, attacks=(each,))) for each in chosen]

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield the model with attacked inputs; ``x`` (N, C, H, W) floating, ``y`` (N,) class numbers."""
        radius, low, high = self.ball(x)
        seed = int(torch.randint(2**31, (1,), generator=generator))
        stages: list[tuple[str, AutoAttack]] = []
        attacked = x
        if len(x) and radius.any():
            # The caller may be in inference mode, in which nothing can be differentiated.
            with torch.inference_mode(False), evaluating(model), _frozen(model), _isolated(x.device):
                x, low, high = x.clone(), low.clone(), high.clone()
                box = UnitBox.of(x, radius, self.value_range, self.unit_gev)
                inside = Logits(model, box).eval()
                classes = _classes(inside, box.start)
                stages = self.stages(classes)
                driver = _driver(inside, box, classes, seed)
                found = _attack(driver, [name for name, _ in stages], box.start, y.clone().long())
                moved = (found != box.start).flatten(1).any(1).reshape(-1, 1, 1, 1)
                # On the way back the others would be rounded.
                attacked = torch.where(moved, torch.clamp(box.decode(found), low, high), x)
        yield Stressed(model, attacked, y, {"attacks": "+".join(name for name, _ in stages)})


def _classes(model: nn.Module, z: Tensor) -> int:
    with torch.no_grad():
        first, second = model(z), model(z)
    if not torch.allclose(first, second, rtol=1e-4, atol=1e-4, equal_nan=True):
        raise UsageError(
            "autoattack",
            expected="a model that answers the same batch alike",
            got="two different answers",
            remedy="a defence that draws at random needs an attack that averages over its draws",
        )
    return int(first.shape[1])


def _driver(model: nn.Module, box: UnitBox, classes: int, seed: int) -> Any:
    """pyautoattack's standard version, with no more targets than there are classes."""
    try:
        from pyautoattack import AutoAttack as Driver
    except ImportError as error:
        remedy = "pip install 'holdfast[attacks]'"
        raise UsageError("autoattack", expected="pyautoattack", got="none", remedy=remedy) from error
    # Without a handler Python would print its remarks.
    logging.getLogger("auto-attack").addHandler(logging.NullHandler())
    driver = Driver(model, eps=box.eps, seed=seed, device=box.start.device, version="standard")
    targets = min(_TARGETS, classes - 1)
    driver.apgd_targeted.n_target_classes = driver.fab.n_target_classes = targets
    return driver


def _attack(driver: Any, names: list[str], z: Tensor, y: Tensor) -> Tensor:
    driver.attacks_to_run = names
    trace = sys.gettrace()
    try:
        found, _ = driver.run_standard_evaluation(z, y, batch_size=len(z))
    finally:
        sys.settrace(trace)  # it looks for what the model calls by a trace of its own
    return torch.as_tensor(found).detach()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter receives a gradient: FAB would leave one on each."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _isolated(device: torch.device) -> Iterator[None]:
    """pyautoattack seeds the global generators of torch; they are put back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
