"""Times in milliseconds since 1970 (UTC), as numbers and as ISO 8601."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from flows.core.stream.json_types import kind_of

YEAR_2100 = 4_102_444_800_000  # event times must be before this


def milliseconds(value: Any) -> int:
    """Return a time in milliseconds since 1970 (UTC), from ISO 8601 with an offset or from milliseconds.

    Raises ValueError, with the reason, for anything else and for years outside 1970 to 2099. It reads what
    the engine writes; `Time.read` reads what others write.

    >>> milliseconds("2013-01-01T05:15:00-05:00")
    1357035300000
    """
    if type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a time in ISO 8601") from None
        if moment.tzinfo is None:
            raise ValueError("must be a time with an offset from UTC, such as a trailing Z")
        time = round(moment.timestamp() * 1000)
    elif type(value) is int:
        time = value
    else:
        raise ValueError(f"must be a time, got {kind_of(value)}")
    if not 0 <= time < YEAR_2100:
        raise ValueError("must be a time between the years 1970 and 2100")
    return time


def is_milliseconds(value: Any) -> bool:
    """Return whether the value is a time from 1970 to 2099 in whole milliseconds."""
    return type(value) is int and 0 <= value < YEAR_2100


def in_milliseconds(duration: timedelta) -> int:
    """Return a duration in whole milliseconds."""
    return round(duration.total_seconds() * 1000)


def iso(time: int) -> str:
    """Return milliseconds since 1970 as ISO 8601 in UTC.

    >>> iso(1357035300000)
    '2013-01-01T10:15:00.000Z'
    """
    return _to_the_second(time // 1000) + _FRACTIONS[time % 1000]


@lru_cache(maxsize=1024)
def _to_the_second(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).replace(tzinfo=None).isoformat()


_FRACTIONS = [f".{n:03d}Z" for n in range(1000)]
