from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from stress_support import (
    FLIPS,
    STREAM,
    ArrayStream,
    Foreign,
    Fragile,
    GuardedNet,
    Net,
    lines,
    make_net,
    rates,
    run,
    stable,
)

from holdfast.core.errors import StorageError, UsageError
from holdfast.stress import FGSM, BitFlip, BitFlips, DeadChannels, GaussianNoise, Nothing, campaign, inject


def test_flips_in_a_plain_model(tmp_path: Path) -> None:
    records = run(tmp_path, trials=96, labels={"model": "net", "protection": "plain"})
    total = rates(records)
    assert total["sdc_rate"] > 0.1  # type: ignore[operator]
    assert total["detected_rate"] == total["corrected_rate"] == total["crash_rate"] == 0
    assert total["masked_rate"] + total["sdc_rate"] == pytest.approx(1)  # type: ignore[operator]
    assert total["critical_sdc_rate"] <= total["sdc_rate"]  # type: ignore[operator]
    outcomes = Counter(line["outcome"] for line in lines(tmp_path))
    assert total["sdc_rate"] == (outcomes["sdc"] + outcomes["critical"]) / 96
    first = records[0]
    assert first.labels == {
        "model": "net",
        "protection": "plain",
        "stressor": "bit_flips",
        "site": "output",
        "bits": "exponent",
        "flips": 1,
    }
    assert first.n == 96
    assert first.interval is not None
    assert first.interval.method == "wilson"
    assert first.simulated
    assert first.seed == 1


def test_breakdowns_add_up(tmp_path: Path) -> None:
    records = run(tmp_path, trials=96, stressors=[BitFlips(bits=(31, 30, 23, 0))])
    for label, values in {
        "layer": {"conv1", "block.2", "head"},
        "bit": {31, 30, 23, 0},
        "bit_class": {"sign", "exponent", "mantissa"},
    }.items():
        parts = [r for r in records if label in r.labels and r.metric == "sdc_rate"]
        assert {part.labels[label] for part in parts} == values
        assert sum(part.n or 0 for part in parts) == 96
        hits = sum((part.value or 0) * (part.n or 0) for part in parts)
        assert hits == pytest.approx(rates(records)["sdc_rate"] * 96)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("on_fault", "metric"),
    [("correct", "corrected_rate"), ("raise", "detected_rate"), ("record", "detected_rate")],
)
def test_flips_in_a_guarded_model(tmp_path: Path, on_fault: str, metric: str) -> None:
    flips = BitFlips(bits="exponent", layers=("conv1", "block.2"))
    plain = rates(run(tmp_path / "plain", stressors=[flips]))
    records = run(tmp_path / "guarded", GuardedNet(on_fault), [flips])
    guarded = rates(records)
    assert plain["sdc_rate"] > 0  # type: ignore[operator]
    assert guarded["sdc_rate"] == 0
    # The guard compares exactly, so every flip is seen.
    assert guarded[metric] == 1
    recovered = {r.labels["rung"]: r.value for r in records if r.metric == "recovered_by_rate"}
    assert recovered == ({"recompute": 1.0} if on_fault == "correct" else {})


def test_flips_in_a_model_that_others_protect(tmp_path: Path) -> None:
    """Nothing tells of corrections, so what is put right counts as masked, or as less harm."""
    flips = BitFlips(bits=(30,), layers=("inside.conv1",))
    clipped = rates(run(tmp_path / "foreign", Foreign().eval(), [flips]))
    plain = rates(run(tmp_path / "plain", stressors=[BitFlips(bits=(30,), layers=("conv1",))]))
    assert clipped["critical_sdc_rate"] < plain["critical_sdc_rate"]  # type: ignore[operator]
    assert clipped["corrected_rate"] == clipped["detected_rate"] == 0


