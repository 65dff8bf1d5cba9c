"""Events and answers as lines of JSON."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Answer = Callable[[Any], dict[str, Any]]


def answers(lines: Iterable[bytes], answer: Answer) -> Iterator[dict[str, Any]]:
    """Yield the answer to each line that is not empty."""
    for line in lines:
        if line.strip():
            try:
                event = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield {"id": None, "error": f"the line must be JSON: {error}"}
            else:
                yield answer(event)


def encoded(answer: dict[str, Any]) -> bytes:
    """Return an answer as a line of JSON."""
    return json.dumps(answer, allow_nan=False).encode() + b"\n"
