"""The protection table: every block and position once, cells as the slides say, every branch of FC."""

from collections import Counter

import pytest
import torch

from holdfast.core.errors import UsageError
from holdfast.core.result import read_records
from holdfast.programs import protection, protection_faults, protection_schemes
from holdfast.programs.protection_faults import FAULTS, VALUES
from holdfast.programs.protection_stand import GEOMETRIES, Stand


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The whole table of one small layer."""
    out = tmp_path_factory.mktemp("protection")
    protection.run(out, geometries=["conv, 2 groups"], values=["finite", "NaN"], seed=0)
    return read_records(out / "records.jsonl")


@pytest.fixture(scope="module")
def rate(records):
    def find(metric, scheme, fault, value="any"):
        (record,) = [
            r
            for r in records
            if r.metric == f"{metric}_rate"
            and (r.labels["scheme"], r.labels["fault"], r.labels["value"]) == (scheme, fault, value)
        ]
        return record.value

    return find


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_checksums_of_the_stand_are_right(geometry):
    stand = Stand(geometry, 3)
    for scheme in protection_schemes.SCHEMES:
        trials = FAULTS["none"](stand, "finite", torch.Generator())
        assert (
            protection_schemes.judge(scheme, stand, trials)
            == Counter(trials=stand.blocks.shape[2]) + Counter()
        )


@pytest.mark.parametrize("value", VALUES)
def test_every_block_and_position_is_struck_once(value):
    stand = Stand("conv, stride 2", 0)
    generator = torch.Generator().manual_seed(1)
    trials = protection_faults.element(stand, value, generator)
    changed = ~(trials.blocks == trials.clean)
    assert (changed.flatten(0, 1).sum(0) == 1).all()
    n, m, v = changed.nonzero(as_tuple=True)
    struck = torch.stack([n, m, trials.at[v]], 1)
    assert len(struck.unique(dim=0)) == len(struck) == stand.blocks.numel()


@pytest.mark.parametrize(
    ("scheme", "corrects", "leaves"),
    [
        ("CoC-D", [], ["element", "block", "row", "column", "across"]),
        ("CoC", ["element", "block"], ["row", "column", "across"]),
        ("RC", ["element", "block", "row", "D"], ["column", "across", "W"]),
        ("ClC", ["element", "block", "column", "W"], ["row", "across", "D"]),
        ("FC", ["element", "block", "row", "column", "W"], ["across"]),
        ("workflow", ["element", "block", "row", "column", "W"], ["across"]),
    ],
)
def test_what_a_scheme_corrects_and_what_it_leaves(rate, scheme, corrects, leaves):
    assert {fault: rate("corrected", scheme, fault) for fault in corrects} == dict.fromkeys(corrects, 1.0)
    assert {fault: rate("corrected", scheme, fault) for fault in leaves} == dict.fromkeys(leaves, 0.0)


def test_full_corrects_with_either_checksum_made_from_damaged_numbers(rate):
    assert rate("corrected", "FC", "D", "finite") == rate("corrected", "FC", "W", "finite") == 1


def test_nothing_is_lost_on_the_way_through_the_workflow(rate):
    for fault in ("element", "block", "row", "column", "across", "D", "W", "row, Co2", "column, Co1"):
        assert rate("detected", "workflow", fault) == 1
        assert rate("misjudged", "workflow", fault) == 0
    for fault in protection_faults.CHECKSUM_FAULTS:
        assert rate("misjudged", "workflow", fault) == 0


def test_what_the_workflow_leaves_is_computed_again(rate):
    for fault in ("across", "D", "row, Co2", "column, Co1"):
        assert rate("corrected", "workflow with recompute", fault) == 1


def test_a_fault_in_an_operand_stays_in_one_row_or_column(rate):
    assert rate("confined", "CoC-D", "D") == rate("confined", "CoC-D", "W") == 1


def test_without_a_fault_nobody_speaks(rate):
    for scheme in (*protection_schemes.SCHEMES, "workflow"):
        assert rate("detected", scheme, "none") == 0


def test_every_rung_and_both_branches_of_full_fired(records):
    fired = {(r.labels["rung"], r.labels["where"]): r.value for r in records if r.metric == "fired"}
    for rung in ("CoC", "RC", "ClC", "FC", "FC, Co1 damaged", "FC, Co2 damaged"):
        assert fired[rung, "alone"] > 0
    for rung in ("CoC", "RC", "ClC", "FC", "checksums discarded"):
        assert fired[rung, "workflow"] > 0


def test_a_scheme_that_does_nothing_is_seen(monkeypatch):
    stand = Stand("linear", 0)
    trials = protection_faults.row(stand, "finite", torch.Generator().manual_seed(0))
    monkeypatch.setitem(protection_schemes.SCHEMES, "RC", protection_schemes.SCHEMES["CoC-D"])
    tally = protection_schemes.judge("RC", stand, trials)
    assert (tally["detected"], tally["corrected"]) == (tally["trials"], 0)


@pytest.mark.parametrize(("geometries", "values"), [(["cube"], ["NaN"]), (["conv"], []), (["conv"], ["-1"])])
def test_unknown_names_are_refused(tmp_path, geometries, values):
    with pytest.raises(UsageError, match="some of"):
        protection.run(tmp_path, geometries=geometries, values=values, seed=0)
