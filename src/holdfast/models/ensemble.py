"""Ensembles: several models that answer as one (Breiman 1996; Wolpert 1992 for the stacked one)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from holdfast.core.errors import UsageError
from holdfast.models.config import ModelConfig
from holdfast.models.zoo import create, refuse, registry

HOWS = ("mean", "weighted", "stacked")
_STEPS, _PENALTY = 200, 1e-3


@registry.register("ensemble")
class Ensemble(nn.Module):
    """Members that all see the image; input float32 (N, C, H, W), output logits (N, classes).

    ``how``, with p_i the probabilities of member i:

    - ``mean``: log of the mean of the p_i.
    - ``weighted``: log Σ w_i p_i with w_i >= 0 and Σ w_i = 1.
    - ``stacked``: a linear layer on all log p_i.

    ``fit`` finds weights and layer on data that no member was trained on; unfitted, all three answer as the
    mean, the stacked one as the geometric mean. ``members`` are names of models, or mappings with a ``name``
    and that model's options; in channels, classes and size they are as the ensemble. Raises UsageError for
    no member and for another ``how``.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        members: Sequence[str | Mapping[str, Any]] = ("cnn", "vit"),
        how: str = "mean",
    ) -> None:
        super().__init__()
        refuse(config, "stem", "norm", "last_norm", "mean", "std")
        if isinstance(members, str) or not members:
            raise UsageError("members of an ensemble", expected="at least one model", got=repr(members))
        if how not in HOWS:
            raise UsageError("how of an ensemble", expected=" or ".join(HOWS), got=repr(how))
        self.how = how
        described = [{"name": each} if isinstance(each, str) else dict(each) for each in members]
        self.members = nn.ModuleList(create(**{**shape_of(config), **each}) for each in described)
        count = len(self.members)
        self.weights = nn.Parameter(torch.full((count,), 1 / count)) if how == "weighted" else None
        self.stack = _geometric_mean(count, config.classes) if how == "stacked" else None

    @classmethod
    def of(cls, members: Sequence[nn.Module], how: str = "mean") -> Ensemble:
        """An ensemble of models made by ``models.create``, which it keeps (no copies), unfitted.

        Raises UsageError for members of different channels, classes or size, for members that share weights,
        which could not be saved, and for other modules.
        """
        configs = [getattr(member, "config", None) for member in members]
        if not configs or not all(isinstance(config, ModelConfig) for config in configs):
            got = ", ".join(type(member).__name__ for member in members) or "none"
            raise UsageError("members of an ensemble", expected="models made by models.create", got=got)
        shapes = [shape_of(config) for config in configs]  # type: ignore[arg-type]
        if any(shape != shapes[0] for shape in shapes):
            got = "; ".join(str(shape) for shape in shapes)
            raise UsageError("members of an ensemble", expected="one shape of images and classes", got=got)
        own = [parameter for member in members for parameter in member.parameters()]
        if len({id(parameter) for parameter in own}) < len(own):
            remedy = "give copies"
            expected = "weights of their own"
            raise UsageError("members of an ensemble", expected=expected, got="shared ones", remedy=remedy)
        with torch.device("meta"):
            made = create(
                "ensemble",
                **shapes[0],
                members=[member_options(config) for config in configs],  # type: ignore[arg-type]
                how=how,
            )
        assert isinstance(made, Ensemble)
        made.members = nn.ModuleList(members)
        count = len(members)
        if made.weights is not None:
            made.weights = nn.Parameter(torch.full((count,), 1 / count))
        if made.stack is not None:
            made.stack = _geometric_mean(count, shapes[0]["classes"])
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        return self.combine(torch.stack([member(x) for member in self.members], 1))

    def combine(self, logits: Tensor) -> Tensor:
        """Logits (N, classes) from those of the members (N, members, classes)."""
        log_p = functional.log_softmax(logits, 2)
        if self.stack is not None:
            stacked: Tensor = self.stack(log_p.flatten(1))
            return stacked
        if self.weights is not None:
            # log(w p) as a sum, so that small probabilities do not vanish; a weight of 0 is a term of -inf.
            return torch.logsumexp(log_p + self.weights.log()[:, None], 1)
        return torch.logsumexp(log_p, 1) - log(len(self.members))

    def fit(self, logits: Tensor, labels: Tensor) -> float:
        """Fit weights or stack to the members' ``logits`` (n, members, classes) and ``labels`` (n,) int64.

        Minimises the mean cross-entropy by L-BFGS in float64 (weights as a softmax, a stack with an L2
        penalty of 1e-3 on its distance from the geometric mean) and returns it in nats; of the mean there is
        nothing to fit. Deterministic. Raises UsageError for shapes that do not fit and for logits that are
        not finite.
        """
        expected = (len(labels), len(self.members))
        if logits.dim() != 3 or tuple(logits.shape[:2]) != expected or not len(labels):
            got = tuple(logits.shape)
            raise UsageError("fit of an ensemble", expected=f"logits {(*expected, 'classes')}", got=got)
        if not bool(torch.isfinite(logits).all()):
            raise UsageError("fit of an ensemble", expected="finite logits", got="others")
        with torch.enable_grad():
            log_p = functional.log_softmax(logits.detach().double(), 2)
            if self.weights is not None:
                theta = torch.zeros(len(self.members), dtype=torch.float64, requires_grad=True)

                def weighted() -> Tensor:
                    return torch.logsumexp(log_p + torch.log_softmax(theta, 0)[:, None], 1)

                loss = _minimise([theta], lambda: functional.cross_entropy(weighted(), labels))
                self.weights.data.copy_(torch.softmax(theta.detach(), 0))
                return loss
            if self.stack is not None:
                start = _geometric_mean(len(self.members), logits.shape[2]).double()
                weight, bias = (part.detach().clone().requires_grad_() for part in start.parameters())
                origin = weight.detach().clone()
                flat = log_p.flatten(1)

                def penalised() -> Tensor:
                    loss = functional.cross_entropy(functional.linear(flat, weight, bias), labels)
                    return loss + _PENALTY * (weight - origin).square().sum()

                _minimise([weight, bias], penalised)
                self.stack.weight.data.copy_(weight.detach())
                self.stack.bias.data.copy_(bias.detach())
                return float(functional.cross_entropy(functional.linear(flat, weight, bias), labels).detach())
            return float(functional.cross_entropy(self.combine(log_p), labels))


def _minimise(parameters: list[Tensor], loss: Any) -> float:
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=_STEPS, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value: Tensor = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return float(loss().detach())


def _geometric_mean(members: int, classes: int) -> nn.Linear:
    """The linear layer that averages the log probabilities of ``members`` members."""
    layer = nn.Linear(members * classes, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(classes).repeat(1, members) / members)
        layer.bias.zero_()
    return layer


def shape_of(config: ModelConfig) -> dict[str, Any]:
    """What an ensemble and its members have in common, as arguments of ``models.create``."""
    return {"in_channels": config.in_channels, "classes": config.classes, "size": config.size}


def member_options(config: ModelConfig) -> dict[str, Any]:
    """Everything of ``config`` that the ensemble does not say for all, without what is not set."""
    own = {key: value for key, value in config.arguments().items() if key not in shape_of(config)}
    defaults = {"stem": None, "norm": None, "mean": None, "std": None, "last_norm": False}
    return {key: value for key, value in own.items() if key not in defaults or value != defaults[key]}
