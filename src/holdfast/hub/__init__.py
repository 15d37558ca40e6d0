"""The hub: components, cache, workflows, experiments, frontier, tuning and papers. No torch, no domain word.

Everything is loaded on first use, so that the process that runs a step imports next to nothing.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FUNCTIONS = {
    "Component": "component",
    "Run": "run_record",
    "access": "accessing",
    "act": "custom",
    "explain": "explanation",
    "find": "repository",
    "install": "packages",
    "list_components": "repository",
    "measure": "points",
    "new_component": "creating",
    "pareto": "frontier",
    "pin": "lock",
    "points_from_records": "frontier",
    "publish_components": "sharing",
    "pull": "pulling",
    "query": "store",
    "rebuild": "store",
    "remove": "sharing",
    "replay": "replaying",
    "repositories": "repository",
    "run": "runner",
    "run_checks": "checking",
    "scan": "repository",
    "search": "repository",
    "tune": "tuning",
    "validate": "validation",
}
_MODULES = ("lock", "packages", "paper", "render", "schemas", "store", "values")

__all__ = [*_FUNCTIONS, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(import_module(f"holdfast.hub.{_FUNCTIONS[name]}"), name)
    if name in _MODULES:
        return import_module(f"holdfast.hub.{name}")
    raise AttributeError(f"module 'holdfast.hub' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
