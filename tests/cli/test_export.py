"""``holdfast export``: files where the user wants them, and an exit code for what cannot be done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast import models
from holdfast.core.errors import DataError
from holdfast.programs import export_c
from holdfast.subnet import Recipe, Subnetwork


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    model = models.create("convnet", in_channels=1, classes=3, size=8, width=0.25, norm="batch_no_affine")
    Subnetwork(model.config, Recipe(0, [30, 40, 50, 60, 20])).pack().save(tmp_path / "small.packed")
    return tmp_path / "small.packed"


def test_export_c_writes_its_files_into_the_folder_itself(holdfast, packed, tmp_path):
    done = holdfast("export", "c", packed, "--name", "Digits 8x8", "-o", tmp_path / "c", "--json")
    found = json.loads(done.stdout)
    names = ["check.c", "digits_8x8.c", "digits_8x8.h"]
    assert found["files"] == [str(tmp_path / "c" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == names
    assert found["arena_bytes"] > 0
    assert found["table_bytes"] > 200


def test_what_cannot_be_exported_has_its_exit_code(holdfast, packed, tmp_path):
    assert holdfast("export", "c", tmp_path / "none", "-o", "c", check=False).returncode == 2
    assert holdfast("export", "c", packed, "-o", packed, check=False).returncode == 2
    assert holdfast("export", "c", packed, "-o", "c", "--flash", "tiny", check=False).returncode == 2
    assert holdfast("export", "c", packed, check=False).returncode == 2
    assert holdfast("export", "c", packed, "-o", packed / "below", check=False).returncode == 6


def test_a_damaged_file_is_an_error_and_leaves_nothing(packed, tmp_path):
    damaged = tmp_path / "damaged.packed"
    damaged.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match="fetch the file again") as caught:
        export_c.run(tmp_path / "c", packed=damaged, name=None, flash="fast")
    assert caught.value.exit_code == 4
    assert not (tmp_path / "c").exists()


def test_help_names_the_targets_and_the_inputs(holdfast):
    assert "Export a packed network as C source" in holdfast("export", "--help").stdout
    text = holdfast("export", "c", "--help").stdout
    assert "Example: holdfast export c" in text
    for word in ("PACKED", "--name", "--flash", "--out"):
        assert word in text


def test_the_program_records_what_the_network_takes(packed, tmp_path):
    export_c.run(tmp_path, packed=packed, name=None, flash="compact")
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    values = {record["metric"]: record["value"] for record in records}
    assert set(values) == set(export_c.UNITS)
    assert values["additions"] > values["multiplications"] > 0
    assert (tmp_path / "source" / "convnet.c").is_file()
