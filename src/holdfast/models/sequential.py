"""A network as a list of layers, and the two CNNs of the particle proposal in that form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.models.config import ModelConfig
from holdfast.models.norms import logits_norm
from holdfast.models.scaling import InputScaling
from holdfast.models.zoo import check_dropout, refuse, registry

Layer = Mapping[str, Any]
"""JSON-able: its ``kind``, a key of ``KINDS``, and that kind's arguments."""
Shape = tuple[int, ...]


@registry.register("sequential")
class Sequential(nn.Module):
    """``layers`` one after the other; the last one gives one number a class.

    Input float32 (N, C, H, W) with H = W = ``config.size``; output logits (N, classes). A layer is a JSON
    object, ``{"kind": "conv", "filters": 16, "kernel": 3}``; ``KINDS`` lists kinds and arguments. Raises
    UsageError for a layer that is unknown or does not fit what comes before it, which it names.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        layers: Sequence[Layer] = (),
        input_norm: bool = False,
        compress: str = "none",
    ) -> None:
        super().__init__()
        refuse(config, "stem", "norm")
        self.scaling = InputScaling.of(config, compress, input_norm)
        shape: Shape = (config.in_channels, config.size, config.size)
        made = []
        for place, layer in enumerate(layers):
            module, shape = add_layer(place, layer, shape)
            made.append(module)
        if shape != (config.classes,):
            raise UsageError(
                f"layers of model {config.name!r}", expected=f"an output of ({config.classes},)", got=shape
            )
        self.layers = nn.Sequential(*made)
        self.last_norm = logits_norm(config.last_norm, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        logits: Tensor = self.last_norm(self.layers(self.scaling(x)))
        return logits


def add_layer(place: int, layer: Layer, shape: Shape) -> tuple[nn.Module, Shape]:
    """The module of ``layer`` at ``place``, and the shape that it makes of ``shape``. Raises UsageError."""
    arguments = dict(layer) if isinstance(layer, Mapping) else {}
    kind = arguments.pop("kind", None)
    if kind not in KINDS:
        raise UsageError(f"kind of layer {place}", expected=f"one of {', '.join(sorted(KINDS))}", got=layer)
    try:
        module = KINDS[kind](shape, **arguments)
        with torch.no_grad():
            result = module.eval()(torch.zeros(1, *shape))
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        why = str(error).splitlines()[0]
        raise UsageError(
            f"layer {place}, {kind}", expected=f"one that takes {shape}", got=f"{arguments} ({why})"
        ) from error
    return module.train(), tuple(result.shape[1:])


def _conv(
    shape: Shape,
    filters: int,
    kernel: Any = 3,
    stride: Any = 1,
    pad: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    return nn.Conv2d(
        shape[0], filters, _pair(kernel), _pair(stride), _pair(pad), _pair(dilation), groups, bias
    )


def _dense(shape: Shape, units: int, bias: bool = True) -> nn.Module:
    if len(shape) != 1:
        raise ValueError("it takes features: flatten the map before")
    return nn.Linear(shape[0], units, bias)


def _batch_norm(shape: Shape, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> nn.Module:
    make = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    return make(shape[0], eps, momentum, affine)


def _pool(make: Callable[..., nn.Module], **fixed: Any) -> Callable[..., nn.Module]:
    def pool(shape: Shape, size: Any = 2, stride: Any = None, pad: Any = 0, ceil: bool = False) -> nn.Module:
        side = _pair(size)
        return make(side, side if stride is None else _pair(stride), _pair(pad), ceil_mode=ceil, **fixed)

    return pool


def _plain(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    return lambda shape, **arguments: make(**arguments)


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


class GlobalPool(nn.Module):
    """Mean or maximum (``most``) over the map: (N, C) of (N, C, H, W)."""

    def __init__(self, most: bool) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        """(N, C)."""
        return x.amax((2, 3)) if self.most else x.mean((2, 3))


KINDS: dict[str, Callable[..., nn.Module]] = {
    "conv": _conv,
    "zero_pad": lambda shape, pad: nn.ZeroPad2d(_pair(pad)),  # left, right, top, bottom
    "dense": _dense,
    "flatten": _plain(nn.Flatten),
    "batch_norm": _batch_norm,
    "max_pool": _pool(nn.MaxPool2d),
    "mean_pool": _pool(nn.AvgPool2d, count_include_pad=False),
    "global_max": lambda shape: GlobalPool(True),
    "global_mean": lambda shape: GlobalPool(False),
    "dropout": lambda shape, share: nn.Dropout(check_dropout(share)),
    "dropout_maps": lambda shape, share: nn.Dropout2d(check_dropout(share)),
    "relu": _plain(nn.ReLU),
    "relu6": _plain(nn.ReLU6),
    "leaky_relu": lambda shape, slope: nn.LeakyReLU(slope),
    "elu": lambda shape, alpha=1.0: nn.ELU(alpha),
    "selu": _plain(nn.SELU),
    "gelu": _plain(nn.GELU),
    "silu": _plain(nn.SiLU),
    "sigmoid": _plain(nn.Sigmoid),
    "tanh": _plain(nn.Tanh),
    "softplus": _plain(nn.Softplus),
}
"""By kind: makes the module, from the shape (C, H, W) or (features,) before it and the layer's arguments."""


def _proposal(name: str, widths: Sequence[int], hidden: Sequence[int], early: float, late: float) -> None:
    """Register the proposal's form: two convolutions, then one a pooling; two hidden layers."""

    def build(config: ModelConfig, *, input_norm: bool = False, compress: str = "none") -> Sequential:
        relu: Layer = {"kind": "relu"}
        pool: Layer = {"kind": "max_pool", "size": 2}
        conv: list[Layer] = [{"kind": "conv", "filters": n, "kernel": 3} for n in widths]
        layers = [conv[0], relu, conv[1], relu, pool, conv[2], relu, pool]
        if early:
            layers.append({"kind": "dropout", "share": early})
        layers += [conv[3], relu, pool, {"kind": "dropout", "share": 0.25}, {"kind": "flatten"}]
        for units in hidden:
            layers += [{"kind": "dense", "units": units}, relu, {"kind": "dropout", "share": late}]
        layers.append({"kind": "dense", "units": config.classes})
        return Sequential(config, layers=layers, input_norm=input_norm, compress=compress)

    build.__doc__ = f"The proposal's CNN {name}: convolutions {widths} without padding, layers {hidden}."
    registry.register(name)(build)


# 30,465 and 99,969 parameters with one sigmoid output; 17 more with two logits.
_proposal("cnn_egamma", (16, 16, 32, 32), (96, 16), early=0.0, late=0.25)
_proposal("cnn_jets", (32, 32, 64, 64), (128, 16), early=0.25, late=0.5)
