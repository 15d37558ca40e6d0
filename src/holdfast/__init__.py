"""Holdfast: neural networks that hold fast, and the proof.

``protect`` and the rooms below are loaded on first use, so that importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing itself is slow to import, and every step's process would pay for it
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_LAZY = {"load_packed": "holdfast.subnet", "protect": "holdfast.abft", "prune": "holdfast.subnet"}
_ROOMS = ("abft", "bench", "core", "data", "hub", "kernels", "models", "stress", "subnet", "training")

__all__ = ["__version__", *_LAZY, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _ROOMS:
        return import_module(f"holdfast.{name}")
    raise AttributeError(f"module 'holdfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
