"""Tracing patches every module of the process; other threads must not notice."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, fx, nn

from holdfast.abft.fused.trace import trace


class Crowded(nn.Module):
    """While it is traced, another thread runs a model of its own."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        self.others = [other]
        self.outs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Input (N, 1, H, W)."""
        if isinstance(x, fx.Proxy):
            thread = threading.Thread(target=lambda: self.outs.append(self.others[0](torch.ones(2, 3))))
            thread.start()
            thread.join()
        return self.conv(x)


def test_other_threads_run_while_a_model_is_traced() -> None:
    other = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    model = Crowded(other)
    graph = trace(model)
    assert [node.op for node in graph.nodes] == ["placeholder", "call_module", "output"]
    (out,) = model.outs
    assert torch.equal(out, other(torch.ones(2, 3)))