def test_harmed_inputs_are_judged_by_quality(tmp_path: Path) -> None:
    stressors = [FGSM(eps=0.2), GaussianNoise(sigma_gev=5.0, unit_gev=(50.0, None)), DeadChannels(0.5)]
    records = run(tmp_path, stressors=stressors)
    for stressor in stressors:
        total = rates(records, stressor=stressor.name)
        assert set(total) == {
            "accuracy", "auc", "clean_accuracy", "clean_auc", "false_alarm_rate", "crash_rate"
        }  # fmt: skip
        assert total["false_alarm_rate"] == total["crash_rate"] == 0
    attacked = rates(records, stressor="fgsm")
    assert attacked["auc"] < attacked["clean_auc"]  # type: ignore[operator]
    by_metric = {r.metric: r for r in records if r.labels["stressor"] == "fgsm"}
    # One pass over the data: 40 samples in 3 batches, although 24 trials were asked for.
    assert by_metric["accuracy"].n == by_metric["auc"].n == 40
    assert by_metric["crash_rate"].n == 3
    assert by_metric["auc"].interval.method == "delong"  # type: ignore[union-attr]


def test_clean_accuracy_is_the_models_own(tmp_path: Path) -> None:
    with torch.no_grad():
        truth = (make_net()(STREAM.x).argmax(1) == STREAM.y).float().mean().item()
    assert rates(run(tmp_path, stressors=[DeadChannels(0.0)]))["accuracy"] == pytest.approx(truth)


def test_three_classes_have_no_auc(tmp_path: Path) -> None:
    stream = ArrayStream(20)
    stream.info.classes = ("a", "b", "c")
    assert set(rates(run(tmp_path, Net(classes=3), [DeadChannels(0.1)], stream))) == {
        "accuracy", "clean_accuracy", "false_alarm_rate", "crash_rate"
    }  # fmt: skip


def test_scores_that_are_not_finite_leave_the_auc_absent(tmp_path: Path) -> None:
    net = make_net()
    net.head.bias.data[0] = float("nan")
    records = run(tmp_path, net, [DeadChannels(0.1)])
    auc = next(record for record in records if record.metric == "auc")
    assert auc.value is None
    assert auc.message == "40 scores are not finite"


@pytest.mark.parametrize("model", [make_net, GuardedNet], ids=["plain", "guarded"])
def test_no_harm_no_alarm(tmp_path: Path, model: Any) -> None:
    records = run(tmp_path, model, [Nothing()], trials=30)
    assert rates(records) == {"false_alarm_rate": 0, "crash_rate": 0}
    assert records[0].n == 30


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    net = make_net().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    threads = torch.get_num_threads()
    run(tmp_path, net, [FLIPS, BitFlips(site="weight"), FGSM(eps=0.1)])
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert torch.get_num_threads() == threads


def test_stressors_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    records = run(tmp_path, stressors=[FLIPS, BitFlips(site="weight")])
    assert rates(records, site="output").keys() == rates(records, site="weight").keys()
    assert {line["stressor"] for line in lines(tmp_path)} == {"bit_flips", "bit_flips-2"}


def test_an_exception_in_the_model_is_a_crash(tmp_path: Path) -> None:
    flips = BitFlips(site="output", bits=(30,), layers=("net.conv1",))
    records = run(tmp_path, Fragile("raise").eval(), [flips])
    assert rates(records)["crash_rate"] > 0  # type: ignore[operator]
    message = next(line["message"] for line in lines(tmp_path) if line["outcome"] == "crash")
    assert message == "ArithmeticError: too large"


def test_a_flip_replays_from_its_line(tmp_path: Path) -> None:
    run(tmp_path, trials=6)
    for line in lines(tmp_path):
        labels = line["labels"]
        index = tuple(map(int, labels["index"].split(",")))
        x = STREAM.x[line["batch"] * 16 :][:16]
        net = make_net()
        with torch.no_grad(), inject(net, [BitFlip(labels["layer"], "output", index, labels["bit"])]):
            faulty = net(x)
            clean = net(x)
        if line["deviation"] is not None:
            relative = ((faulty - clean).abs().max() / clean.abs().max()).item()
            assert relative == pytest.approx(line["deviation"], rel=1e-3, abs=1e-6)


