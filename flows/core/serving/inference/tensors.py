"""Tensors of the Open Inference Protocol v2: requests are parsed to columns, answers written as tensors.

A column is a tensor of shape [N] or [N, 1]. In JSON, null is a missing value. With the extension for binary
data, the tensors' bytes follow the JSON, whose length a header gives; there, NaN is a missing value.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

from flows.core.serving.inference.plain import MOST_ROWS, plain_columns
from flows.errors import InvalidRequest

HEADER = "Inference-Header-Content-Length"

DataType = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64", "BYTES"
]
_DTYPES: Mapping[str, Any] = {
    "BOOL": np.dtype("?"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
}
_LENGTH = struct.Struct("<I")  # before each element of a BYTES tensor


class Wanted(NamedTuple):
    """An output that a request names, and whether its data are to be binary."""

    name: str
    is_binary: bool


class InferRequest(NamedTuple):
    """The columns of a request by name, all of `rows` values; None is a missing value.

    Without `outputs` it asks for all of them, and `is_binary` says whether these are to be binary.
    """

    id: str | None
    columns: Mapping[str, Sequence[Any]]
    rows: int
    outputs: Sequence[Wanted]
    is_binary: bool


class Tensor(NamedTuple):
    """An output: `values` are in row-major order."""

    name: str
    datatype: DataType
    shape: Sequence[int]
    values: Sequence[Any]
    parameters: Mapping[str, Any] = {}


class Answer(NamedTuple):
    """The body of an answer, and the length of the JSON that it begins with if binary data follow."""

    body: bytes
    json_length: int | None


def parse_request(body: bytes, json_length: int | None = None) -> InferRequest:
    """Return the request in `body`; `json_length` is the value of the header, if binary data follow.

    Raises `InvalidRequest`, which names the fault.
    """
    if json_length is None and (plain := plain_columns(body)) is not None:
        return InferRequest(plain.id, plain.values, plain.rows, [], False)
    length = len(body) if json_length is None else json_length
    if not 0 <= length <= len(body):
        raise InvalidRequest(f"{HEADER} must be from 0 to the body's {len(body):,} bytes, got {length:,}")
    raw = json_object(body[:length])
    inputs = raw.get("inputs")
    if type(inputs) is not list or not inputs:
        raise InvalidRequest('"inputs" must be a list of tensors, such as [{"name": "amount", "shape": [1], '
                             '"datatype": "FP64", "data": [9.5]}]')  # fmt: skip
    columns: dict[str, Sequence[Any]] = {}
    tail = _Tail(body[length:])
    for number, given in enumerate(inputs):
        name, values = _column(given, number, tail)
        if name in columns:
            raise InvalidRequest(f"input {name!r} must be given once")
        columns[name] = values
    tail.check_end()
    sizes = set(map(len, columns.values()))
    if len(sizes) > 1:
        raise InvalidRequest(f"all inputs must have the same number of rows, got {sorted(sizes)}")
    return InferRequest(_id(raw), columns, sizes.pop(), _wanted(raw), _flag(raw, "binary_data_output"))


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`; raises `InvalidRequest` for anything else."""
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body must be a JSON object: {error}") from None
    if type(raw) is not dict:
        raise InvalidRequest(f"the body must be a JSON object, got {type(raw).__name__}")
    return raw


def encode_answer(head: Mapping[str, Any], outputs: Sequence[Tensor], request: InferRequest) -> Answer:
    """Return the answer with the outputs that the request asks for; raises `InvalidRequest`."""
    known = {tensor.name: tensor for tensor in outputs}
    wanted = request.outputs or [Wanted(tensor.name, request.is_binary) for tensor in outputs]
    shown, tail = [], bytearray()
    for name, is_binary in wanted:
        if name not in known:
            raise InvalidRequest(f"an output must be one of {', '.join(known)}, got {name!r}")
        tensor = known[name]
        spelled: dict[str, Any] = {"name": name, "datatype": tensor.datatype, "shape": tensor.shape}
        parameters = dict(tensor.parameters)
        if is_binary:
            data = _packed(tensor)
            parameters["binary_data_size"] = len(data)
            tail += data
        else:
            spelled["data"] = tensor.values
        shown.append(spelled | ({"parameters": parameters} if parameters else {}))
    text = orjson.dumps({**head, "outputs": shown})
    return Answer(text + bytes(tail), len(text) if tail else None)


