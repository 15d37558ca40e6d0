"""The live paper: no cell of the slides' tables without a claim, and a tiny run of it from end to end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast.core.result import Record, read_records
from holdfast.hub import find, paper, store
from holdfast.programs.fault_sections import verdicts

COMPONENT = Path(holdfast.__file__).parent / "components" / "paper" / "ft-cnn" / "component.json"
CLAIMS = {claim["id"]: claim for claim in json.loads(COMPONENT.read_text())["claims"]}

CAN = {
    "coc-d.detected": ("element", "block", "row", "column", "across", "d", "w"),
    "coc.corrected": ("element", "block"),
    "coc.discarded": ("cd1",),
    "coc.detected": ("cd2", "cw1", "cw2", "co5", "co6", "co7"),
    "rc.detected": ("row", "column"),
    "rc.corrected": ("element", "row"),
    "clc.detected": ("row", "column"),
    "clc.corrected": ("element", "column"),
    "fc.detected": ("element", "block", "row", "column", "across", "d", "w"),
    "fc.corrected": ("element", "block", "row", "column", "d", "w", "row-co2", "column-co1"),
    "workflow.corrected": ("element", "block", "row", "column", "w"),
    "workflow.discarded": ("cd1",),
    "workflow-with-recompute.corrected": ("across", "d"),
}
CANNOT = {
    "coc-d.corrected": ("element", "block", "row", "column", "across"),
    "coc.corrected": ("row", "column", "across"),
    "rc.corrected": ("column",),
    "clc.corrected": ("row",),
    "rc.detected": ("w",),
    "clc.detected": ("d",),
}
OTHERS = (
    *(
        f"overhead.{m}.{b}.error-free"
        for m in ("alexnet", "vgg19", "resnet18", "yolov2")
        for b in (1, 16, 64)
    ),
    *(
        f"overhead.{m}.16.{e}"
        for m in ("alexnet", "vgg19", "resnet18", "yolov2")
        for e in ("block", "row", "column")
    ),
    *(f"order.{name}" for name in ("coc-d", "coc", "rc", "clc", "workflow")),
    *("rule.rc", "rule.rc-batch-1", "sdc.datapath", "sdc.memory", "rate.accuracy", "rate.ecc"),
    *(f"{scheme}.none.detected" for scheme in ("coc-d", "coc", "rc", "clc", "fc", "workflow")),
    *(f"fired.{rung}" for rung in ("coc", "rc", "clc", "fc", "fc-co1-damaged", "fc-co2-damaged")),
    *(f"fired.workflow.{rung}" for rung in ("coc", "rc", "clc", "fc")),
    *("coc-d.d.confined", "coc-d.w.confined"),
)
TINY = {
    "geometries": ["linear"],
    "values": ["finite"],
    "models": ["cnn"],
    "batches": [1],
    "baselines": ["fastest eager"],
    "errors": ["row"],
    "error_batches": [1],
    "schemes_everywhere": ["cnn"],
    "size": 16,
    "pairs": 2,
    "processes": 1,
    "egamma": False,
}


def ids(cells):
    return [f"{name.split('.')[0]}.{fault}.{name.split('.')[1]}" for name in cells for fault in cells[name]]


def test_every_cell_of_the_slides_has_a_claim():
    assert {CLAIMS[cell]["value"] for cell in ids(CAN)} == {1}
    assert {CLAIMS[cell]["value"] for cell in ids(CANNOT)} == {0}
    missing = [name for name in OTHERS if name not in CLAIMS]
    assert not missing


def test_every_claim_says_when_it_counts():
    for name, claim in CLAIMS.items():
        assert claim["workflow"] == "workflow:ft-cnn"
        # Either something was cut for good, or the record must come up to a scale.
        assert claim["status"] == "reduced" or claim["scale"], name


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny run of the paper by the command line, in an empty home: its JSON and its folder."""
    folder = tmp_path_factory.mktemp("paper")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    done = subprocess.run(
        [sys.executable, "-m", "holdfast.cli", "run", "paper:ft-cnn", "@tiny.json", "--out", "out", "--json"],
        cwd=folder,
        env={**os.environ, "HOLDFAST_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout), folder


def test_one_command_runs_the_paper(tiny):
    run, folder = tiny
    assert run["component"] == "workflow:ft-cnn"
    assert {step["id"] for step in run["steps"] if step["status"] == "ran"} == {
        "protection",
        "overhead",
        "report",
    }
    report, page = ((folder / "out" / name).read_text() for name in ("report.html", "paper.html"))
    for text in ("Which scheme corrects which fault", "Overhead, error-free", "Time of each scheme"):
        assert text in report
    for html in (report, page):
        assert "http://" not in html.replace("http://www.w3.org", "")
    assert 'href="report.html"' in page


def test_a_tiny_run_reproduces_nothing_at_source_scale(tiny):
    _, folder = tiny
    records = read_records(folder / "out" / "records.jsonl")
    rows = paper.rows(find("paper:ft-cnn"), [store.Stored("ft-cnn", "1", record) for record in records])
    by_id = {row.claim.id: row for row in rows}
    assert not any(row.reproduced for row in rows)
    assert by_id["sdc.memory"].status == "not run"
    assert by_id["overhead.vgg19.16.row"].status == "not run"
    # What the tables say holds at this scale too: a claim that differs would have to be looked at.
    table = [row for row in rows if row.claim.record.metric.endswith("_rate") and row.status == "reduced"]
    assert len(table) > 60
    differing = {row.claim.id for row in table if row.agrees is False}
    assert differing <= {"fc.row-co2.corrected", "fc.column-co1.corrected"}
    assert by_id["fc.row.corrected"].reduced_how == "layers times values: 1 of 16"


def test_claims_of_a_full_scale_would_count(tiny):
    _, folder = tiny
    records = [
        record.model_copy(update={"labels": {**record.labels, "layers_times_values": 16}})
        for record in read_records(folder / "out" / "records.jsonl")
        if "layers_times_values" in record.labels
    ]
    rows = paper.rows(find("paper:ft-cnn"), [store.Stored("ft-cnn", "1", record) for record in records])
    assert {row.claim.id for row in rows if row.reproduced} >= set(ids(CAN)) - {
        "fc.row-co2.corrected",
        "fc.column-co1.corrected",
    }


def test_crashes_are_told_before_any_rate_that_rests_on_them():
    def crashes(value):
        labels = {"model": "m", "protection": "protected", "stressor": "bit_flips", "site": "weight"}
        return Record(metric="crash_rate", value=value, unit="1", direction="lower", n=320, labels=labels)

    assert verdicts([crashes(0.0)]) == []
    (sentence,) = verdicts([crashes(1.0)])
    assert sentence.startswith("Crashes: m protected, flips in weights: 100 % of 320 trials")
