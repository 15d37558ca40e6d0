"""The table of parameters and operations on the page about models is what the models have."""

import json
import re
from pathlib import Path

import pytest
import torch

from holdfast import models
from holdfast.bench import count_flops

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (?:`(.*)`)? ?\| (\d+)×\d+×(\d) \| ([\d,]+) \| ([\d.]+) \|$", re.MULTILINE)
ROWS = [tuple(map(str, row)) for row in ROW.findall(PAGE)]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_a_row_is_what_the_model_has(row):
    name, options, size, channels, parameters, millions = row
    shape = (int(channels), int(size), int(size))
    with torch.device("meta"):
        given = json.loads(options or "{}")
        model = models.create(name, in_channels=shape[0], classes=2, size=shape[1], **given)
        assert sum(p.numel() for p in model.parameters()) == int(parameters.replace(",", ""))
        assert f"{count_flops(model, shape) / 1e6:.1f}" == millions


def test_every_family_for_detector_images_is_there():
    new = {
        "cnn",
        "cnn_egamma",
        "cnn_jets",
        "resnet15",
        "vit",
        "simple_vit",
        "deep_vit",
        "scalable_vit",
        "cct",
    }
    assert {row[0] for row in ROWS} == new
    assert all(f"`{name}`" in PAGE for name in (*new, "sequential"))
