"""Values on their way from and to the engine."""

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.recording.values import (
    RESOURCE,
    SIGNATURE,
    UNKNOWN,
    Secret,
    decode,
    encode,
    plain,
)

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(), st.just(UNKNOWN))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.builds(Secret, inner),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), TREES, max_size=3))
def test_what_is_sent_comes_back_as_it_was(tree: dict[str, object]) -> None:
    assert decode(encode(tree)) == tree


def test_a_resource_reference_is_its_id() -> None:
    struct = json_format.ParseDict({"a": {SIGNATURE: RESOURCE, "urn": "urn:x", "id": "ns/name"}}, Struct())
    assert decode(struct) == {"a": "ns/name"}


def test_secrets_are_taken_off() -> None:
    tree = {"a": Secret({"b": "x"}), "c": [1, Secret("y")]}
    assert plain(tree) == {"a": {"b": "x"}, "c": [1, "y"]}
