"""Floating-point operations of a forward pass, counted by PyTorch: FLOPs = 2×MACs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from holdfast.core.result import Label, Record


def _fused_attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """The two products of attention, as the counter has them for other devices."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


# PyTorch's counter knows the fused attention of GPUs, and takes the CPU's for nothing.
_MORE = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _fused_attention}


def count_flops(model: nn.Module, shape: tuple[int, ...]) -> int:
    """FLOPs of one image of ``shape`` (C, H, W): two for each multiply-add of convolutions and products.

    Elementwise work (normalisation, ReLU, checksums of a native core) is not counted.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    was_training = model.training
    try:
        # no_grad, not inference_mode: under the latter the counter does not see every operation.
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_MORE) as counter:
            model.eval()(torch.zeros(1, *shape, device=device))
    finally:
        model.train(was_training)
    return int(counter.get_total_flops())


def flops(
    model: nn.Module, shape: tuple[int, ...], *, labels: Mapping[str, Label] | None = None
) -> list[Record]:
    """One Record ``flops`` (FLOP an image of ``shape``)."""
    value = count_flops(model, shape)
    return [Record(metric="flops", value=value, unit="FLOP", direction="lower", labels=dict(labels or {}))]
