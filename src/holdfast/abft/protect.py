"""``protect``: a model that detects soft errors in its convolutions and linear layers, and corrects them."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from holdfast.abft.calibration import calibrate
from holdfast.abft.checked import Checked
from holdfast.abft.events import ON_FAULT, Event, Guard, OnFault
from holdfast.abft.functional import Found, ProtectedFunctions, attach, recording
from holdfast.abft.fused import FastPath
from holdfast.abft.layers import ProtectedConv, ProtectedLayer, ProtectedLinear
from holdfast.abft.memory import Memory, memory
from holdfast.abft.plan import PlanBook
from holdfast.abft.sensitivity import Sensitivity, sensitivity
from holdfast.abft.transparent import Transparent
from holdfast.abft.weights import Keeper, Pristine, WeightFault
from holdfast.core.errors import FaultError, InputDamaged, UsageError
from holdfast.core.protocols import WeightStore

_FINDING = threading.RLock()  # what one thread looks for, no other may run into
_WRAPPERS: dict[type[nn.Module], type[ProtectedLayer]] = {
    nn.Conv1d: ProtectedConv,
    nn.Conv2d: ProtectedConv,
    nn.Conv3d: ProtectedConv,
    nn.ConvTranspose1d: ProtectedConv,
    nn.ConvTranspose2d: ProtectedConv,
    nn.ConvTranspose3d: ProtectedConv,
    nn.Linear: ProtectedLinear,
}
_OTHER_PRODUCTS = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.Bilinear,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
)


class Protected(Transparent):
    """A model with protected layers; made by ``protect``.

    ``fault_site`` is the copy of the model that computes. The forward signature and result are the model's.
    """

    def __init__(
        self,
        model: nn.Module,
        guard: Guard,
        layers: list[ProtectedLayer],
        skipped: list[tuple[str, str]],
        pristine: Pristine,
        plans: PlanBook | None,
        example: Any,
        fuse: bool,
    ) -> None:
        super().__init__(model)
        self.plans = plans
        self.fast = FastPath(model, guard) if fuse else None
        self._example = (example,)
        self.guard = guard
        self.protected_layers = [layer.name for layer in layers]
        self.unprotected = skipped
        self.keeper = Keeper(model, pristine)
        for layer in layers:
            layer.keeper = self.keeper
        self.products: tuple[tuple[str, str], ...] | None = None
        """(module, function) of the checked products outside of layers; None before the first call."""

    def _first(self, *args: Any, **kwargs: Any) -> Any:
        """The first call: also finds the products that modules compute themselves, attention above all.

        They are checked from then on (``abft.functional``), and this call is made again.
        """
        guard, met = self.guard, list[Event]()
        with _FINDING:
            if self.products is None:
                told = len(guard.events)
                with recording(self.fault_site) as found:
                    out = self._planned(*args, **kwargs)
                met = guard.events[told:]
                self._attach(found)
                if not self.products:
                    return out
        with guard.told_once(met):
            return self._planned(*args, **kwargs)

    def _attach(self, found: Found) -> None:
        attached = attach(self.fault_site, self.guard, self.keeper, found=found)
        modules = {name for name, _ in attached.found}
        kept = [entry for entry in self.unprotected if entry[0] not in modules]
        self.unprotected = [*kept, *attached.unprotected]
        self.products = attached.found
        if attached.found:
            self.fault_site = attached.model
            if self.fast is not None:
                self.fast = FastPath(attached.model, self.guard)

    def layers(self) -> list[ProtectedLayer]:
        """The protected layers, each once."""
        return [module for module in self.modules() if isinstance(module, ProtectedLayer)]

    @property
    def events(self) -> list[Event]:
        """The soft errors met since the last ``clear_events``, oldest first."""
        return self.guard.events

    def clear_events(self) -> None:
        """Forget the events so far."""
        self.guard.events.clear()

    def refresh(self) -> None:
        """Take the weights as they are now for the pristine ones, after a deliberate change of them."""
        for module in self.modules():
            if isinstance(module, ProtectedLayer | ProtectedFunctions):
                module.refresh()
        self.keeper.refresh()
        self._renewed()

    def _renewed(self) -> None:
        """Weights or thresholds have changed: what was derived from them is stale."""
        if self.fast is not None:
            self.fast.drop()

    def computing_weights(self, layer: str) -> WeightStore | None:
        """The prepacked copy that computes in place of the weight of ``layer``; None where that computes."""
        return None if self.fast is None else self.fast.weights(layer)

    def verify_weights(self, *, repair: bool = True) -> list[WeightFault]:
        """Compare every parameter and buffer, bit for bit, with what was protected; reload what differs.

        Raises WeightsChanged for a change that was no fault (see ``refresh``).
        """
        if repair:
            found = self.keeper.repair()
        else:
            found = [WeightFault(name, None, False) for name in self.keeper.damaged()]
        copies = [] if self.fast is None else self.fast.verify_weights(repair=repair)
        return [*found, *(WeightFault(f"{name} (packed copy)", None, repair) for name in copies)]

    def sensitivity(self, example: Any = None) -> list[Sensitivity]:
        """For every layer the threshold and the lowest bit whose flip is certainly caught.

        Measured on ``example`` (a batch or batches), by default the one given to ``protect``. Raises
        UsageError without either.
        """
        return sensitivity(self, self._example_or(example))

    def memory(self) -> Memory:
        """What protection keeps beside the weights, in bytes: checksums, pristine copy, packed copies."""
        return memory(self)

    def calibrate(self, example: Any = None) -> dict[str, float]:
        """Set the thresholds from fault-free runs on ``example``; see ``abft.calibration``."""
        factors = calibrate(self, self._example_or(example))
        self._renewed()
        return factors

    def checked(self) -> Checked:
        """The model as one that torch.export takes: it returns (output, deviations) and corrects nothing."""
        return Checked(self)

    def _example_or(self, example: Any) -> Any:
        chosen = self._example[0] if example is None else example
        if chosen is None:
            raise UsageError(
                "example",
                expected="a batch, or batches",
                got="none",
                remedy="pass example= here or to protect",
            )
        return chosen

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load a state dict of the model, plain or protected, and take its weights for the pristine ones."""
        keys = self.fault_site.load_state_dict(*args, **kwargs)
        self.refresh()
        return keys

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.keeper.refresh()
        self._renewed()
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model returns. Raises UsageError in training mode, FaultError for an uncorrected fault."""
        if self.training:
            raise UsageError(
                "a protected model",
                expected="eval mode (weights that change have no checksums)",
                got="training mode",
                remedy="call .eval(), or train the plain model and protect it afterwards",
            )
        if self.products is None and not torch.compiler.is_compiling():
            return self._first(*args, **kwargs)
        return self._planned(*args, **kwargs)

    def _planned(self, *args: Any, **kwargs: Any) -> Any:
        if self.plans is None or not args:
            return self._twice(*args, **kwargs)
        with self.plans.used(self.guard, args[0]):
            return self._twice(*args, **kwargs)

    def _twice(self, *args: Any, **kwargs: Any) -> Any:
        guard = self.guard
        told = len(guard.events)
        try:
            return self._run(*args, **kwargs)
        except InputDamaged as error:
            # A feature map was hit between two layers: only what computed it can bring it back.
            if _memory(error.damaged) & _memory((args, kwargs)):
                raise FaultError(
                    "the input of the model",
                    expected="as it was summed in its first layer",
                    got="changed in memory",
                    remedy="call the model again with a fresh copy of the input",
                ) from error
            self.keeper.repair()  # the map may come from a weight, as a position embedding does
            with guard.told_once(guard.events[told:]):
                out = self._run(*args, **kwargs)
            for index, event in enumerate(guard.events):
                if event is error.event:
                    mended = replace(event, action="rerun", scheme="model run again", corrected=True)
                    guard.events[index] = mended
            return out

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        guard, fast = self.guard, self.fast
        watched = guard.watch is not None or guard.capture is not None
        if fast is not None and not watched and fast.applies(args, kwargs):
            return fast(*args)
        return self.fault_site(*args, **kwargs)


def _memory(values: Any) -> set[int]:
    """Where the tensors among ``values``, nested or not, keep their numbers."""
    leaves = tree_leaves(values)
    return {leaf.untyped_storage().data_ptr() for leaf in leaves if isinstance(leaf, torch.Tensor)}


def protect(
    model: nn.Module,
    *,
    example: Any = None,
    plan: str | Path | None = "auto",
    threshold: str = "analytic",
    on_fault: OnFault = "correct",
    fuse: bool = True,
    pristine: Pristine = "memory",
) -> Protected:
    """Return ``model`` protected against soft errors: same forward, checked by checksums at every call.

    Every convolution (1-, 2-, 3-dimensional, transposed) and Linear is checked by CoC-D: Σ_n D_n convolved
    with Σ_m W_m must equal Σ_{n,m} O (FT-CNN, arXiv 2003.12203, eq. Co5), up to an analytic threshold
    (``abft.threshold``); NaN and Inf never pass. What is off is located and corrected (``abft.ladder``). The
    result is in eval mode and shares parameters and buffers with ``model``, which is left as it is; other
    modules run as they are. ``unprotected`` lists the names of those that multiply with weights and are not
    checked, and why.

    ``on_fault``: ``correct`` corrects, computes again, reloads weights, and raises FaultError if nothing
    helps; ``record`` only records the event and returns the damaged output; ``raise`` raises at once. What a
    forward hook of a layer does to its output counts as damage. ``plan``: which rungs a layer may use, from
    times measured at the first call of each input shape (``auto``), kept in a file (a path; made if there is
    none), or all (None). ``threshold``: ``analytic`` (``abft.threshold``), or ``calibrated`` on ``example``,
    a batch or batches (``abft.calibration``). ``fuse``: where torch.fx can trace the model and no gradient is
    asked for, compute convolutions from prepacked weights and finish each in the pass that checks it
    (``abft.fused``); outputs then differ from the plain model's by rounding. ``pristine``: where damaged
    weights are reloaded from (``weights.Keeper``). Weights changed on purpose need ``.refresh()``.

    Raises UsageError for other values, for something that is no eager ``nn.Module``, and for a model that is
    already protected.
    """
    if threshold not in ("analytic", "calibrated"):
        raise UsageError("threshold", expected="analytic or calibrated", got=repr(threshold))
    if threshold == "calibrated" and example is None:
        raise UsageError("threshold", expected="example=, a batch to calibrate on", got="none")
    if on_fault not in ON_FAULT:
        raise UsageError("on_fault", expected=f"one of {', '.join(ON_FAULT)}", got=repr(on_fault))
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise UsageError("protect", expected="an eager torch.nn.Module", got=type(model).__name__)
    if any(isinstance(module, Transparent) for module in model.modules()):
        raise UsageError("protect", expected="a plain model", got="one that is protected already")

    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, dict(shared))
    for module in twin.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # its fused path would go around its layers
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False  # made for that path: what is padded is computed here
    by_attention = {
        module
        for parent in twin.modules()
        if isinstance(parent, nn.MultiheadAttention)
        for module in parent.modules()
    }
    guard = Guard(on_fault)
    skipped = [(name, reason) for name, module in twin.named_modules() if (reason := _reason(module))]
    wrappers = {
        module: _WRAPPERS[kind](module, name, guard)
        for name, module in twin.named_modules()
        if (kind := _kind(module)) is not None and not _reason(module) and module not in by_attention
    }
    for module in list(twin.modules()):
        for name, child in module._modules.items():
            if child in wrappers:
                module._modules[name] = wrappers[child]
    layers = list(wrappers.values())
    book = None
    if plan is not None and on_fault == "correct":
        book = PlanBook(layers, None if plan == "auto" else Path(plan))
    computing = wrappers.get(twin, twin)
    protected = Protected(computing, guard, layers, skipped, pristine, book, example, fuse).eval()
    if threshold == "calibrated":
        protected.calibrate()
    return protected


def _kind(module: nn.Module) -> type[nn.Module] | None:
    """The class of layer that ``module`` computes as, if it is one that can be protected."""
    for kind in _WRAPPERS:
        if isinstance(module, kind) and (type(module).forward is kind.forward or _masked(module)):
            return kind
    return None


def _masked(module: nn.Module) -> bool:
    return callable(getattr(module, "effective_weight", None))


def _reason(module: nn.Module) -> str | None:
    """Why the products that ``module`` computes are not protected; None if they are, or if there are none."""
    name = type(module).__name__
    if isinstance(module, nn.MultiheadAttention):
        return "MultiheadAttention multiplies with its weights itself"
    if not isinstance(module, _OTHER_PRODUCTS):
        quantised = ".quantized" in type(module).__module__ and hasattr(module, "weight")
        return f"{name} is quantised" if quantised else None
    if _kind(module) is None:
        if isinstance(module, tuple(_WRAPPERS)):
            return f"{name} has a forward of its own"
        return f"{name} is not covered"
    if _masked(module):
        return None
    if parametrize.is_parametrized(module):
        return "its weight is a parametrisation"
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is no parameter but computed from others"
    if isinstance(weight, nn.UninitializedParameter):
        return "its weight has no shape before the first call"
    if type(weight.data) is not torch.Tensor or not weight.is_floating_point():
        return "its weight is quantised or no plain floating-point tensor"
    return None
