"""From a packed network to models: ``to_module``, an ordinary one; ``to_network``, for the sparse engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from holdfast import models
from holdfast.core.errors import DataError
from holdfast.subnet.layers import prunable
from holdfast.subnet.narrow import narrow_layer, narrow_norms
from holdfast.subnet.sparse.graph import Network, network
from holdfast.subnet.sparse.weights import SparseWeights

if TYPE_CHECKING:
    from holdfast.subnet.packed import Packed


def to_module(packed: Packed) -> nn.Module:
    """The network as an ordinary model in eval mode; see ``Packed.to_module``. Raises DataError."""
    model = models.create(**packed.config.arguments())
    _fill(model, packed)
    _give_weights(model, packed, {layer.name for layer in packed.layers})
    return model.eval()


def to_network(packed: Packed, shape: tuple[int, int, int]) -> Network:
    """The same for the sparse engine, for inputs (N, *``shape``), without dense weights: from the lists of
    what is kept. Only a layer that the engine leaves to torch gets them. Raises DataError.
    """
    with _WithoutWeights():
        model = models.create(**packed.config.arguments())
    _fill(model, packed)
    if _missing(model):
        return network(to_module(packed), shape)
    found = prunable(model)
    weights = {}
    for layer in packed.layers:
        module = found[layer.name]
        groups = 1 if isinstance(module, nn.Linear) else module.groups
        weights[layer.name] = SparseWeights.of_kept(layer.mask, layer.signs, layer.scale, groups)
    made = network(model.eval(), shape, weights)
    _give_weights(model, packed, weights.keys() - {layer.name for layer in made.layers.values()})
    return made


def _fill(model: nn.Module, packed: Packed) -> None:
    """Take away biases and channels that ``packed`` does not have; load its statistics. Raises DataError."""
    found = prunable(model)
    wanted = {name: tuple(layer.weight.shape) for name, layer in found.items()}
    _fits("layers", {layer.name: layer.full_shape for layer in packed.layers}, wanted)
    for layer in packed.layers:
        found[layer.name].register_parameter("bias", None)
        narrow_layer(found[layer.name], *layer.mask.shape[:2])
        weight = found[layer.name].weight
        if weight.is_meta:  # what traces the shapes reads them there
            found[layer.name].weight = nn.Parameter(weight.new_empty(layer.mask.shape), requires_grad=False)
    if any(layer.rows is not None for layer in packed.layers):
        narrow_norms(model, packed.stats)
    own = stats_of(model)
    _fits("statistics", _numels(packed.stats), _numels(own))
    state = {name: value.reshape(own[name].shape).clone() for name, value in packed.stats.items()}
    model.load_state_dict(state, strict=False, assign=True)


def _give_weights(model: nn.Module, packed: Packed, names: set[str]) -> None:
    found = prunable(model)
    for layer in packed.layers:
        if layer.name in names:
            weight = torch.from_numpy(layer.weight())
            found[layer.name].weight = nn.Parameter(weight, requires_grad=False)


class _WithoutWeights(TorchFunctionMode):
    """What is made inside has matrices and kernels with a shape, but without memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and args and isinstance(args[0], Sequence) and len(args[0]) > 1:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _missing(model: nn.Module) -> bool:
    """Whether something made so is neither a layer's weight nor came from the file."""
    layers = set(prunable(model).values())
    return any(
        isinstance(value, Tensor) and value.is_meta
        for module in model.modules()
        if module not in layers
        for value in [*vars(module).values(), *module._parameters.values(), *module._buffers.values()]
    )


def stats_of(model: nn.Module) -> dict[str, Tensor]:
    """What a packed file keeps of the state of ``model`` beside the masked weights."""
    without = {f"{name}.{key}" for name in prunable(model) for key in ("weight", "scores", "bias")}
    return {
        name: value.detach()
        for name, value in model.state_dict().items()
        if name not in without and not name.endswith("num_batches_tracked")
    }


def _numels(stats: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: (value.numel(),) for name, value in stats.items()}


def _fits(what: str, got: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    wrong = [
        f"{name} {got.get(name, 'missing')} for {expected.get(name, 'none')}"
        for name in sorted({*got, *expected})
        if got.get(name) != expected.get(name)
    ]
    if wrong:
        raise DataError(
            f"{what} of a packed network",
            expected="those of the model",
            got="; ".join(wrong[:8]),
            remedy="the model's code may have changed since the file was written",
        )
