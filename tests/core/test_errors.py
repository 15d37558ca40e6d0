import pickle

import pytest

from holdfast.core import errors

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.HoldfastError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_survive_pickling(kind):
    if kind is errors.UnknownNameError:
        error = kind("model", "cmn", ["cnn", "resnet"])
    else:
        error = kind("it broke", expected="a", got=3, remedy="do b")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.what, again.expected, again.got, again.remedy) == (
        error.what,
        error.expected,
        error.got,
        error.remedy,
    )


@pytest.mark.parametrize(
    ("details", "text"),
    [
        ({}, "it broke"),
        ({"expected": "a"}, "it broke: expected a"),
        ({"got": 0}, "it broke: got 0"),
        ({"expected": "a", "got": ""}, "it broke: expected a, got "),
        ({"remedy": "do b"}, "it broke; do b"),
        ({"expected": "a", "got": "b", "remedy": "do c"}, "it broke: expected a, got b; do c"),
    ],
    ids=["nothing", "expected", "got", "empty got", "remedy", "all"],
)
def test_message_leaves_out_what_is_absent(details, text):
    assert str(errors.HoldfastError("it broke", **details)) == text


def test_unknown_names_list_the_known_and_suggest_the_nearest():
    text = str(errors.UnknownNameError("model", "resnet2", ["cnn", "resnet20"]))
    assert text == "unknown model: expected one of cnn, resnet20, got 'resnet2'; did you mean 'resnet20'?"
    assert "did you mean" not in str(errors.UnknownNameError("model", "x", ["cnn"]))


def test_exit_codes_are_the_documented_ones():
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    assert codes == {
        "HoldfastError": 1,
        "UsageError": 2,
        "UnknownNameError": 3,
        "DuplicateNameError": 1,
        "ComponentError": 3,
        "DataError": 4,
        "StepError": 5,
        "InfrastructureError": 5,
        "StorageError": 6,
        "NativeCoreError": 7,
        "FaultError": 8,
        "InputDamaged": 8,
        "WeightsChanged": 8,
    }
    assert errors.INTERRUPTED_EXIT_CODE == 130
