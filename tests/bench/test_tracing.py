from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from holdfast import bench
from holdfast.core.errors import UsageError


def test_a_trace_shows_the_forward_passes_and_their_operations(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).train()
    bench.save_trace(net, (3, 2, 2), 4, tmp_path / "t.json.gz")
    with gzip.open(tmp_path / "t.json.gz") as file:
        names = [event.get("name") for event in json.load(file)["traceEvents"]]
    assert names.count("forward") == 5
    assert "aten::linear" in names
    assert net.training


def test_no_trace_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        bench.save_trace(torch.nn.Identity(), (3, 2, 2), 0, tmp_path / "t.json.gz")
    assert not list(tmp_path.iterdir())
