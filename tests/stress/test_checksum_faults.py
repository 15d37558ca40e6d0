"""Faults in the checksums of a model that ``protect`` made, reached through ``core.protocols`` only."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stress_support import STREAM, rates, run
from torch import nn

from holdfast import protect
from holdfast.abft import ladder
from holdfast.core.errors import UsageError
from holdfast.core.protocols import CHECKSUM_SITES, EVERY_CALL
from holdfast.stress import Fault, Faults, Nothing, inject
from holdfast.stress.sampling import triggers
from holdfast.stress.sites import places, tapped_guard

X = STREAM.x[:16]


def wide() -> nn.Module:
    """Wide enough that correcting is cheaper than computing a layer again."""
    torch.manual_seed(3)
    layers = [nn.Conv2d(2, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 64, 2)).eval()


def test_a_protected_model_shows_its_checksums() -> None:
    found = {place.site: place for place in places(protect(wide()), X) if place.layer == "2"}
    assert set(found) == {"weight", "input", "output", "accumulator", *CHECKSUM_SITES}
    assert found["cd1"].elements == 24 * 8 * 8
    assert found["cw1"].elements == 24 * 3 * 3
    assert found["co5"].elements == 8 * 8
    assert found["co6"].elements is None
    assert {found[site].dtype for site in CHECKSUM_SITES} == {torch.float64}


@pytest.mark.parametrize("site", EVERY_CALL)
@pytest.mark.parametrize(("effect", "bit"), [("flip", 61), ("nan", None)], ids=["flip", "nan"])
@torch.no_grad()
def test_a_damaged_checksum_is_noticed_and_mended(site: str, effect: str, bit: int | None) -> None:
    model = protect(wide())
    clean = model(X)
    with inject(model, [Fault("2", site, None, bit, effect=effect)]) as injection:  # type: ignore[arg-type]
        output = model(X)
    assert injection.fired == [True]
    assert len(model.events) == 1
    assert model.events[0].corrected
    assert torch.allclose(output, clean, atol=1e-5)
    model.clear_events()
    assert tapped_guard(model).tap is None  # type: ignore[union-attr]
    assert torch.allclose(model(X), clean, atol=1e-5)
    assert model.events == []


@torch.no_grad()
def test_stored_checksums_get_their_bits_back() -> None:
    """Also where nobody mends them: the layer is only told to record what it finds."""
    model = protect(wide(), on_fault="record", fuse=False)
    clean = model(X)
    with inject(model, [Fault("2", "cw1", None, 61)]):
        model(X)
        model.clear_events()
        model(X)
        assert len(model.events) == 1  # still damaged
    model.clear_events()
    assert torch.allclose(model(X), clean, atol=1e-5)
    assert model.events == []


@torch.no_grad()
def test_checksums_of_the_ladder_need_a_fault_to_be_computed() -> None:
    model = protect(wide())
    model(X)
    fault = Fault("2", "co6", None, 61)
    with pytest.raises(UsageError, match="never struck"), inject(model, [fault]):
        model(X)
    beside = triggers([fault], model, X, torch.Generator().manual_seed(0))
    assert [(each.layer, each.site, each.bit) for each in beside] == [("2", "output", 30)]
    clean = model(X)
    with inject(model, [fault, *beside]) as injection:
        output = model(X)
    assert injection.fired == [True, True]
    assert torch.allclose(output, clean, atol=1e-5)


@torch.no_grad()
def test_a_tap_that_was_there_hears_everything_first() -> None:
    model, heard = protect(wide()), []

    def listen(layer: str, site: str, values: torch.Tensor) -> None:
        heard.append((layer, site, bool(values.isnan().any())))

    tapped_guard(model).tap = listen  # type: ignore[union-attr]
    with inject(model, [Fault("5", "co5", effect="nan")]):
        model(X)
    assert ("5", "co5", False) in heard
    assert {layer for layer, _, _ in heard} == {"0", "2", "5"}
    assert tapped_guard(model).tap is listen  # type: ignore[union-attr]


def test_a_campaign_over_every_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No silent corruption, whatever checksum is hit; and what was put right by which rung."""
    # Small layers are otherwise computed again, which costs less than most rungs.
    monkeypatch.setattr(ladder, "_DEARER", dict.fromkeys(ladder._DEARER, 0))
    stressors = [
        Faults(sites=("output", "accumulator"), bits=(30, 29)),
        Faults(sites=CHECKSUM_SITES, bits=(62, 61, 52)),
        Nothing(),
    ]
    records = run(tmp_path, lambda: protect(wide()), stressors, trials=99)
    for stressor in stressors[:2]:
        total = rates(records, **stressor.labels)  # type: ignore[union-attr]
        assert total["critical_sdc_rate"] == total["sdc_rate"] == total["crash_rate"] == 0
        assert total["corrected_rate"] > 0.5  # type: ignore[operator]
    rungs = {r.labels["rung"] for r in records if r.metric == "recovered_by_rate"}
    assert {"CoC", "FC", "checksums discarded", "recomputed"} <= rungs
    assert rates(records, stressor="none")["false_alarm_rate"] == 0
