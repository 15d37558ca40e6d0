"""Making what is registered under a name, with options that are checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from holdfast.core.errors import UsageError
from holdfast.core.registry import Registry

T = TypeVar("T")


def make(registry: Registry[Callable[..., T]], name: str, options: dict[str, Any], **given: Any) -> T:
    """Call what ``registry`` has under ``name`` with ``options`` of the user, and what it takes of ``given``.

    Raises UsageError for an unknown name or option.
    """
    factory = registry.get(name)
    parameters = inspect.signature(factory).parameters
    known = [key for key in parameters if key not in given]
    given = {key: value for key, value in given.items() if key in parameters}
    unknown = sorted(set(options) - set(known))
    # What takes any further option checks them itself.
    if unknown and all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
        expected = f"options {', '.join(known) or 'none'}"
        raise UsageError(f"{registry.kind} {name!r}", expected=expected, got=", ".join(unknown))
    return factory(**given, **options)
