"""Where the time of a forward pass goes: a trace of PyTorch's profiler, to be looked at in a viewer."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from holdfast.core.errors import UsageError
from holdfast.core.paths import write_bytes

_WARMUP, _PASSES = 3, 5


def save_trace(model: nn.Module, shape: tuple[int, ...], batch: int, path: Path) -> None:
    """Profile 5 forward passes of ``model`` (eval mode) and write them to ``path`` (``.json.gz``) atomically.

    Images are zeros (``batch``, *``shape``) on the model's device. The file opens in Perfetto and in
    chrome://tracing; each pass is one span ``forward``. Times in it contain the profiler's own cost, so
    latency is measured without it, by ``latency``; and its FLOPs miss fused attention: count by ``flops``.
    Raises UsageError for sizes below 1, StorageError.
    """
    if batch < 1 or min(shape, default=0) < 1:
        raise UsageError("trace", expected="shape and batch >= 1", got=f"{shape} and {batch}")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            x = torch.zeros(batch, *shape, device=device)
            for _ in range(_WARMUP):
                model(x)
            with profile(activities=activities, record_shapes=True) as profiler:
                for _ in range(_PASSES):
                    with record_function("forward"):
                        model(x)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
    finally:
        model.train(was_training)
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "trace.json.gz")
        profiler.export_chrome_trace(name)
        write_bytes(path, Path(name).read_bytes())
