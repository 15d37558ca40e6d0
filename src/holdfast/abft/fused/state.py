"""Whether the modules behind a chain are as they were when it was built: no hooks, weights not written."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from holdfast.abft.weights import crc


def hooks(modules: Iterable[nn.Module]) -> list[dict[int, object]]:
    """The dictionaries in which ``modules`` keep hooks that a call of them would run."""
    return [
        kept  # type: ignore[misc]
        for module in modules
        for kept in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    ]


class WeightState:
    """The parameters and buffers of ``modules``, and whether they are as they were when this was made.

    torch counts how often it has written a tensor; only where that count differs are the bytes looked at.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        found = [
            tensor
            for module in modules
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
            if tensor.numel() and not tensor.is_inference()
        ]
        self.tensors: list[Tensor] = found
        self.versions = [tensor._version for tensor in found]
        self._marks = [crc(tensor) for tensor in found]
        self._seen = (self.versions, True)

    def as_built(self) -> bool:
        """Whether every tensor has the bytes that it had."""
        versions = [tensor._version for tensor in self.tensors]
        if versions != self._seen[0]:
            self._seen = versions, [crc(tensor) for tensor in self.tensors] == self._marks
        return self._seen[1]
