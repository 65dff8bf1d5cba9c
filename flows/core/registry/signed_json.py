"""Signed JSON records: the value is a struct, and a header has its HMAC-SHA256 with a key for one purpose."""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from flows.core.models.signing_keys import KeyRing
from flows.core.stored_format import StoredFormat
from flows.core.stream.broker import Headers, Record
from flows.errors import RegistryError

SIGNATURE = "signature"  # the header that holds the HMAC


class SignedBody(Protocol):
    """What each signed struct has."""

    @property
    def format(self) -> str: ...

    @property
    def pipeline(self) -> str: ...


_Body = TypeVar("_Body", bound=SignedBody)


class SignedJson(Generic[_Body]):
    """Signs and opens records whose value is the JSON of a struct of one kind and format.

    `secrets` are the project's current secret and the former ones; the current one signs, all verify.
    `purpose` names the records, as in "registry entries".
    """

    def __init__(
        self,
        pipeline: str,
        secrets: Sequence[bytes],
        purpose: str,
        kind: type[_Body],
        stored_format: StoredFormat,
    ) -> None:
        self._pipeline = pipeline
        self._purpose = purpose
        self._kind = kind
        self._format = stored_format
        self._keys = KeyRing(secrets, purpose)

    def encode(self, body: _Body) -> tuple[bytes, Headers]:
        """Return the JSON of `body`, and the header with its signature."""
        content = msgspec.json.encode(body)
        return content, ((SIGNATURE, self._keys.sign(content)),)

    def decode(self, record: Record) -> _Body:
        """Return the struct in a record.

        Raises `RegistryError` if it is unsigned, altered, of another pipeline or of another format.
        """
        content, signature = record.value or b"", dict(record.headers).get(SIGNATURE) or b""
        if not self._keys.verifies(content, signature):
            raise RegistryError(
                f"a record of {self._purpose} must be signed with this project's secret; it was ignored. Set "
                "DRIFTLINE_SECRET to the secret that it was signed with, if it is yours"
            )
        try:
            body = msgspec.json.decode(content, type=self._kind)
        except msgspec.MsgspecError as error:
            raise RegistryError(
                f"a signed record of {self._purpose} must have the fields of this version, got: {error}; it "
                "was ignored"
            ) from error
        if fault := self._format.mismatch(body.format):
            raise RegistryError(f"a record of {self._purpose} {fault}; it was ignored")
        if body.pipeline != self._pipeline:
            raise RegistryError(
                f"a record of {self._purpose} must be of pipeline {self._pipeline!r}, got {body.pipeline!r}; "
                "it was ignored"
            )
        return body
