from dataclasses import dataclass

import pytest
import torch

from holdfast import models
from holdfast.core.seeding import derive


@dataclass(frozen=True)
class Info:
    n: int
    shape: tuple = (1, 8, 8)
    classes: tuple = ("dark", "bright")
    name: str = "blobs"
    unit_gev: tuple | None = None
    simulated: bool = True
    fingerprint: str = "blobs-1"


class Blobs:
    """In-memory stream: class k has a spot that is the brighter, the larger k is."""

    def __init__(self, n=200, classes=2, seed=0, noise=0.5):
        generator = torch.Generator().manual_seed(seed)
        self.info = Info(n=n, classes=tuple("abcdefghij"[:classes]))
        self.y = torch.arange(n) % classes
        self.x = noise * torch.rand(n, 1, 8, 8, generator=generator)
        self.x[:, 0, 3:5, 3:5] += 0.3 * self.y[:, None, None]

    def batches(self, batch_size, *, epoch=0, shuffle=False, skip=0, indexed=False):
        order = torch.arange(self.info.n)
        if shuffle:
            generator = torch.Generator().manual_seed(derive(0, epoch))
            order = torch.randperm(self.info.n, generator=generator)
        for start in range(skip * batch_size, self.info.n, batch_size):
            part = order[start : start + batch_size]
            yield (self.x[part], self.y[part], part) if indexed else (self.x[part], self.y[part])


def make_model(classes=2, seed=0, **options):
    torch.manual_seed(seed)
    options = {"width": 0.5, **options}
    return models.create("cnn", in_channels=1, classes=classes, size=8, **options)


@pytest.fixture(name="make_model")
def _make_model():
    return make_model


@pytest.fixture
def blobs():
    return Blobs


@pytest.fixture
def streams():
    return Blobs(), Blobs(n=60, seed=1)
