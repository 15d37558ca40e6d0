from holdfast.core import jsonl
from holdfast.training.trackers import HISTORY, Trackers


def test_lines_that_the_checkpoint_does_not_know_are_cut(tmp_path):
    first = Trackers(tmp_path, [])
    for epoch in (1, 2, 3):
        first.epoch({"epoch": epoch, "val_auc": None})
    first.close()
    with (tmp_path / HISTORY).open("a") as file:
        file.write('{"epoch": 4, "to')
    again = Trackers(tmp_path, [{"epoch": 1, "val_auc": None}])
    again.epoch({"epoch": 2, "val_auc": 0.5})
    again.close()
    lines = list(jsonl.read(tmp_path / HISTORY))
    assert lines == [{"epoch": 1, "val_auc": None}, {"epoch": 2, "val_auc": 0.5}]
