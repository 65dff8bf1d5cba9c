"""Thousands of bad records: valid ones, each broken in one way that readers must reject."""

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import orjson

from flows.core.stream.fields import Field, Flag, Number, Text, Time

_NOTHING_IS = [[], {}, [1], {"a": None}, [[[[[]]]]]]  # what no field may be
_NO_TEXT = [0, 1.5, True, ""]
_NO_NUMBER = ["", "1", True, "NaN", 1e151, -1e151]
_NO_FLAG = [0, 1, "true", 0.0]
_NO_TIME = ["", "soon", "2013-01-01", "2013-01-01T12:00:00", "1913-01-01T12:00:00Z", -1, 4.2e12, True, 2**63]
_NO_OBJECT = [b"", b"null", b"true", b"17", b'"text"', b"[]", b"[{}]", b"{", b"}", b"\x00", b"[" * 5000]
_NO_NUMBER_TOKENS = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"0x10",
    b"+1",
    b"1,5",
    b"True",
    b"undefined",
]

_LONG = 1000  # characters; a longer limit is not worth trying ten thousand times


def wrong(field: Field) -> list[Any]:
    """Yield values that the field must reject."""
    if isinstance(field, Text):
        values = _NO_TEXT if field.longest > _LONG else [*_NO_TEXT, "x" * (field.longest + 1)]
    elif isinstance(field, Number):
        values = [*_NO_NUMBER, field.low - abs(field.low) - 1, field.high + abs(field.high) + 1]
    else:
        values = {Flag: _NO_FLAG, Time: _NO_TIME}[type(field)]
    return [*_NOTHING_IS, *values, *([None] if field.required else [])]


class Poison:
    """Breaks records, reproducibly for a seed; `fields` are those that a reader checks."""

    def __init__(self, fields: Mapping[str, Field], seed: int) -> None:
        self._random = Random(seed)
        self._wrong = {name: wrong(field) for name, field in fields.items()}
        self._required = [name for name, field in fields.items() if field.required]
        self._ways: list[Callable[[bytes], bytes]] = [
            self._field,
            self._without,
            self._cut,
            self._token,
            self._no_utf8,
            self._bytes,
            self._no_object,
        ]

    def of(self, good: list[bytes], number: int) -> Iterator[bytes]:
        """Yield `count` bad records, all different except for a few with a fixed text."""
        for count in range(number):
            yield self._ways[count % len(self._ways)](self._random.choice(good))

    def _field(self, value: bytes) -> bytes:
        name = self._random.choice(list(self._wrong))
        return orjson.dumps(orjson.loads(value) | {name: self._random.choice(self._wrong[name])})

    def _without(self, value: bytes) -> bytes:
        payload = orjson.loads(value)
        for name in self._random.sample(self._required, self._random.randint(1, len(self._required))):
            payload.pop(name, None)
        return orjson.dumps(payload)

    def _cut(self, value: bytes) -> bytes:
        return value[: self._random.randrange(len(value))]

    def _token(self, value: bytes) -> bytes:
        name = self._random.choice(list(self._wrong)).encode()
        return b'{"' + name + b'":' + self._random.choice(_NO_NUMBER_TOKENS) + b"," + value[1:]

    def _no_utf8(self, value: bytes) -> bytes:
        at = value.index(b'":"') + 3  # in the first text
        return value[:at] + self._random.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x00"]) + value[at:]

    def _bytes(self, value: bytes) -> bytes:
        return b"\xff" + self._random.randbytes(self._random.randint(0, 2 * len(value)))

    def _no_object(self, value: bytes) -> bytes:
        return self._random.choice(_NO_OBJECT)
