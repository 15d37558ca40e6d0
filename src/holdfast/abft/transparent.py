"""A module that stands in front of another and is seen through: same state, same attributes."""

from __future__ import annotations

from typing import Any

from torch import nn


class Transparent(nn.Module):
    """Holds a module as ``fault_site`` and answers for it.

    ``state_dict`` has the keys of the module itself, and ``load_state_dict`` takes them; attributes that the
    wrapper lacks are read from the module.
    """

    fault_site: nn.Module

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.fault_site = module

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or "fault_site" not in self.__dict__.get("_modules", {}):
                raise
            return getattr(super().__getattr__("fault_site"), name)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """State of the wrapped module, under its own keys."""
        return self.fault_site.state_dict(*args, **kwargs)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # torch recurses into ``fault_site`` next and looks for its keys below that name.
        for key in [key for key in state_dict if key.startswith(prefix)]:
            state_dict[f"{prefix}fault_site.{key.removeprefix(prefix)}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)
