"""Makes ``abft_support`` importable; a small model and a batch for it."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def net() -> torch.nn.Module:
    from abft_support import Net

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(3, 3, 9, 11, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def free_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Correcting costs nothing, so that every rung is run on small layers too."""
    from holdfast.abft import ladder

    monkeypatch.setattr(ladder, "_DEARER", dict.fromkeys(ladder._DEARER, 0))
