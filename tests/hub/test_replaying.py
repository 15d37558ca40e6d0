"""Replay: three answers by a stated margin, and what may explain them."""

from __future__ import annotations

import json

import pytest

from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.core.result import Interval, Record, read_records
from holdfast.hub import replay, run, store
from holdfast.hub.equivalence import Margin, compare, overall
from holdfast.hub.points import REPETITION
from holdfast.hub.run_record import locate

COUNTING = """
    from pathlib import Path
    from holdfast.core.result import Record, write_records

    def run(out: Path, *, counter):
        count = int(counter.read_text()) if counter.exists() else 0
        counter.write_text(str(count + 1))
        if count == 99:
            raise ValueError("broken")
        record = Record(metric="count", value=10.0 + count, unit="1", direction="none")
        write_records(out / "records.jsonl", [record])
"""


def record(value=1.0, **fields):
    base = {"metric": "m", "unit": "ms", "direction": "lower", "value": value}
    return Record(**base | fields)


def repeated(values, **fields):
    return [record(value, labels={REPETITION: i}, timed=True, **fields) for i, value in enumerate(values)]


def one(old, new, margin=None, **more):
    (row,) = compare(old, new, {} if margin is None else {"m": Margin.parse(margin)}, **more)
    return row


STEADY = [10.0, 10.1, 9.9, 10.0, 10.05, 9.95]


@pytest.mark.parametrize(
    ("new", "margin", "verdict"),
    [
        ([10.02, 10.1, 9.9, 10.0, 10.05, 9.9], None, "reproduced"),
        ([10.02, 10.1, 9.9, 10.0, 10.05, 9.9], "0.1%", "not comparable"),
        ([20.0, 20.1, 19.9, 20.0, 20.05, 20.0], None, "not reproduced"),
        ([20.0, 20.1, 19.9, 20.0, 20.05, 20.0], "150%", "reproduced"),
        ([5.0, 5.1, 4.9, 5.0, 5.05, 5.0], None, "not reproduced"),
        ([2.0, 30.0, 10.0, 11.0, 3.0, 25.0], None, "not comparable"),
        ([10.0, 10.0, 10.0], None, "not comparable"),
    ],
    ids=[
        "same",
        "margin too narrow to tell",
        "slower",
        "wide margin",
        "faster",
        "noisy",
        "three repetitions",
    ],
)
def test_timed_repetitions_are_tested_for_equivalence(new, margin, verdict):
    row = one(repeated(STEADY), repeated(new), margin)
    assert row.verdict == verdict
    assert (row.low is None) == (len(new) == 3)
    if row.low is not None:
        assert row.low <= row.difference <= row.high


def test_a_timed_value_with_an_interval_is_tested_and_one_without_is_not():
    first, second = Interval(low=9.9, high=10.1, method="m"), Interval(low=10.0, high=10.2, method="m")
    tested = one([record(10.0, timed=True, interval=first)], [record(10.1, timed=True, interval=second)])
    assert (tested.verdict, tested.margin) == ("reproduced", "±10 % (default)")
    # Half width at 95 % is 0.1; at 90 % it is 0.1 × 1.645 / 1.960, on both sides.
    assert tested.high - tested.difference == pytest.approx(2**0.5 * 0.1 * 1.644854 / 1.959964)
    assert one([record(10.0, timed=True)], [record(10.0, timed=True)]).verdict == "not comparable"


@pytest.mark.parametrize(
    ("old", "new", "margin", "verdict"),
    [
        (1.0, 1.0, None, "reproduced"),
        (1.0, 1.0 + 1e-15, None, "not reproduced"),
        (2.0, 2.1, "5%", "reproduced"),
        (2.0, 2.11, "5%", "not reproduced"),
        (0.0, 0.01, "0.01", "reproduced"),
    ],
)
def test_what_no_clock_made_is_equal_or_within_its_margin(old, new, margin, verdict):
    assert one([record(old)], [record(new)], margin).verdict == verdict


def test_absent_values_units_and_platforms():
    failed = record(None, status="failed")
    assert one([record()], [failed]).verdict == "not reproduced"
    assert one([record()], []).reason == "no value in the rerun (no record)"
    assert one([failed], [record()]).verdict == "not comparable"
    assert one([], [record()]).reason == "not in the recorded experiment"
    assert one([record()], [record(unit="s")]).reason == "units differ: ms and s"
    assert one(repeated(STEADY), repeated(STEADY), other_platform="A -> B").verdict == "not comparable"
    assert one([record()], [record()], other_platform="A -> B").verdict == "reproduced"
    assert one([record(simulated=True)], [record()]).simulated
    assert not one([record()], [record()]).simulated
    assert one([record(), record(2.0)], [record()]).reason == "2 values recorded, 1 in the rerun"


