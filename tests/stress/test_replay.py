from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stress_support import STREAM, ArrayStream, GuardedNet, lines, make_net, rates, run

from holdfast.core.errors import DataError, UsageError
from holdfast.stress import BitFlip, BitFlips, Fault, FaultedTrial, Faults, GaussianNoise, Replay, to_json

STRESSORS = [
    BitFlips(n=3),
    Faults(sites=("accumulator", "weight", "input"), effect="random"),
    Faults(effect="nan", pattern="row", extent=2, persistent=True),
    GaussianNoise(sigma_gev=1.0, unit_gev=(50.0, None)),
]


def told(line: dict[str, Any]) -> tuple:
    return line["outcome"], line["batch"], line.get("deviation"), line["faults"]


@pytest.mark.parametrize("model", [make_net, GuardedNet], ids=["plain", "guarded"])
def test_a_campaign_replays_from_its_fault_list(tmp_path: Path, model: Any) -> None:
    run(tmp_path / "first", model, STRESSORS, trials=20)
    replay = Replay(tmp_path / "first" / "faults.json")
    assert len(replay.trials) == 60
    run(tmp_path / "again", model, [replay], trials=len(replay.trials), seed=99)
    keys = ["bit_flips", "faults", "faults-2"]
    first = [line for line in lines(tmp_path / "first") if line["stressor"] in keys]
    first.sort(key=lambda line: (keys.index(line["stressor"]), line["trial"]))
    again = sorted(lines(tmp_path / "again"), key=lambda line: line["trial"])
    assert [told(line) for line in again] == [told(line) for line in first]
    assert len({line["outcome"] for line in first}) > 1


def test_a_list_by_hand(tmp_path: Path) -> None:
    faults = [BitFlip("conv1", "output", (0, 0, 0, 0), 30), FaultedTrial((Fault("head", effect="inf"),), 2)]
    path = tmp_path / "faults.json"
    path.write_text(to_json(faults))
    assert Replay(path) == Replay(faults)
    records = run(tmp_path / "out", make_net, [Replay(path)], trials=2)
    assert rates(records)["critical_sdc_rate"] == 1 / 2
    assert [line["batch"] for line in lines(tmp_path / "out")] == [0, 2]


@pytest.mark.parametrize(
    ("stressor", "data", "trials"),
    [
        (Replay([BitFlip("conv1")]), STREAM, 2),
        (Replay([FaultedTrial((BitFlip("conv1"),), 5)]), STREAM, 1),
        (Replay([BitFlip("conv1", "output", (9, 0, 0, 0))]), ArrayStream(8), 1),
    ],
    ids=["more trials than the list has", "more batches than the data have", "another batch size"],
)
def test_lists_that_do_not_fit(tmp_path: Path, stressor: Replay, data: ArrayStream, trials: int) -> None:
    with pytest.raises(UsageError):
        run(tmp_path, make_net, [stressor], data, trials=trials)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fault list"):
        Replay(tmp_path / "missing.json")
    (tmp_path / "torn.json").write_text("{")
    with pytest.raises(UsageError, match="JSON"):
        Replay(tmp_path / "torn.json")
