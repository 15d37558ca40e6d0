from __future__ import annotations

import pytest

from holdfast.core.errors import UsageError
from holdfast.stress import BitFlip, from_json, to_json

FAULTS = [
    BitFlip("conv1", "output", (0, 3, 5, 7), 30),
    BitFlip("head", "weight", None, None),
    BitFlip("block.2", "input", (1, 2), 0, persistent=True),
]


def test_fault_list_round_trip() -> None:
    assert from_json(to_json(FAULTS)) == FAULTS
    assert from_json(to_json([])) == []


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema": "other/1", "faults": []}',
        '{"schema": "holdfast.faults/1", "faults": [{"site": "output"}]}',
        '{"schema": "holdfast.faults/1", "faults": [{"layer": "a", "colour": 1}]}',
        '{"schema": "holdfast.faults/1", "faults": [{"layer": "a", "site": "moon"}]}',
    ],
    ids=["torn", "a list", "other schema", "no layer", "unknown key", "unknown site"],
)
def test_damaged_fault_list(text: str) -> None:
    with pytest.raises(UsageError):
        from_json(text)


@pytest.mark.parametrize("bit", ["30", 1.5, True], ids=str)
def test_bit_must_be_an_integer(bit: object) -> None:
    with pytest.raises(UsageError, match="bit"):
        BitFlip("conv1", bit=bit)  # type: ignore[arg-type]


def test_lists_become_tuples() -> None:
    assert BitFlip("a", index=[1, 2]) == BitFlip("a", index=(1, 2))  # type: ignore[arg-type]