class _Tail:
    """The bytes after the JSON, read in the order of the binary tensors."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int, name: str) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise InvalidRequest(
                f"input {name!r}: binary_data_size must be at most the {len(self._data) - start:,} bytes "
                f"left, got {size:,}; {HEADER} must give the length of the JSON"
            )
        return self._data[start : self._at]

    def check_end(self) -> None:
        if left := len(self._data) - self._at:
            raise InvalidRequest(f"the inputs must use all binary data, got {left:,} bytes more")


def _column(given: Any, number: int, tail: _Tail) -> tuple[str, Sequence[Any]]:
    """Return the name and the values of a tensor."""
    if type(given) is not dict or type(name := given.get("name")) is not str:
        raise InvalidRequest(f'inputs[{number}] must be an object with a "name"')
    datatype, rows = given.get("datatype"), _rows(given.get("shape"), name)
    if type(datatype) is not str or (datatype not in _DTYPES and datatype != "BYTES"):
        known = ", ".join((*_DTYPES, "BYTES"))
        raise InvalidRequest(f"input {name!r}: datatype must be one of {known}, got {_brief(datatype)}")
    size = _parameters(given, f"input {name!r}").get("binary_data_size")
    if size is None:
        values = _json_values(given.get("data"), datatype, name)
    elif type(size) is int and size >= 0:
        values = _binary_values(tail.take(size, name), datatype, name)
    else:
        raise InvalidRequest(f"input {name!r}: binary_data_size must be a whole number, got {_brief(size)}")
    if len(values) != rows:
        raise InvalidRequest(
            f"input {name!r}: data must have {rows:,} values by its shape, got {len(values):,}"
        )
    return name, values


def _rows(shape: Any, name: str) -> int:
    is_shape = type(shape) is list and len(shape) in (1, 2) and all(type(size) is int for size in shape)
    if not is_shape or shape[1:] not in ([], [1]):
        raise InvalidRequest(f"input {name!r}: shape must be [N] or [N, 1], got {_brief(shape)}")
    rows: int = shape[0]
    if not 0 < rows <= MOST_ROWS:
        raise InvalidRequest(f"input {name!r}: a request must have 1 to {MOST_ROWS:,} rows, got {rows:,}")
    return rows


def _json_values(data: Any, datatype: str, name: str) -> list[Any]:
    if type(data) is not list:
        raise InvalidRequest(f"input {name!r}: data must be a list, got {_brief(data)}")
    values = [each[0] if type(each) is list and len(each) == 1 else each for each in data]
    for value in values:
        if value is not None and not _fits(value, datatype):
            raise InvalidRequest(f"input {name!r}: data must be {datatype} or null, got {_brief(value)}")
    return values


def _fits(value: Any, datatype: str) -> bool:
    if datatype == "BYTES":
        return type(value) is str
    if datatype == "BOOL":
        return type(value) is bool
    if datatype.startswith("FP"):
        return type(value) in (int, float)
    if type(value) is not int:
        return False
    limits = np.iinfo(_DTYPES[datatype])
    return bool(limits.min <= value <= limits.max)


def _binary_values(data: bytes, datatype: str, name: str) -> list[Any]:
    if datatype == "BYTES":
        return list(_texts(data, name))
    dtype = _DTYPES[datatype]
    if len(data) % dtype.itemsize:
        raise InvalidRequest(
            f"input {name!r}: binary_data_size must be a multiple of {dtype.itemsize}, got {len(data):,}"
        )
    values: list[Any] = np.frombuffer(data, dtype).tolist()
    if datatype.startswith("FP"):
        return [None if value != value else value for value in values]
    return values


def _texts(data: bytes, name: str) -> Iterator[str]:
    at = 0
    while at < len(data):
        try:
            (size,) = _LENGTH.unpack_from(data, at)
            start, at = at + _LENGTH.size, at + _LENGTH.size + size
            if at > len(data):
                raise ValueError("the last one is cut off")
            yield data[start:at].decode()
        except (struct.error, ValueError) as error:
            raise InvalidRequest(
                f"input {name!r}: binary data must be texts in UTF-8, each after its length in 4 bytes: "
                f"{error}"
            ) from None


def _packed(tensor: Tensor) -> bytes:
    """Return the binary data of a tensor; a missing number is NaN, a missing text is empty."""
    if tensor.datatype == "BYTES":
        texts = [(value or "").encode() for value in tensor.values]
        return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))
    return np.array(tensor.values, dtype=_DTYPES[tensor.datatype]).tobytes()


def _id(raw: Mapping[str, Any]) -> str | None:
    given = raw.get("id")
    if given is not None and type(given) is not str:
        raise InvalidRequest(f'"id" must be a string, got {_brief(given)}')
    return given


def _wanted(raw: Mapping[str, Any]) -> list[Wanted]:
    outputs = raw.get("outputs", [])
    if type(outputs) is not list:
        raise InvalidRequest(f'"outputs" must be a list, got {_brief(outputs)}')
    found = []
    for number, output in enumerate(outputs):
        if type(output) is not dict or type(output.get("name")) is not str:
            raise InvalidRequest(f'outputs[{number}] must be an object with a "name"')
        found.append(Wanted(output["name"], _flag(output, "binary_data")))
    return found


def _flag(raw: Mapping[str, Any], name: str) -> bool:
    value = _parameters(raw, "the request").get(name, False)
    if type(value) is not bool:
        raise InvalidRequest(f"the parameter {name!r} must be true or false, got {_brief(value)}")
    return value


def _parameters(raw: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    given = raw.get("parameters")
    if given is None:
        return {}
    if type(given) is not dict or any(type(value) in (dict, list) for value in given.values()):
        raise InvalidRequest(
            f'{what}: "parameters" must be an object of strings, numbers, booleans and nulls, '
            f"got {_brief(given)}"
        )
    return given


def _brief(value: Any) -> str:
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # it writes fewer nested lists than it reads
        return f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}..."
