"""What a campaign leaves on the disk: its settings, and every finished trial."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from holdfast.core import jsonl
from holdfast.core.canonical import canonical_json
from holdfast.core.errors import UsageError
from holdfast.core.paths import write_json, write_text
from holdfast.core.protocols import Stressor
from holdfast.stress.fault import Fault, FaultedTrial, to_json

SETTINGS, TRIALS, FAULTS = "campaign.json", "trials.jsonl", "faults.json"
SCHEMA = "holdfast.campaign/1"


def describe(stressor: Stressor) -> dict[str, Any]:
    """Name, class and options of a stressor as plain JSON values."""
    options = (
        asdict(stressor) if is_dataclass(stressor) and not isinstance(stressor, type) else vars(stressor)
    )
    kind = f"{type(stressor).__module__}.{type(stressor).__qualname__}"
    plain: dict[str, Any] = json.loads(
        json.dumps({**options, "name": stressor.name, "class": kind}, default=str)
    )
    return plain


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over the kinds of a model's modules and the bytes of its parameters and buffers."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        digest.update(f"{name}:{type(module).__qualname__};".encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        dense = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(dense.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Store:
    """The folder of one campaign. Raises UsageError if it holds a campaign with other settings."""

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self.trials = out / TRIALS
        settle(out / SETTINGS, {"schema": SCHEMA, **settings}, "campaign", self.trials)

    def finished(self) -> set[tuple[str, int]]:
        """Key of the stressor and number of every finished trial."""
        return {(line["stressor"], line["trial"]) for line in self.lines()}

    def lines(self) -> Iterator[dict[str, Any]]:
        """The finished trials in the order in which they were finished, each once."""
        if not self.trials.exists():
            return
        seen = set()
        for line in jsonl.read(self.trials):
            key = (line["stressor"], line["trial"])
            if key not in seen:
                seen.add(key)
                yield line

    def write_faults(self, keys: Sequence[str]) -> None:
        """Write the faults of all finished trials as a fault list, by stressor in the order of ``keys``.

        Trials whose process died or hung have none, nor do stressors that inject no faults.
        """
        lines = [line for line in self.lines() if line.get("faults")]
        lines.sort(key=lambda line: (keys.index(line["stressor"]), line["trial"]))
        if lines:
            text = to_json(
                FaultedTrial(tuple(map(Fault.from_dict, line["faults"])), line["batch"]) for line in lines
            )
            write_text(self.trials.with_name(FAULTS), text)


def settle(path: Path, settings: dict[str, Any], kind: str, results: Path) -> None:
    """Write ``settings`` to ``path``, or compare them with those there.

    Raises UsageError for others (the difference is named), and for ``results`` without settings.
    """
    given = json.loads(canonical_json(settings))
    if not path.exists():
        if results.exists():
            raise UsageError(f"{path.parent}", expected=path.name, got=f"results of an unknown {kind}")
        write_json(path, given)
        return
    stored = json.loads(path.read_text())
    for key in sorted(stored.keys() | given.keys()):
        if stored.get(key) != given.get(key):
            raise UsageError(
                f"{path} holds a {kind} with another {key}",
                expected=_short(stored.get(key)),
                got=_short(given.get(key)),
                remedy="give the same settings to resume, or another folder",
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:197] + "..."
