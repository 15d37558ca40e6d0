import torch
from torch import nn

from holdfast import bench


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 2)
        self.b = self.a
        self.register_buffer("spare", torch.zeros(5, dtype=torch.float16), persistent=False)


def test_shared_parameters_count_once_and_buffers_count_in_bytes():
    assert bench.count_parameters(Tied()) == 8
    assert bench.state_bytes(Tied()) == 8 * 4 + 5 * 2


def test_records():
    parameters, size = bench.size(Tied(), labels={"model": "m"})
    assert (parameters.metric, parameters.value, parameters.unit) == ("parameters", 8, "1")
    assert (size.metric, size.value, size.unit, size.direction) == ("size", 42, "B", "lower")
    assert size.labels == {"model": "m"}
