"""The flagship on real digits: small, but every step of it."""

import random
import signal
import time

import pytest

from holdfast.core.result import read_records

FLAGSHIP = "workflow:egamma-hardened"


def stable(path):
    """Records as they must come out of every run: volatile fields and clocks' values left out."""
    return [record.stable() for record in read_records(path)]


def test_the_flagship_runs_reports_and_is_served_from_the_cache(make_runner):
    runner = make_runner()
    run = runner("run", FLAGSHIP, f"@{runner.inputs}", "--out", "out", "--json")
    assert {step["status"] for step in run["steps"] if step["id"] != "simulate"} == {"ran"}
    out = runner.folder / "out"

    html = (out / "report.html").read_text()
    assert "Pareto front" in html
    assert "http://" not in html.replace(
        "http://www.w3.org", ""
    )  # namespaces of SVG are no addresses to load
    records = read_records(out / "records.jsonl")
    measured = {(r.metric, r.labels["model"], r.labels["protection"]) for r in records if "model" in r.labels}
    for model in ("cnn", "cnn-small", "cnn-noise"):
        for protection in ("plain", "protected"):
            assert {("critical_sdc_rate", model, protection), ("latency", model, protection)} <= measured
    assert all(FLAGSHIP in record.components for record in records)
    protected = [
        record
        for record in records
        if record.metric == "critical_sdc_rate" and record.labels["protection"] == "protected"
    ]
    assert protected
    assert all(record.value == 0 for record in protected if record.labels["site"] == "output")

    again = runner("run", FLAGSHIP, f"@{runner.inputs}", "--out", "again", "--json")
    # The pinned data set is looked at anew in every run; what rests on its content is not.
    assert {step["id"] for step in again["steps"] if step["status"] == "ran"} == {"data"}
    assert stable(runner.folder / "again" / "records.jsonl") == stable(out / "records.jsonl")

    def explain(*words):
        found = runner("explain", FLAGSHIP, f"@{runner.inputs}", *words, "--json")
        return {step["step"]: (step["now"], "; ".join(step["why"])) for step in found}

    same = explain()
    assert same["simulate"][0] == "skipped"
    assert {now for step, (now, _) in same.items() if step not in ("simulate", "data")} == {"hit"}
    assert "inputs.lr: 0.003 -> 0.001" in explain("--lr", "0.001")["cnn"][1]


@pytest.mark.slow
def test_killed_five_times_it_ends_with_the_same_records(make_runner):
    calm, stormy = make_runner("calm"), make_runner("stormy")
    begin = time.monotonic()
    calm("run", FLAGSHIP, f"@{calm.inputs}", "--out", "out", "--json")
    duration = time.monotonic() - begin
    draw = random.Random(7)
    for _ in range(5):
        process = stormy.start("run", FLAGSHIP, f"@{stormy.inputs}", "--out", "out", "--json")
        # Together the five spells are too short to finish, so every kill strikes a run at work.
        time.sleep(draw.uniform(0.05, 0.15) * duration)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    stormy("run", FLAGSHIP, f"@{stormy.inputs}", "--out", "out", "--json")
    assert stable(stormy.folder / "out" / "records.jsonl") == stable(calm.folder / "out" / "records.jsonl")
