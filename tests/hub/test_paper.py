"""Claims beside records: nothing shows as reproduced that is not."""

from __future__ import annotations

import pytest

from holdfast.core.errors import UsageError
from holdfast.core.result import Interval, Record
from holdfast.hub import find, paper, run, store

REPRODUCED = "reproduced at source scale"


def claim(name, status=REPRODUCED, **more):
    base = {
        "id": name,
        "text": f"Claim {name}",
        "source": "Table 1",
        "value": 3.5,
        "unit": "1",
        "status": status,
    }
    if status == "reduced":
        base["reduced_how"] = "a tenth of the <events>"
    return base | {"record": {"metric": "sum", "labels": {"a": 2}}} | more


def stored(run_id, value, labels=None, **more):
    record = Record(
        metric="sum", value=value, unit="1", direction="higher", labels=labels or {"a": 2}, **more
    )
    return store.Stored("e", run_id, record)


@pytest.fixture
def rows(toys):
    def make(claims, records=()):
        toys.component("paper", "p", claims=claims)
        return paper.rows(find("paper:p"), list(records))

    return make


def test_a_claim_without_record_is_not_run_whatever_it_says(rows):
    (row,) = rows([claim("c")])
    assert (row.status, row.measured, row.difference, row.reproduced) == ("not run", None, None, False)


@pytest.mark.parametrize(
    ("status", "reproduced"), [(REPRODUCED, True), ("reduced", False), ("not run", False)]
)
def test_only_one_status_is_reproduced(rows, status, reproduced):
    (row,) = rows([claim("c", status)], [stored("1", 3.0)])
    assert row.status == status
    assert row.reproduced == reproduced


def test_the_newest_run_counts_and_failures_never_do(rows):
    records = [
        stored("1", 2.0),
        stored("2", 3.0, interval=Interval(low=2.9, high=3.1, method="m")),
        stored("3", None, status="failed"),
        stored("4", 9.0, labels={"a": 7}),
    ]
    (row,) = rows([claim("c")], records)
    assert (row.measured, row.difference, row.run) == (3.0, -0.5, "2")
    assert row.interval.high == 3.1


def test_ambiguity_and_units_are_errors(rows):
    with pytest.raises(UsageError, match="expected one record, got 2 in run 1"):
        rows([claim("c")], [stored("1", 3.0, {"a": 2, "b": 1}), stored("1", 4.0, {"a": 2, "b": 2})])
    with pytest.raises(UsageError, match="expected unit '%', got unit '1'"):
        rows([claim("c", unit="%")], [stored("1", 3.0)])


def test_a_claim_of_a_workflow_takes_records_of_that_workflow_only(rows):
    (row,) = rows([claim("c", workflow="workflow:chain")], [stored("1", 3.0)])
    assert row.status == "not run"


def test_a_paper_over_real_runs_becomes_a_page(toys, tmp_path):
    toys.chain()
    run("workflow:chain", {"a": 2})
    claims = [
        claim("good", workflow="workflow:chain"),
        claim("less", "reduced"),
        claim("none", "not run", record=None),
    ]
    toys.component("paper", "p", claims=claims, description="Tests <b>escaping</b>")
    rows = paper.write(find("paper:p"), tmp_path / "p.html")
    assert [row.measured for row in rows] == [4.0, 4.0, None]
    html = (tmp_path / "p.html").read_text()
    assert html.count(f">{REPRODUCED}<") == 1
    assert "reduced: a tenth of the &lt;events&gt;" in html
    assert "&lt;b&gt;escaping" in html
    assert "Of 3 claims, 1 are reproduced" in " ".join(html.split())


@pytest.mark.parametrize(
    ("labels", "status", "how"),
    [
        ({"a": 2, "pairs": 30, "split": "test"}, REPRODUCED, None),
        ({"a": 2, "pairs": 90, "split": "test"}, REPRODUCED, None),
        ({"a": 2, "pairs": 4, "split": "test"}, "reduced", "pairs: 4 of 30"),
        ({"a": 2, "split": "val"}, "reduced", "pairs: None of 30; split: val"),
    ],
)
def test_a_record_short_of_the_claims_scale_is_reduced(rows, labels, status, how):
    (row,) = rows([claim("c", scale={"pairs": 30, "split": "test"})], [stored("1", 3.0, labels)])
    assert (row.status, row.reduced_how) == (status, how)


@pytest.mark.parametrize(
    ("agreement", "value", "agrees"),
    [
        ("at most", 3.5, True),
        ("at most", 3.6, False),
        ("at least", 3.6, True),
        ("equal", 3.5, True),
        ("equal", 3.4, False),
        (None, 9.0, None),
    ],
)
def test_a_value_that_differs_never_shows_as_reproduced(rows, agreement, value, agrees):
    (row,) = rows([claim("c", agreement=agreement)], [stored("1", value)])
    assert row.agrees is agrees
    assert row.status == REPRODUCED
    assert row.reproduced is (agrees is not False)


def test_running_a_paper_runs_its_workflow_and_renders_its_claims(toys, tmp_path):
    toys.chain()
    claims = [claim("good", agreement="equal", value=4.0), claim("wrong", agreement="at most", value=1.0)]
    toys.component("paper", "p", claims=claims, workflow="workflow:chain")
    done = run("paper:p", {"a": 2}, out=tmp_path / "out")
    assert done.component == "workflow:chain"
    html = (tmp_path / "out" / "paper.html").read_text()
    assert "Of 2 claims, 1 are reproduced" in " ".join(html.split())
    assert "differs" in html
    # Without a folder of the user's the page lies in the experiment, and the index is none the worse.
    again = run("paper:p", {"a": 2})
    assert (again.folder / "paper.html").exists()
    assert len(store.entries(metric="sum")) == 2


def test_a_paper_without_workflow_says_how_to_see_it(toys):
    toys.component("paper", "p", claims=[claim("c")])
    with pytest.raises(UsageError, match="holdfast report paper:p"):
        run("paper:p")
