"""The report's tables and figures of overhead: every cell is a measurement or says why there is none."""

import importlib.util
from pathlib import Path

import pytest

from holdfast.core.result import Interval, Record, read_records, write_records
from holdfast.programs import fault_sections
from holdfast.programs import overhead_sections as sections
from holdfast.programs.report import write_report

DOCS = Path(__file__).parents[2] / "docs"
ABSENT = "would take about 180 s; limit_s is 110"


def record(value, message=None, status="ok", n=9, **labels):
    interval = None if value is None else Interval(low=value - 1, high=value + 1, method="bootstrap")
    return Record(
        metric="overhead",
        value=value,
        unit="%",
        direction="lower",
        n=n,
        interval=interval,
        timed=True,
        message=message,
        status=status,
        labels={"processes": 1, "threads": 2, "allocator": "glibc, memory kept", **labels},
    )


@pytest.fixture
def records():
    quiet = {"error": "none", "baseline": "fastest eager"}
    return [
        record(12.0, model="resnet50", batch=16, **quiet),
        record(3.0, model="vgg19", batch=1, n=30, **quiet),
        record(None, ABSENT, n=0, model="vgg19", batch=64, **quiet),
        record(None, "out of memory", "crashed", n=0, model="alexnet", batch=64, **quiet),
        record(5.0, model="vgg19", batch=1, error="row", baseline="error-free"),
        record(7.0, model="vgg19", batch=1, error="row", baseline="fastest eager"),
    ]


def test_a_cell_without_a_value_is_told_with_its_reason(records):
    quiet, struck = sections.tables(records)
    cells = {row["title"]: row["cells"] for row in quiet["rows"]}
    assert list(cells) == ["AlexNet, batch 64", "VGG-19, batch 1", "VGG-19, batch 64", "ResNet-50, batch 16"]
    assert cells["VGG-19, batch 1"] == [("3 %", "[2, 4]", "")]
    assert cells["VGG-19, batch 64"] == [("not run", "", ABSENT)]
    assert cells["AlexNet, batch 64"] == [("crashed", "", "out of memory")]
    assert [row["pairs"] for row in quiet["rows"]] == ["0", "30", "0", "9"]
    assert (ABSENT, "VGG-19, batch 64, over fastest eager") in quiet["reasons"]
    assert struck["columns"] == ["a row, over error-free", "a row, over fastest eager"]
    assert struck["rows"][0]["cells"] == [("5 %", "[4, 6]", ""), ("7 %", "[6, 8]", "")]


def test_the_sentence_counts_what_was_measured_only(records):
    (sentence,) = sections.verdicts(records)
    assert "from 3 % [2, 4] (VGG-19 at batch 1) to 12 % [11, 13] (ResNet-50 at batch 16)" in sentence
    assert sentence.endswith("at most the paper's 8 % in 1 of 2 cases, 2 more were not run.")
    assert sections.verdicts([each for each in records if each.value is None]) == []


def test_figures_show_no_bar_where_nothing_was_measured(records):
    quiet, struck = sections.figures(records)
    assert "AlexNet" not in quiet["svg"]
    assert "VGG-19" in quiet["svg"]
    assert "pairs: 9 to 30" in quiet["caption"]
    assert "What was not run has no bar" in quiet["caption"]
    assert "batch 16" not in struck["svg"]  # no error was timed there
    assert sections.figures([each for each in records if each.value is None]) == []


def test_the_page_names_every_cell(records, tmp_path):
    write_records(tmp_path / "records.jsonl", records)
    write_report(tmp_path / "report.html", records, title="t")
    page = (tmp_path / "report.html").read_text()
    assert page.count("not run</td>") == 1
    assert ABSENT in page
    assert "Why some cells were not run" in page


def rate(metric, value, n=24, **labels):
    labels = {"model": "m", "stressor": "memory_faults", "memory": "weights", **labels}
    return Record(metric=metric, value=value, unit="1", direction="none", n=n, labels=labels)


MEMORY = [
    rate("detected_rate", 0.5, protection="plain", ecc="secded", ber=1e-5),
    rate("accuracy", 0.8, n=96, protection="plain", ecc="secded", ber=1e-5),
    rate("detected_rate", 1.0, protection="plain", ecc="secded", ber=1e-4),
    rate("detected_rate", 0.0, protection="protected", ecc="none", ber=1e-5),
    rate("accuracy", 0.9, n=192, protection="protected", ecc="none", ber=1e-5),
]


def test_a_refused_batch_answers_nothing_rightly():
    rows = {(row["series"], row["rate"]): row["value"] for row in fault_sections._rate_rows(MEMORY)}
    assert rows == {("plain, SECDED ECC", 1e-5): 0.4, ("plain, SECDED ECC", 1e-4): 0, ("Holdfast", 1e-5): 0.9}


def test_the_page_of_the_paper_takes_its_tables_from_a_kept_run(records, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("ft_cnn_results", DOCS / "ft_cnn_results.py")
    results = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(results)
    monkeypatch.setattr(results, "RECORDS", tmp_path / "kept.jsonl")
    assert "No run is kept yet" in results.section()

    by_bit = rate("sdc_rate", 0.1, protection="plain", ecc="none", ber=1e-5, bit=3)
    write_records(tmp_path / "run.jsonl", [*records, *MEMORY, by_bit])
    results.keep(tmp_path / "run.jsonl")
    assert len(read_records(tmp_path / "kept.jsonl")) == len(records) + len(MEMORY)
    page = results.section()
    for line in (
        "| VGG-19, batch 64 | 0 | not run |",
        "| VGG-19, batch 1 | 30 | 3 % [2, 4] |",
        f"- {ABSENT}: VGG-19, batch 64, over fastest eager",
        "| m | 1e-05 | Holdfast | 90 % of 192 | 0 % of 24 |",
        "| m | 1e-04 | plain, SECDED ECC | none answered | 100 % of 24 |",
    ):
        assert line in page