def test_the_answer_over_all():
    good, bad, open_ = one([record()], [record()]), one([record()], []), one([], [record()])
    assert overall([good, open_]) == "reproduced"
    assert overall([good, open_, bad]) == "not reproduced"
    assert overall([open_]) == overall([]) == "not comparable"


@pytest.mark.parametrize("margin", ["-1", "five", "nan", "", "1e999"])
def test_a_margin_is_a_number(margin):
    with pytest.raises(UsageError, match="margin"):
        Margin.parse(margin)


def test_a_replay_is_an_experiment_that_names_the_replayed_one(toys):
    toys.chain()
    first = run("workflow:chain", {"a": 2})
    answer = replay("chain")
    assert (answer.verdict, answer.experiment) == ("reproduced", first.id)
    assert {item.area for item in answer.differences} <= {"state"}
    assert all(item.identical for item in answer.outputs if item.output != "records")
    kept = json.loads((answer.folder / "run.json").read_text())
    assert kept["inputs"]["experiment"] == first.id
    assert kept["inputs"]["rerun"] == answer.rerun != first.id
    assert {
        step["status"] for step in json.loads((locate(answer.rerun) / "run.json").read_text())["steps"]
    } == {"ran"}
    (row,) = read_records(answer.folder / "records.jsonl")
    assert (row.metric, row.value, row.labels["of"]) == ("reproduced", 1.0, "sum")
    assert json.loads((answer.folder / "replay.json").read_text())["verdict"] == "reproduced"
    assert "Replay of chain" in (answer.folder / "replay.html").read_text()
    assert store.query(metric="reproduced") == [row]


def test_a_metric_that_changes_is_not_reproduced_unless_its_margin_allows_it(toys, tmp_path):
    inputs = {"counter": {"type": "string"}}
    code = COUNTING.replace("counter):", "counter):\n        counter = Path(counter)")
    toys.program("count", code, inputs=inputs)
    run("program:count", {"counter": str(tmp_path / "n")})
    answer = replay("program:count")
    assert (answer.verdict, answer.rows[0].difference) == ("not reproduced", 1.0)
    metrics = {"count": {"unit": "1", "direction": "none", "margin": "20 %"}}
    toys.program("count", code, inputs=inputs, metrics=metrics)
    answer = replay(answer.experiment)
    assert (answer.verdict, answer.rows[0].margin) == ("reproduced", "±20 % (declared)")
    assert {item.area for item in answer.differences} - {"state"} == {"component", "step"}
    assert replay(answer.experiment, margins={"count": 0.5}).verdict == "not reproduced"
    (tmp_path / "n").write_text("99")
    failed = replay(answer.experiment)
    assert (failed.verdict, failed.rerun) == ("not reproduced", None)
    assert "broken" in failed.error
    with pytest.raises(UsageError, match="one of count"):
        replay(answer.experiment, margins={"cuont": 1})


def test_experiments_that_cannot_be_replayed(toys):
    toys.add()
    with pytest.raises(UnknownNameError, match="experiment"):
        replay("nothing")
    done = run("program:add", {"a": 1})
    file = done.folder / "run.json"
    file.write_text(file.read_text().replace('"status": "ok"', '"status": "failed"'))
    with pytest.raises(UsageError, match="a run that ended well"):
        replay(done.id)


def test_what_differs_is_told(toys):
    from holdfast.hub.replaying import differences

    toys.add()
    run("program:add", {"a": 1})
    old = json.loads((locate("add") / "run.json").read_text())
    new = json.loads(json.dumps(old))
    new["software"]["numpy"] = "0.1"
    new["steps"][0]["facets"]["software"]["numpy"] = "0.1"
    new["platform"]["processor"] = "Z80"
    new["inputs"]["a"] = 7
    new["machine"]["after"]["load_1m"] = 1e3
    texts = [f"{item.area}: {item.text}" for item in differences(old, new)]
    assert texts[0] == "component: input a 1 -> 7"
    assert len([text for text in texts if "numpy" in text]) == 1
    assert any(text.startswith("platform: processor") and text.endswith("-> Z80") for text in texts)
    assert texts[-1].startswith("state: rerun: load 1000 on")
    assert differences(old, old) == [item for item in differences(old, old) if item.area == "state"]


def test_a_name_that_two_components_share_is_ambiguous(toys):
    toys.add()
    toys.component(
        "workflow",
        "add",
        steps=[{"id": "one", "uses": "program:add", "with": {"a": 1}}],
    )
    first, second = run("program:add", {"a": 1}), run("workflow:add")
    with pytest.raises(UsageError, match="program:add, workflow:add"):
        locate("add")
    assert locate("program:add") == first.folder
    assert locate("workflow:add") == locate(second.id) == locate(second.folder) == second.folder
