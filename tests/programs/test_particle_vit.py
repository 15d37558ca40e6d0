"""The rerun of the particle proposal: claims from made-up records, the page, and (slow) all of it small."""

from __future__ import annotations

import json

import pytest

from holdfast import hub
from holdfast.core.result import Interval, Record, read_records, write_records
from holdfast.hub import paper, repository, store
from holdfast.programs import particle_vit
from holdfast.programs.particle_vit_claims import TASKS, claimed

OFFICIAL = {"egamma": "egamma", "jets": "quark-gluon"}
SIZES = {"proposal-cnn": 30482, "vit": 143554, "proposal-cnn-jets": 99986}


def record(metric, value, model, *, n=None, span=0.01, **labels):
    interval = Interval(low=value - span, high=value + span, level=0.95, method="delong")
    labels = {"model": model, "protection": "plain", **labels}
    return Record(
        metric=metric,
        value=value,
        unit="1",
        direction="higher",
        n=n,
        interval=None if metric == "parameters" else interval,
        labels=labels,
        simulated=True,
    )


def measured(images=498_000):
    """Records of bench on both kinds of images, and of curves under the proposal's noise."""
    rooms = ([], [])
    for task in TASKS:
        room = rooms[task.table == "2"]
        for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
            value = task.published[split] - 0.02
            room.append(record("auc", value, task.model, n=round(images * share), split=split))
        room.append(record("parameters", SIZES[task.model], task.model))
    noise = {"stressor": "gaussian_noise", "sigma_input": 0.1, "split": "test"}
    egamma, jets = rooms
    egamma += [record("auc", 0.55, "vit", **noise), record("auc", 0.51, "proposal-cnn", **noise)]
    egamma.append(record("auc_difference", -0.04, "proposal-cnn", against="vit", **noise))
    return egamma, jets


def rows(records):
    """The paper's rows beside ``records``, by claim."""
    component = repository.find("paper:particle-vit")
    ref = {"workflow:particle-vit": {"version": "0.1.0", "hash": "0" * 64}}
    stamped = [Record.model_validate({**r.to_json(), "components": ref}) for r in records]
    stored = [store.Stored("particle-vit", "run", each) for each in stamped]
    return {row.claim.id: row for row in paper.rows(component, stored)}


def test_every_claim_finds_its_record():
    found = rows(claimed(*measured(), OFFICIAL))
    assert [name for name, row in found.items() if row.measured is None] == []
    assert {f"table-{t}.{s}" for t in "123" for s in ("training", "validation", "test")} <= found.keys()
    assert found["table-1.test"].status == "reproduced at source scale"
    assert found["table-1.test"].difference == pytest.approx(-0.02)
    assert found["task-1.objective"].agrees is False
    assert found["task-1.parameters"].reproduced
    assert found["task-2.parameters"].reproduced
    assert found["figure-16.cnn"].status == "reproduced at source scale"
    # The difference is told from the transformer's side, whichever came first.
    ahead = found["figure-16.vit-ahead"]
    assert (ahead.measured, ahead.agrees) == (0.04, True)
    assert (ahead.interval.low, ahead.interval.high) == pytest.approx((0.03, 0.05))


@pytest.mark.parametrize(
    ("images", "names", "words"),
    [
        (498_000, {**OFFICIAL, "egamma": "egamma-simulated"}, "data: egamma-simulated"),
        (100, OFFICIAL, "images: 100 of 498000"),
    ],
    ids=["simulated", "few"],
)
def test_what_falls_short_is_reduced(images, names, words):
    row = rows(claimed(*measured(images), names))["table-1.test"]
    assert (row.status, row.reproduced) == ("reduced", False)
    assert words in row.reduced_how


def test_a_smaller_transformer_is_not_the_proposals():
    row = rows(claimed(*measured(), OFFICIAL))["table-3.test"]
    assert row.status == "reduced"
    assert "parameters: 143554 of 1460000" in row.reduced_how


def test_the_page(tmp_path):
    egamma, jets = measured()
    write_records(tmp_path / "a.jsonl", egamma)
    write_records(tmp_path / "b.jsonl", jets)
    sizes = [
        record("auc", value, model, images=images, repeats=2, split="test")
        for model, values in (("cnn", (0.7, 0.8)), ("vit", (0.6, 0.78)))
        for images, value in zip((1000, 5000), values, strict=True)
    ]
    write_records(tmp_path / "sizes.jsonl", sizes)
    (tmp_path / "sizes.svg").write_text("<svg></svg>")
    trained = tmp_path / "trained"
    (trained / "curves").mkdir(parents=True)
    write_records(trained / "records.jsonl", [record("auc", 0.8, "cnn", split="val")])
    (trained / "curves" / "history.csv").write_text(
        "epoch,train_loss,val_loss,val_auc\n1,0.7,0.69,0.6\n2,0.6,0.61,0.7\n"
    )
    (trained / "curves" / "roc.csv").write_text(
        "false_positive_rate,true_positive_rate,threshold\n0,0,\n0.4,0.8,0.5\n1,1,0\n"
    )
    choice = {
        "chosen": "float32",
        "reason": "No other form is faster.",
        "columns": ["form"],
        "rows": [["float32"]],
    }
    (tmp_path / "choice.json").write_text(json.dumps(choice))
    for name, kind in (("one", "egamma-simulated"), ("two", "simulated files")):
        (tmp_path / name).mkdir()
        pinned = {"schema": "holdfast.dataset/1", "name": kind, "fingerprint": "0"}
        (tmp_path / name / "dataset.json").write_text(json.dumps(pinned))
    out = tmp_path / "out"
    out.mkdir()
    particle_vit.run(
        out,
        title="Rerun",
        records=[tmp_path / "a.jsonl"],
        jet_records=[tmp_path / "b.jsonl"],
        curves=[trained / "curves"],
        jet_curves=[],
        sizes_records=tmp_path / "sizes.jsonl",
        sizes_chart=tmp_path / "sizes.svg",
        quantised_records=None,
        choice=tmp_path / "choice.json",
        cmssw_records=None,
        data=tmp_path / "one",
        jet_data=tmp_path / "two",
    )
    html = (out / "report.html").read_text()
    for words in (
        "Simulated data.",
        "0.812",  # published
        "Learning: validation ROC-AUC",
        "Electrons and photons: quality and cost",
        "+0.100 with 1,000, +0.020 with 5,000",
        "shrinks at every step",
        "No other form is faster.",
    ):
        assert words in html, words
    told = read_records(out / "records.jsonl")
    assert {r.labels.get("table") for r in told} == {"1", "2", "3", None}


@pytest.mark.slow
def test_all_of_it_small(tmp_path, monkeypatch):
    pytest.importorskip("pythia8mc", reason="quark and gluon jets need the extra physics")
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HOLDFAST_DATA", raising=False)
    once = dict.fromkeys(("epochs", "vit_epochs", "large_epochs", "jet_epochs", "repeats", "workers"), 1)
    small = {"events": 600, "jet_events": 200, "sizes": [200], "batches": [1]}
    finished = hub.run(repository.find("paper:particle-vit"), {**small, **once}, out=tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text()
    assert "Quarks and gluons: quality and cost" in html
    assert (tmp_path / "out" / "cmssw" / "RecoE2E" / "HoldfastTagger" / "plugins").is_dir()
    found = rows([r for r in finished.records if r.labels.keys() & {"table", "figure"}])
    assert [name for name, row in found.items() if row.measured is None] == []
    assert all(
        row.simulated for row in found.values() if row.claim.unit == "1" and "parameters" not in row.claim.id
    )
