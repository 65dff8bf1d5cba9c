"""Artifacts: what is not as it was stored is not unpickled, wherever it was altered."""

import pickle
from functools import cache
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import linear_model

from flows.core.models.announcements import Reference
from flows.core.models.signing_keys import SigningKey
from flows.core.models.snapshots import Sealer
from flows.errors import SnapshotError

SECRET = b"a secret of thirty-two bytes, ok"
STATE = ("a state", 7)


class Shelf(dict[str, bytes]):
    """A store in memory, which anybody may write to."""

    def put(self, name: str, content: bytes) -> None:
        self[name] = content

    def get(self, name: str, size: int) -> bytes | None:  # type: ignore[override]
        found = dict.get(self, name)
        return found if found is None or len(found) == size else b""

    def names(self) -> list[str]:
        return [*self]


@cache
def stored() -> tuple[Reference, bytes]:
    """Return where a model's state is stored, and its artifact."""
    shelf = Shelf()
    reference = sealer(shelf).store(STATE)
    return reference, shelf.popitem()[1]


def sealer(shelf: Shelf) -> Sealer:
    return Sealer(SECRET, [linear_model.LogisticRegression()], shelf)


def restored(content: bytes, reference: Reference | None = None) -> Any:
    """Return the state if its artifact has this content."""
    reference = reference or stored()[0]
    return sealer(Shelf({f"registered-{reference.sha256}": content})).restore(reference)


def refuses(content: bytes, reference: Reference | None = None) -> None:
    with pytest.raises(SnapshotError, match="does not have the SHA-256 and the signature"):
        restored(content, reference)


def test_what_was_stored_is_restored():
    assert restored(stored()[1]) == STATE


@given(st.data())
def test_a_bit_flip_anywhere_is_refused(data):
    content = bytearray(stored()[1])
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    refuses(bytes(content))


@given(st.data())
def test_a_truncation_is_refused(data):
    content = stored()[1]
    refuses(content[: data.draw(st.integers(0, len(content) - 1))])


@given(st.binary(max_size=200))
def test_any_other_content_is_refused_even_where_its_hash_is_what_was_asked_for(content):
    refuses(content, Reference(sha256(content).hexdigest(), len(content)))


def test_a_foreign_pickle_signed_for_another_purpose_is_not_unpickled():
    """Also where its hash is right: the key of flow states or messages does not sign artifacts."""
    body = pickle.dumps(Opens())
    for purpose in ("flow states", "model messages"):
        content = SigningKey(SECRET, purpose).sign(body) + body
        refuses(content, Reference(sha256(content).hexdigest(), len(content)))


class Opens:
    """What raises `AssertionError` when it is unpickled."""

    def __reduce__(self):
        return _fail, ()


def _fail():
    raise AssertionError("it was unpickled")
