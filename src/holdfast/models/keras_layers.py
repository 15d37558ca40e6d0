"""Configurations of Keras layers as layers of ``sequential``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.core.errors import DataError, UsageError
from holdfast.models.sequential import Layer, Shape, add_layer

ACTIVATIONS = {
    **{
        name: name for name in ("relu", "relu6", "elu", "selu", "gelu", "silu", "sigmoid", "tanh", "softplus")
    },
    "swish": "silu",
}


@dataclass(frozen=True)
class Translated:
    """``layers`` of ``sequential`` that give logits of ``classes``, for images of that shape."""

    layers: list[Layer]
    in_channels: int
    size: int
    classes: int


def translated(layers: list[dict[str, Any]], source: str) -> Translated:
    """The layers of a Keras Sequential model as layers of ``sequential``.

    Raises DataError that names ``source`` and the layer that has no counterpart.
    """
    size, channels = _input(layers, source)
    shape: Shape = (channels, size, size)
    made: list[Layer] = []
    for layer in layers:
        if layer["kind"] == "InputLayer":
            continue
        try:
            if layer.get("data_format") not in (None, "channels_last"):
                raise ValueError("its channels come first")
            steps = _STEPS[layer["kind"]](layer, shape)
            for step in [*steps, *_activation(layer.get("activation"))]:
                made.append(step)
                if step["kind"] != "softmax":
                    _, shape = add_layer(len(made) - 1, step, shape)
        except (KeyError, TypeError, ValueError, UsageError) as error:
            name = f"{layer['kind']} {layer.get('name', '')}".strip()
            raise DataError(
                f"network {source}", expected="layers known here", got=f"{name}: {error}"
            ) from error
    return Translated(_logits(made, shape, source), channels, size, max(2, shape[0]))


def _input(layers: list[dict[str, Any]], source: str) -> tuple[int, int]:
    """Side and channels of the images."""
    first = layers[0] if layers else {}
    shape: Any = first.get("batch_shape") or first.get("batch_input_shape") or ()
    if len(shape) != 4 or shape[1] != shape[2] or None in shape[1:]:
        raise DataError(f"network {source}", expected="square images (None, size, size, channels)", got=shape)
    return shape[1], shape[3]


def _logits(made: list[Layer], shape: Shape, source: str) -> list[Layer]:
    """``made`` without the probability at its end; one output becomes two."""
    last = made[-1]["kind"] if made else None
    if len(shape) == 1 and last == ("sigmoid" if shape[0] == 1 else "softmax"):
        made = made[:-1]
    elif last in ("softmax", "sigmoid") or len(shape) != 1:
        raise DataError(f"network {source}", expected="logits, a softmax, or one sigmoid", got=(last, shape))
    if any(layer["kind"] == "softmax" for layer in made):
        raise DataError(f"network {source}", expected="a softmax at the end only", got="one before it")
    if shape == (1,):
        if made[-1]["kind"] != "dense":
            raise DataError(f"network {source}", expected="one output of a Dense layer", got=made[-1]["kind"])
        made = [*made[:-1], {**made[-1], "units": 2}]
    return made


def _activation(name: Any) -> list[Layer]:
    if isinstance(name, dict):  # a function, written out
        name = name.get("config")
    if name in (None, "linear"):
        return []
    if name == "leaky_relu":
        return [{"kind": "leaky_relu", "slope": 0.2}]
    if name != "softmax" and name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r}")
    return [{"kind": ACTIVATIONS.get(name, name)}]


def _conv(layer: dict[str, Any], shape: Shape) -> list[Layer]:
    kernel, stride, dilation = (_pair(layer[key]) for key in ("kernel_size", "strides", "dilation_rate"))
    wide = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    (top, bottom), (left, right) = (
        _same(n, k, s) if layer["padding"] == "same" else (0, 0)
        for n, k, s in zip(shape[1:], wide, stride, strict=True)
    )
    even = top == bottom and left == right
    conv: Layer = {
        "kind": "conv",
        "filters": layer["filters"],
        "kernel": kernel,
        "stride": stride,
        "pad": [top, left] if even else [0, 0],
        "dilation": dilation,
        "groups": layer.get("groups", 1),
        "bias": layer["use_bias"],
    }
    return [conv] if even else [{"kind": "zero_pad", "pad": [left, right, top, bottom]}, conv]


def _pool(kind: str) -> Callable[[dict[str, Any], Shape], list[Layer]]:
    def pool(layer: dict[str, Any], shape: Shape) -> list[Layer]:
        size, stride = _pair(layer["pool_size"]), _pair(layer["strides"] or layer["pool_size"])
        found: dict[str, Any] = {"kind": kind, "size": size, "stride": stride}
        if layer["padding"] == "same":
            pads = [_same(n, k, s) for n, k, s in zip(shape[1:], size, stride, strict=True)]
            # The right number of windows: the odd empty row is a window that reaches over the edge.
            found |= {"pad": [before for before, _ in pads], "ceil": any(a > b for b, a in pads)}
            after = add_layer(0, found, shape)[1]
            if list(after[1:]) != [-(-n // s) for n, s in zip(shape[1:], stride, strict=True)]:
                raise ValueError("its padding")
        return [found]

    return pool


def _same(n: int, kernel: int, stride: int) -> tuple[int, int]:
    """Rows before and after ``n`` that give ⌈n / stride⌉ windows; the odd one comes after."""
    total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
    return total // 2, total - total // 2


def _norm(layer: dict[str, Any], shape: Shape) -> list[Layer]:
    axis = layer["axis"][0] if isinstance(layer["axis"], list) else layer["axis"]
    if axis not in (-1, len(shape)):
        raise ValueError(f"axis {axis}")
    affine = layer["scale"] or layer["center"]
    return [
        {"kind": "batch_norm", "eps": layer["epsilon"], "momentum": 1 - layer["momentum"], "affine": affine}
    ]


def _relu(layer: dict[str, Any], shape: Shape) -> list[Layer]:
    slope, most = layer.get("negative_slope") or 0, layer.get("max_value")
    if layer.get("threshold") or (most is not None and (most != 6 or slope)):
        raise ValueError("its threshold or maximum")
    if slope:
        return [{"kind": "leaky_relu", "slope": slope}]
    return [{"kind": "relu" if most is None else "relu6"}]


def _leaky(layer: dict[str, Any], shape: Shape) -> list[Layer]:
    return [{"kind": "leaky_relu", "slope": float(layer.get("negative_slope", layer.get("alpha", 0.3)))}]


def _zero_pad(layer: dict[str, Any], shape: Shape) -> list[Layer]:
    (top, bottom), (left, right) = layer["padding"]
    return [{"kind": "zero_pad", "pad": [left, right, top, bottom]}]


def _fixed(**layer: Any) -> Callable[[dict[str, Any], Shape], list[Layer]]:
    return lambda config, shape: [layer]


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


_STEPS: dict[str, Callable[[dict[str, Any], Shape], list[Layer]]] = {
    "Conv2D": _conv,
    "Dense": lambda c, shape: [{"kind": "dense", "units": c["units"], "bias": c["use_bias"]}],
    "BatchNormalization": _norm,
    "MaxPooling2D": _pool("max_pool"),
    "AveragePooling2D": _pool("mean_pool"),
    "GlobalMaxPooling2D": _fixed(kind="global_max"),
    "GlobalAveragePooling2D": _fixed(kind="global_mean"),
    "ZeroPadding2D": _zero_pad,
    "Flatten": _fixed(kind="flatten"),
    "Dropout": lambda c, shape: [{"kind": "dropout", "share": c["rate"]}],
    "SpatialDropout2D": lambda c, shape: [{"kind": "dropout_maps", "share": c["rate"]}],
    "ReLU": _relu,
    "LeakyReLU": _leaky,
    "Activation": lambda c, shape: [],
    "Softmax": _fixed(kind="softmax"),
}
"""By Keras's class: the layers here that do what it does to (C, H, W) or (features,), activation apart."""
