"""The stressors by name, for JSON descriptions and plugins."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Stressor
from holdfast.core.registry import Registry

stressors: Registry[Callable[..., Stressor]] = Registry("stressor", "stressors")


def create(name: str, *, info: Any = None, **options: Any) -> Stressor:
    """Make the stressor registered as ``name`` with ``options`` (plain JSON values).

    ``info`` (a data set's) completes the options ``unit_gev`` and ``value_range`` where the stressor takes
    them and they are not given. Raises UnknownNameError, or UsageError for an option it does not have.
    """
    factory = stressors.get(name)
    accepted = inspect.signature(factory).parameters
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise UsageError(
            f"stressor {name!r}", expected=f"options {', '.join(accepted)}", got=", ".join(unknown)
        )
    for key in ("unit_gev", "value_range"):
        given = getattr(info, key, None)
        if key in accepted and key not in options and given is not None:
            options[key] = given
    return factory(**options)
