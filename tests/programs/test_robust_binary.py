"""The tables of the paper, rerun: what is trained for which cell, what is kept, and what follows from it."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from holdfast.core.errors import DataError, UsageError
from holdfast.core.result import Record, read_records
from holdfast.core.stats import wilson
from holdfast.hub import find, paper, store
from holdfast.programs import robust_binary, robust_binary_sections, robust_binary_tables
from holdfast.programs import robust_binary_train as train
from holdfast.programs.robust_binary_cells import SCALES, cells
from holdfast.programs.robust_binary_derived import chosen, derived

DIGITS = replace(SCALES["digits"], seeds=(0, 1))
TINY = {
    "tables": ["p-r", "masks", "counts", "cost"],
    "seeds": [0],
    "prune_rates": [0.99],
    "powers": [0.1, 1.0],
    "epochs": 1,
    "limit": 200,
    "test_limit": 40,
    "workers": 1,
}


def accuracies(training, clean, robust, n=100):
    """What a training of ``training`` leaves, with so many of ``n`` images right."""
    labels = {**train.described(training), "training_images": 10, "test_images": n, "kept": 7}
    return [
        Record(
            metric=metric,
            value=right / n,
            unit="1",
            direction="higher",
            n=n,
            interval=wilson(right, n),
            seed=training.seed,
            labels=labels,
        )
        for metric, right in (("clean_accuracy", clean), ("robust_accuracy", robust))
    ]


@pytest.fixture
def instant(monkeypatch):
    """Trainings that take no time: robust accuracy goes with p, the seed, and 1 - r; a list of what ran."""
    ran = []

    def fake(training, folder):
        ran.append(training)
        p = training.p if isinstance(training.p, float) else 0.0
        found = accuracies(training, 90, round(50 + 10 * p * (1 - training.prune_rate) + training.seed))
        (folder / train.RECORDS).write_text(json.dumps([record.to_json() for record in found]))
        return found

    monkeypatch.setattr(train, "train_and_judge", fake)
    return ran


def test_the_paper_scale_has_every_cell_of_the_slides():
    claims = find("paper:robust-binary").meta.claims
    wanted = {
        json.dumps(claim.record.labels, sort_keys=True)
        for claim in claims
        if claim.record.metric.endswith("_accuracy_mean")
    }
    tables = ("p-r", "lbn-a", "lbn-init", "comparison")
    made = {
        json.dumps({"table": cell.table, **cell.where}, sort_keys=True)
        for cell in cells(SCALES["paper"], tables)
    }
    assert made == wanted


def test_a_training_serves_all_cells_that_agree_on_it(tmp_path, instant):
    records = robust_binary.measure(tmp_path, DIGITS, ["p-r", "lbn-a", "masks"])
    assert len(set(instant)) == len(instant) == 2 * (20 + 8 - 1)
    (mean,) = chosen(records, table="p-r", prune_rate=0.5, p=1.0)
    assert mean.value == pytest.approx(55.5)
    assert (mean.interval.low, mean.interval.high) == pytest.approx((55, 56))
    assert mean.labels["seeds"] == 2
    (same,) = chosen(records, table="lbn-a", last_norm=True, score_scale=0.01)
    assert same.value == chosen(records, table="p-r", prune_rate=0.99, p=0.1)[0].value
    assert read_records(tmp_path / "records.jsonl") == records


def test_with_one_seed_the_interval_is_that_of_the_images(tmp_path, instant):
    records = robust_binary.measure(tmp_path, replace(DIGITS, seeds=(0,)), ["masks"])
    (mean,) = chosen(records, table="masks")
    (single,) = (r for r in records if r.metric == "robust_accuracy")
    assert mean.interval.low == pytest.approx(100 * single.interval.low)
    assert mean.interval.method == "wilson"


def test_a_killed_run_goes_on_with_what_is_missing(tmp_path, instant, monkeypatch):
    first = cells(DIGITS, ["lbn-a"])[2].training
    whole = train.train_and_judge

    def killed(training, folder):
        if training == first:
            raise KeyboardInterrupt
        return whole(training, folder)

    monkeypatch.setattr(train, "train_and_judge", killed)
    with pytest.raises(KeyboardInterrupt):
        robust_binary.measure(tmp_path, DIGITS, ["lbn-a"])
    assert len(instant) == 2
    assert len(chosen(read_records(tmp_path / "records.jsonl"), table="lbn-a")) == 2
    monkeypatch.setattr(train, "train_and_judge", whole)
    robust_binary.measure(tmp_path, DIGITS, ["lbn-a"])
    assert len(set(instant)) == len(instant) == 16


def test_any_executor_will_do(tmp_path, instant):
    alone = robust_binary.measure(tmp_path / "alone", DIGITS, ["lbn-a"])
    with ThreadPoolExecutor(3) as pool:
        shared = robust_binary.measure(tmp_path / "shared", DIGITS, ["lbn-a"], pool)
    assert sorted(json.dumps(r.stable()) for r in shared) == sorted(json.dumps(r.stable()) for r in alone)


def test_a_training_that_fails_leaves_its_reason_and_the_others_go_on(tmp_path, instant, monkeypatch):
    whole = train.train_and_judge

    def failing(training, folder):
        if training.score_scale == 1.0:
            raise DataError("images", expected="some", got="none")
        return whole(training, folder)

    monkeypatch.setattr(train, "train_and_judge", failing)
    records = robust_binary.measure(tmp_path, DIGITS, ["lbn-a"])
    failed = [r for r in records if r.status == "failed"]
    assert len(failed) == 8
    assert "expected some" in failed[0].message
    assert len(chosen(records, table="lbn-a")) == 6
    assert len(instant) == 12


def test_unknown_tables_are_refused(tmp_path):
    for tables in (["p-r", "p-q"], []):
        with pytest.raises(UsageError, match="tables"):
            robust_binary.measure(tmp_path, DIGITS, tables)


def made(table, value, metric="robust_accuracy_mean", **labels):
    return Record(metric=metric, value=value, unit="%", direction="higher", labels={"table": table, **labels})


def values(records):
    """The derived records of ``records`` by metric, one each."""
    return {record.metric: record.value for record in derived(records)}


def test_the_best_p_of_each_rate_and_whether_it_falls():
    grid = {(0.5, 0.1): 10, (0.5, 1.0): 30, (0.9, 0.1): 20, (0.9, 1.0): 25, (0.99, 0.1): 40, (0.99, 1.0): 5}
    records = [made("p-r", value, prune_rate=r, p=p) for (r, p), value in grid.items()]
    best = {r.labels["prune_rate"]: r.value for r in derived(records) if r.metric == "best_p"}
    assert best == {0.5: 1.0, 0.9: 1.0, 0.99: 0.1}
    found = values(records)
    assert (found["best_p_rises"], found["best_p_drop"]) == (0, pytest.approx(0.9))
    turned = [made("p-r", value, prune_rate=1 - r, p=p) for (r, p), value in grid.items()]
    assert (values(turned)["best_p_rises"], values(turned)["best_p_drop"]) == (1, pytest.approx(-0.9))


def test_what_lbn_is_worth():
    records = [made("lbn-init", 45, init="binary", p=0.1, last_norm=True)]
    assert values(records) == {}
    records += [made("lbn-init", 41, init="binary", p=0.1, last_norm=False)]
    assert values(records) == {"last_norm_gain": 4}
    scales = [made("lbn-a", v, last_norm=last, score_scale=v) for last, v in ((True, 44), (True, 45))]
    scales += [made("lbn-a", v, last_norm=False, score_scale=v) for v in (31, 41)]
    assert values(scales) == {"score_scale_spread_ratio": pytest.approx(0.1)}


def test_the_lead_over_the_other_binary_networks():
    rows = [
        ("at", "none", 40.34, "binary"),
        ("at", "none", 43.26, "float"),
        ("ours", "p = 0.1", 45.06, "binary"),
    ]
    rows += [("hydra", "p = 0.1", 29.28, "binary"), ("ours fast", "p = 0.1", 60.0, "binary")]
    records = [
        made("comparison", value, classes=10, method=method, strategy=strategy, weights=weights)
        for method, strategy, value, weights in rows
    ]
    assert values(records)["lead_over_binary"] == pytest.approx(4.72)


def test_where_capacity_ends():
    # Vanilla: 50 % of its best at once, then flat; adversarial: nothing at first, still rising at the end.
    vanilla, adversarial = (45, 90, 90, 90), (0, 20, 40, 80)
    records = [
        made("capacity", value, f"{kind}_accuracy_mean", training=training, width=float(width))
        for training, kind, row in (("vanilla", "clean", vanilla), ("adversarial", "robust", adversarial))
        for width, value in enumerate(row)
    ]
    assert values(records) == {
        "vanilla_lead_small": pytest.approx(50),
        "adversarial_gain_big": pytest.approx(50),
    }


def test_tables_mark_the_best_and_leave_out_what_was_not_measured(tmp_path, instant):
    records = robust_binary.measure(tmp_path, replace(DIGITS, seeds=(0,)), ["p-r", "comparison"])
    titles = {table["title"]: table for table in robust_binary_tables.tables(records)}
    assert [*titles] == ["Robust accuracy over pruning rate r and p", "Comparison, 10 classes"]
    rows = titles["Robust accuracy over pruning rate r and p"]["rows"]
    assert [title for title, _ in rows] == ["0", "0.1", "0.5", "0.9", "1"]
    assert [cells[0][1] for _, cells in rows] == [False, False, False, False, True]
    assert rows[4][1][0][0].startswith("55.0 [")
    assert len(titles["Comparison, 10 classes"]["rows"]) == 16
    assert "20 steps" in robust_binary_sections.scale(records)


def test_figures_are_drawn_of_what_can_be_compared(tmp_path, instant):
    def titles(*tables):
        records = robust_binary.measure(tmp_path, replace(DIGITS, seeds=(0,)), tables)
        return [figure["title"] for figure in robust_binary_sections.figures(records)]

    # One cell of the table over a is also that of the masks: a bar without LBN to stand beside is none.
    assert titles("masks") == []
    assert titles("lbn-a", "capacity") == [
        "LBN, over the scale of the scores",
        "Capacity: vanilla against adversarial training",
    ]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny run of the paper by the command line, in an empty home: its JSON and its folder."""
    folder = tmp_path_factory.mktemp("robust-binary")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    command = [sys.executable, "-m", "holdfast.cli", "run", "paper:robust-binary", "@tiny.json"]
    done = subprocess.run(
        [*command, "--out", "out", "--json"],
        cwd=folder,
        env={**os.environ, "HOLDFAST_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout), folder / "out"


def test_one_command_runs_the_paper(tiny):
    run, out = tiny
    assert run["component"] == "workflow:robust-binary"
    report, page = ((out / name).read_text() for name in ("report.html", "paper.html"))
    for text in ("Robust accuracy over pruning rate r and p", "Masks and paths", "Masks of blocks."):
        assert text in report
    for html in (report, page):
        assert "http://" not in html.replace("http://www.w3.org", "")
    assert 'href="report.html"' in page


def test_a_tiny_run_reproduces_only_what_needs_no_training(tiny):
    _, out = tiny
    stored = [store.Stored("robust-binary", "1", r) for r in read_records(out / "records.jsonl")]
    rows = {row.claim.id: row for row in paper.rows(find("paper:robust-binary"), stored)}
    assert {name for name, row in rows.items() if row.reproduced} == {"counts.masks", "counts.paths"}
    cell = rows["p-r.r0.99.p0.1"]
    assert cell.status == "reduced"
    for cut in ("data: digits", "model: convnet", "judge: pgd", "epochs: 1 of 400", "images: 200 of 50000"):
        assert cut in cell.reduced_how
    assert rows["p-r.r0.5.p0.1"].status == rows["lbn-a.lbn.a0.1"].status == "not run"
    assert rows["cost.forward"].status == "reduced"


def test_what_a_tiny_run_says_of_its_trainings(tiny):
    _, out = tiny
    records = read_records(out / "records.jsonl")
    singles = [r for r in records if r.metric.endswith("_accuracy")]
    assert len(singles) == 2 * 3
    attacked, replayed = (
        {r.labels["p"]: r.value for r in singles if r.metric == metric}
        for metric in ("robust_accuracy", "replayed_robust_accuracy")
    )
    assert attacked == replayed
    for record in singles:
        assert record.labels["training_images"] == 200
        assert (record.n, record.labels["kept"]) == (40, 982)
        assert record.interval.method == "wilson"
    assert (out / "networks" / "network.packed").exists()
