"""Making what is registered under a name, with options that are checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from holdfast.core.errors import UsageError
from holdfast.core.registry import Registry

T = TypeVar("T")


def make(registry: Registry[Callable[..., T]], name: str, options: dict[str, Any], **given: Any) -> T:
    """Call what ``registry`` has under ``name`` with ``options`` of the user and with ``given``.

    Raises UsageError for an unknown name or option.
    """
    factory = registry.get(name)
    known = [key for key in inspect.signature(factory).parameters if key not in given]
    unknown = sorted(set(options) - set(known))
    if unknown:
        expected = f"options {', '.join(known) or 'none'}"
        raise UsageError(f"{registry.kind} {name!r}", expected=expected, got=", ".join(unknown))
    return factory(**given, **options)
