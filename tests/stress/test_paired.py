from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stress_support import ArrayStream
from torch import nn

from holdfast.core.errors import UsageError
from holdfast.core.stats import auc_difference
from holdfast.stress import DeadChannels, GaussianNoise, campaign, paired_differences
from holdfast.stress.paired import columns

HARM = [GaussianNoise(sigma_fraction_of_max=0.3), DeadChannels(0.2), GaussianNoise(sigma_fraction_of_max=0.0)]


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    size = ArrayStream(60).x[0].numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 2))


def run(out: Path, seed: int, harm: list[object] = HARM, campaign_seed: int = 5) -> Path:
    campaign.run(net(seed), harm, ArrayStream(60), trials=99, batch_size=16, seed=campaign_seed, out=out)
    return out


def test_differences_are_of_the_same_images_under_the_same_harm(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a", 1), run(tmp_path / "b", 2)
    found = paired_differences(a, b, HARM, labels={"model": "a", "against": "b"}, simulated=True)
    told = {(r.metric, r.labels.get("sigma_fraction_of_max"), r.labels.get("rate")): r for r in found}
    first, second = columns(a / "trials.jsonl"), columns(b / "trials.jsonl")
    assert list(first) == ["dead_channels", "gaussian_noise", "gaussian_noise-2"] or len(first) == 3
    for key, where in (("gaussian_noise", (0.3, None)), ("gaussian_noise-2", (0.0, None))):
        value, interval = auc_difference(first[key]["label"], first[key]["score"], second[key]["score"])
        record = told["auc_difference", *where]
        assert (record.value, record.interval, record.n) == (value, interval, 60)
    # No noise at all is the clean run, which is told once.
    assert told["clean_auc_difference", None, None].value == told["auc_difference", 0.0, None].value
    shared = told["auc_difference", None, 0.2]
    assert shared.interval is not None
    assert shared.interval.method == "paired delong, by group"
    assert all(record.simulated and record.labels["against"] == "b" for record in found)


def test_the_two_models_met_the_same_noise(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a", 1), run(tmp_path / "b", 1)
    found = paired_differences(a, b, HARM, labels={}, simulated=True)
    assert {record.value for record in found} == {0.0}
    assert all(
        np.array_equal(x["score"], y["score"])
        for x, y in zip(
            columns(a / "trials.jsonl").values(), columns(b / "trials.jsonl").values(), strict=True
        )
    )


def test_campaigns_with_other_harm_are_refused(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a", 1), run(tmp_path / "b", 2, campaign_seed=6)
    with pytest.raises(UsageError, match="another seed"):
        paired_differences(a, b, HARM, labels={}, simulated=True)
