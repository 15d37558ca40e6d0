import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.canonical import canonical_json, content_hash, hash_file, hash_path, hash_tree
from holdfast.core.errors import DataError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def test_bytes_are_pinned():
    value = {"b": [1, 1.5, None, True], "a": "é ", "ä": {}}
    assert canonical_json(value) == '{"a":"é ","b":[1,1.5,null,true],"ä":{}}'.encode()
    assert content_hash({}) == hashlib.sha256(b"{}").hexdigest()


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers()))
def test_order_of_keys_does_not_count(value):
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


@given(JSON.filter(lambda value: json.dumps(value, ensure_ascii=False).isprintable()))
def test_it_is_a_fixed_point(value):
    once = canonical_json(value)
    assert canonical_json(json.loads(once)) == once


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_numbers_are_refused(bad):
    with pytest.raises(DataError, match="finite numbers"):
        canonical_json({"x": [bad]})


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1], ids=str)
def test_files_hash_as_their_bytes(tmp_path, size):
    path = tmp_path / "f"
    path.write_bytes(b"x" * size)
    assert hash_file(path) == hash_path(path) == hashlib.sha256(b"x" * size).hexdigest()


def test_trees_hash_by_names_and_contents(tmp_path):
    (tmp_path / "a" / "sub").mkdir(parents=True)
    (tmp_path / "a" / "sub" / "f").write_text("1")
    first = hash_tree(tmp_path / "a")
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / "__pycache__" / "f.pyc").write_text("x")
    assert hash_tree(tmp_path / "a") == first
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_path(tmp_path / "b") == first
    (tmp_path / "b" / "sub" / "f").rename(tmp_path / "b" / "sub" / "g")
    assert hash_tree(tmp_path / "b") != first
