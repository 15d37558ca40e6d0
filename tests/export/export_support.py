"""Small packed networks, and the C compiler that turns their exports into programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast import models
from holdfast.export import Exported, export_c
from holdfast.export.candidates import Built
from holdfast.subnet.assembly import stats_of
from holdfast.subnet.layers import prunable
from holdfast.subnet.packed import Packed, PackedLayer, as_stored
from holdfast.subnet.rates import adaptive_counts
from holdfast.subnet.signs import sign_bits

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-pedantic")
CC = shutil.which("gcc") or shutil.which("cc")
needs_cc = pytest.mark.skipif(CC is None, reason="needs a C compiler: gcc or cc")


def packed(
    name: str = "convnet",
    *,
    prune_rate: float = 0.9,
    seed: int | None = 3,
    scale: float = 1.0,
    **options: object,
) -> Packed:
    """A packed network with a random mask and the statistics of random images; no seed: explicit signs."""
    arguments = {"in_channels": 2, "classes": 3, "size": 12, "norm": "batch_no_affine", "last_norm": True}
    generator = np.random.default_rng(7)
    torch.manual_seed(7)
    model = models.create(name, **{**arguments, **options})  # type: ignore[arg-type]
    found = prunable(model)
    counts = adaptive_counts([layer.weight.numel() for layer in found.values()], prune_rate, 0.5)
    layers = []
    for (at, layer), kept in zip(found.items(), counts, strict=True):
        layer.register_parameter("bias", None)
        mask = np.zeros(layer.weight.numel(), dtype=np.bool_)
        mask[generator.choice(len(mask), kept, replace=False)] = True
        signs = sign_bits(3, at, len(mask))[mask]
        layers.append(PackedLayer(at, mask.reshape(layer.weight.shape), signs, scale))
        layer.weight.data = torch.from_numpy(layers[-1].weight())
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 2.0)
                nn.init.normal_(module.bias)
    with torch.no_grad():
        model.train()(torch.rand(16, model.config.in_channels, model.config.size, model.config.size))  # type: ignore[union-attr]
    stats = {key: as_stored(key, value) for key, value in stats_of(model).items()}
    return Packed(model.config, layers, stats, seed)  # type: ignore[arg-type]


def build(network: Packed, folder: Path, *flags: str, compiler: str | None = None, **options: object) -> Path:
    """The check program of ``network``, compiled with every warning an error."""
    return compiled(export_c(network, folder, **options), *flags, compiler=compiler)  # type: ignore[arg-type]


def compiled(exported: Exported, *flags: str, compiler: str | None = None) -> Path:
    """The check program of an export."""
    program = exported.source.parent / "check"
    sources = (str(exported.source), str(exported.check))
    run(compiler or CC or "cc", *STRICT, *(flags or ("-O2",)), "-o", str(program), *sources)
    return program


def logits(program: Path, images: Tensor) -> Tensor:
    """What ``program`` makes of ``images`` (N, C, H, W)."""
    raw = images.to(torch.float32).contiguous().numpy().tobytes()
    done = subprocess.run([program, "-"], input=raw, capture_output=True, check=True, timeout=60)
    return torch.from_numpy(np.frombuffer(done.stdout, dtype=np.float32).copy()).view(len(images), -1)


def allowed(expected: Tensor) -> Tensor:
    """The largest difference (N,) from logits (N, classes) that the export promises."""
    return 1e-4 * expected.abs().amax(1).clamp(min=1)


def run(*command: str | Path) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def hang(note: Path | None) -> int:
    """Answer the own process id; with ``note`` start a child, write its id there, and never return."""
    if note is None:
        return os.getpid()
    child = subprocess.Popen(["sleep", "600"])
    note.write_text(str(child.pid))
    while True:
        time.sleep(1)


def end(code: object) -> None:
    """End the process without a word."""
    os._exit(3)


def never(workshop: object) -> Built:
    """Build nothing, ever."""
    while True:
        time.sleep(1)
