"""A packed network as one C99 file that needs nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from holdfast import __version__
from holdfast.core.errors import UsageError
from holdfast.core.paths import storage_errors, write_text
from holdfast.core.seeding import derive
from holdfast.export.c_graph import steps_of
from holdfast.export.c_tables import Flash, Tables, wrapped
from holdfast.export.rendering import templates
from holdfast.subnet import Packed


@dataclass(frozen=True)
class Exported:
    """What was written, and what it takes.

    ``table_bytes`` lie in flash beside the code, ``arena_bytes`` are working memory; ``additions`` and
    ``multiplications`` of floats are those of one image in convolutions and linear layers.
    """

    source: Path
    header: Path
    check: Path
    name: str
    table_bytes: int
    arena_bytes: int
    additions: int
    multiplications: int


def export_c(
    packed: Packed, folder: Path | str, *, name: str | None = None, flash: Flash = "fast"
) -> Exported:
    """Write ``packed`` to ``folder`` as ``NAME.c``, ``NAME.h`` and ``check.c``; equal networks, equal bytes.

    ``name`` (by default the model's) begins every public name; characters that C does not take become
    underscores. ``fast`` stores for each weight where it reads; ``compact`` codes weights and statistics as
    the packed file does: smaller, and slower to read. The C function makes the logits of one image, float32,
    in memory that the caller gives it. Raises UsageError for a network that has anything but convolutions,
    linear layers, batch norms, ReLU, sums, maximum and mean pools, or for a name without letters;
    StorageError.
    """
    if flash not in get_args(Flash):
        raise UsageError("flash", expected="fast or compact", got=repr(flash))
    name = identifier(packed.config.name if name is None else name)
    tables = Tables(steps_of(packed), flash)
    config = packed.config
    context: dict[str, Any] = {
        "title": f"{config.name}: {packed.kept} weights of one bit, exported by Holdfast {__version__}",
        "name": name,
        "upper": name.upper(),
        "channels": config.in_channels,
        "height": config.size,
        "width": config.size,
        "inputs": config.in_channels * config.size**2,
        "classes": config.classes,
        "kept": packed.kept,
        "flash": flash,
        **tables.context(),
        **_example(packed),
    }
    folder = Path(folder)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for template, target in (("network.c", f"{name}.c"), ("network.h", f"{name}.h"), ("check.c", "check.c")):
        write_text(folder / target, templates().get_template(f"{template}.j2").render(context))
        paths.append(folder / target)
    source, header, check = paths
    return Exported(
        source,
        header,
        check,
        name,
        tables.table_bytes,
        4 * tables.arena,
        tables.additions,
        tables.multiplications,
    )


def identifier(name: str) -> str:
    """``name`` as the beginning of C names. Raises UsageError where nothing of it is left."""
    found = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not found or found == "check":
        raise UsageError("name of the exported network", expected="letters, not 'check'", got=repr(name))
    return f"n{found}" if found[0].isdigit() else found


def _example(packed: Packed) -> dict[str, str]:
    """An image and its logits in float64, for check.c."""
    config = packed.config
    generator = np.random.default_rng(derive(0, "export c", config.name))
    pixels = generator.integers(0, 256, (1, config.in_channels, config.size, config.size))
    with torch.no_grad():
        logits = packed.to_module().double()(torch.from_numpy(pixels / 256))
    return {"pixels": wrapped(pixels), "expected": wrapped(logits)}