class Counting(ArrayStream):
    """Counts how often it is opened."""

    opened = 0

    def batches(self, *args: Any, **options: Any) -> Any:
        self.opened += 1
        return super().batches(*args, **options)


def test_a_finished_campaign_runs_nothing_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    stream = Counting(40)
    content = (tmp_path / "trials.jsonl").read_bytes()
    assert stable(run(tmp_path, data=stream)) == stable(first)
    assert stream.opened == 1  # to count the batches
    assert (tmp_path / "trials.jsonl").read_bytes() == content


def test_resumes_after_a_torn_line(tmp_path: Path) -> None:
    truth = run(tmp_path / "whole")
    run(tmp_path / "torn")
    path = tmp_path / "torn" / "trials.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert stable(run(tmp_path / "torn")) == stable(truth)
    assert len(lines(tmp_path / "torn")) == 24


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 2}, "another seed: expected 1, got 2"),
        ({"trials": 25}, "another trials"),
        ({"batch_size": 8}, "another batch_size"),
        ({"stressors": [BitFlips(bits="sign")]}, "another stressors"),
        ({"data": ArrayStream(41)}, "another data"),
        ({"model": GuardedNet()}, "another model"),
        ({"labels": {"model": "x"}}, "another labels"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_other_settings_are_refused_and_named(tmp_path: Path, changes: dict, named: str) -> None:
    run(tmp_path)
    before = (tmp_path / "trials.jsonl").read_bytes()
    with pytest.raises(UsageError, match=named):
        run(tmp_path, **changes)
    assert (tmp_path / "trials.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trials": 0}, "at least 1"),
        ({"stressors": []}, "at least one stressor"),
        ({"data": ArrayStream(0)}, "at least one batch"),
        ({"model": dict}, "an nn.Module"),
        ({"stressors": [BitFlips(layers=("conv9",))]}, "conv9"),
        ({"stressors": [GaussianNoise(sigma_gev=1.0)]}, "without a unit"),
    ],
    ids=["no trials", "no stressors", "no data", "no model", "unknown layer", "no unit"],
)
def test_campaigns_that_cannot_be_carried_out(tmp_path: Path, changes: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        run(tmp_path, **changes)


def test_each_stressor_may_have_its_own_number_of_trials(tmp_path: Path) -> None:
    flips = [BitFlips(site="output"), BitFlips(site="weight")]
    records = run(tmp_path, trials=[6, 3], stressors=flips)
    totals = {r.labels["site"]: r.n for r in records if r.metric == "sdc_rate" and "layer" not in r.labels}
    assert totals == {"output": 6, "weight": 3}
    with pytest.raises(UsageError, match="2 stressors"):
        run(tmp_path / "other", trials=[6], stressors=flips)


def test_trials_without_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_text("")
    with pytest.raises(UsageError, match="unknown campaign"):
        run(tmp_path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        run(tmp_path / "file" / "out")


def test_ctrl_c_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = run(tmp_path / "whole")
    monkeypatch.setattr(campaign, "_FLUSH_S", -1.0)
    calls = 0

    def interrupted() -> Net:
        net = make_net()

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1
            if calls == 20:
                raise KeyboardInterrupt

        net.register_forward_hook(count)
        return net

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", interrupted)
    assert 0 < len(lines(tmp_path / "cut")) < 24
    assert stable(run(tmp_path / "cut")) == stable(truth)


def test_a_model_that_needs_the_usual_layout(tmp_path: Path) -> None:
    class Viewing(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps = self.block(self.conv1(x)).relu()
            return self.head(maps.view(len(x), 6, -1).mean(2))

    net = Viewing()
    net.load_state_dict(make_net().state_dict())
    assert rates(run(tmp_path, net))["crash_rate"] == 0
