"""The usual request for an inference: JSON without parameters, parsed and checked at once by msgspec.

Any other one, and any with a fault, is left to `tensors`, which is slower and names the fault.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder

MOST_ROWS = 1000  # in one request: they are scored at once, and other requests wait

_Shape = Annotated[list[Annotated[int, Meta(ge=1, le=MOST_ROWS)]], Meta(min_length=1, max_length=2)]
_Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # a larger number is one for orjson


class Columns(NamedTuple):
    """The columns of a request by name, all of `rows` values."""

    id: str | None
    values: Mapping[str, Sequence[Any]]
    rows: int


class _Doubles(Struct, tag_field="datatype", tag="FP64", forbid_unknown_fields=True):
    name: str
    shape: _Shape
    data: list[_Int | float | None]


class _Floats(_Doubles, tag="FP32"):
    pass


class _Texts(Struct, tag_field="datatype", tag="BYTES", forbid_unknown_fields=True):
    name: str
    shape: _Shape
    data: list[str | None]


class _Flags(Struct, tag_field="datatype", tag="BOOL", forbid_unknown_fields=True):
    name: str
    shape: _Shape
    data: list[bool | None]


class _Request(Struct, forbid_unknown_fields=True):
    inputs: list[_Doubles | _Floats | _Texts | _Flags]
    id: str | None = None


_decode = Decoder(_Request).decode


def plain_columns(body: bytes) -> Columns | None:
    """Return the columns of a usual request, None for any other body.

    >>> tensor = b'{"name": "x", "shape": [2], "datatype": "FP64", "data": [1.5, null]}'
    >>> plain_columns(b'{"inputs": [%s]}' % tensor)
    Columns(id=None, values={'x': [1.5, None]}, rows=2)
    >>> plain_columns(b'{"inputs": [%s, %s]}' % (tensor, tensor)), plain_columns(b"{}")
    (None, None)
    """
    try:
        request = _decode(body)
    except (MsgspecError, ValueError, RecursionError):
        return None
    values = {tensor.name: tensor.data for tensor in request.inputs}
    if not 0 < len(values) == len(request.inputs):
        return None
    rows = request.inputs[0].shape[0]
    for tensor in request.inputs:
        shape = tensor.shape
        if shape[0] != rows or len(tensor.data) != rows or shape[1:] not in ([], [1]):
            return None
    return Columns(request.id, values, rows)
