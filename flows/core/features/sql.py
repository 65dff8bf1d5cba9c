"""SQL for DuckDB that computes the features of a view from its declaration.

It is the oracle of `driftline verify features` and shares no code with the engine. Each question is joined
with the records of its key in the longest window. A feature is an aggregate over the records of its window.

It reads two kinds of table. `questions` has `n`, `id`, `time` (ms), `partition`, the entities' keys, the
features as served under their full names, and the next offset to read of each stream. A stream's table has
`partition`, `"offset"`, `seq` (the order by event time, then by offset), `id`, `time` (ms), keys and values.
Columns that are summed have a second column in whole units of 2^-bits, whose sums are exact.
"""

from collections.abc import Iterator, Mapping, Sequence

from flows.core.features.plan import Aggregate, View, quantile
from flows.core.features.windows.partials import DISTINCT

SUMMED = ("sum", "mean")
TOLERANCE = 1e-9  # of means, deviations, variances and seconds: relative, and absolute below 1
RANK_ERROR = 0.02  # of a quantile from tiles, as a share of the records: above the sketch's 99 % bound
DISTINCT_ERROR = 0.08  # of an approximate distinct count from tiles, relative: five standard errors
_BUCKETS = 4  # in the longest window: few to join, yet most records fall outside
_DOUBLE = 2**52  # divmod by this gives two exact doubles, whose sum is rounded once


def records_table(stream: str) -> str:
    """Return the name of the table of a stream's records."""
    return name(f"records_{stream}")


def read_column(stream: str) -> str:
    """Return the name of the questions' column with the next offset to read of the stream."""
    return name(f"read_{stream}")


def key_column(entity: str) -> str:
    """Return the name of the column with the entity's key."""
    return name(f"key_{entity}")


def value_column(column: str) -> str:
    """Return the name of the column with a field's values."""
    return name(f"value_{column}")


def units_column(column: str) -> str:
    """Return the name of the column with a field's values in whole units."""
    return name(f"units_{column}")


def name(identifier: str) -> str:
    """Return a quoted identifier.

    >>> print(name('an "odd" one'))
    "an ""odd"" one"
    """
    return '"' + identifier.replace('"', '""') + '"'


def comparison(view: View, bits: Mapping[str, int], first: int, last: int) -> str:
    """Return SQL that says, for each question from `first` to `last` (`n`), whether features are `equal`.

    `later` counts the records of the longest window that had not been read when the question was answered.
    `bits` is the precision of each column of exact sums; others are summed as floats.
    """
    return _comparison(view, bits, f"n BETWEEN {first} AND {last}", "true")


def comparison_as_arrived(view: View, bits: Mapping[str, int], questions: Sequence[int]) -> str:
    """Return the comparison of the given `n`, over only the records read when the question was answered."""
    which = f"n IN ({', '.join(map(str, questions))})"
    return _comparison(view, bits, which, f"NOT {_came_later(view)}")


def later_records(view: View, question: int) -> str:
    """Return SQL for the records (id, offset, time) of the longest window that had not been read by then."""
    return f"""
        SELECT r.id, r."offset", r.time FROM ({_asked(view, f"n = {question}")}) q
        JOIN {records_table(view.stream)} r ON {_in_window(view)}
        WHERE {_came_later(view)} ORDER BY r."offset" """


def recomputation(view: View, bits: Mapping[str, int], question: int) -> str:
    """Return SQL for one question's features, as one row in the view's order."""
    values = ", ".join(_value(number, a, bits) for number, a in enumerate(view.aggregates))
    return f"SELECT {values} FROM ({_aggregated(view, bits, f'n = {question}', 'true')})"


def _comparison(view: View, bits: Mapping[str, int], which: str, kept: str) -> str:
    equal = " AND ".join(f"({_equal(view, number, a, bits)})" for number, a in enumerate(view.aggregates))
    return f"SELECT n, ({equal}) AS equal, later FROM ({_aggregated(view, bits, which, kept)}) ORDER BY n"


def _aggregated(view: View, bits: Mapping[str, int], which: str, kept: str) -> str:
    """Return SQL with a row for each question: its columns, the `later` records and the aggregates' parts."""
    bucket = max(1, view.longest // _BUCKETS)
    parts = [part for number, a in enumerate(view.aggregates) for part in _parts(view, number, a, bits)]
    return f"""
        SELECT s.*, a.* EXCLUDE (n, later), coalesce(a.later, 0) AS later
        FROM (SELECT * FROM questions WHERE {which}) s LEFT JOIN (
            SELECT q.n, count(*) FILTER (WHERE {_came_later(view)}) AS later, {", ".join(parts)}
            FROM (
                SELECT *, unnest(range((stop - {view.longest}) // {bucket}, stop // {bucket} + 1)) AS bucket
                FROM ({_asked(view, which)})
            ) q
            JOIN {records_table(view.stream)} r ON r.time // {bucket} = q.bucket AND {_in_window(view)}
            WHERE {kept}
            GROUP BY q.n
        ) a ON a.n = s.n"""


def _asked(view: View, which: str) -> str:
    """Return SQL for the questions and the end of their windows, `stop`."""
    end = f"time - {view.delay}"
    stop = f"({end}) // {view.slide} * {view.slide}" if view.slide else end
    return f"SELECT *, {stop} AS stop FROM questions WHERE {which}"


def _in_window(view: View) -> str:
    entity, own = key_column(view.entity), " AND r.id <> q.id" if view.excludes_own else ""
    return f"r.{entity} = q.{entity} AND r.time > q.stop - {view.longest} AND r.time <= q.stop{own}"


def _came_later(view: View) -> str:
    return f'(r.partition = q.partition AND r."offset" >= q.{read_column(view.stream)})'


def _parts(view: View, number: int, aggregate: Aggregate, bits: Mapping[str, int]) -> Iterator[str]:
    """Yield the aggregates over the records of the aggregate's own window: the count `c` and the value `p`.

    For an approximate quantile, also the number of records below (`l`) and up to (`u`) the served value.
    """
    inside = f"r.time > q.stop - {aggregate.window}"
    yield f"count(*) FILTER (WHERE {inside}) AS c{number}"
    yield f"{_part(aggregate, bits)} FILTER (WHERE {inside}) AS p{number}"
    if view.slide and quantile(aggregate.function) is not None:
        column, served = f"r.{value_column(aggregate.column)}", f"q.{_served(view, aggregate)}"
        yield f"count(*) FILTER (WHERE {inside} AND {column} < {served}) AS l{number}"
        yield f"count(*) FILTER (WHERE {inside} AND {column} <= {served}) AS u{number}"


def _part(aggregate: Aggregate, bits: Mapping[str, int]) -> str:
    function, column = aggregate.function, f"r.{value_column(aggregate.column)}"
    if function in SUMMED:
        return f"sum({f'r.{units_column(aggregate.column)}' if aggregate.column in bits else column})"
    if (share := quantile(function)) is not None:
        return f"quantile_disc({column}, {share})"
    return _FUNCTIONS[function].format(column)


_FUNCTIONS = {
    "count": "count(*)",
    "count_distinct": "count(DISTINCT {})",
    "min": "min({})",
    "max": "max({})",
    "std": "stddev_samp({})",
    "var": "var_samp({})",
    "first": "arg_min({}, r.seq)",
    "last": "arg_max({}, r.seq)",
    "time_since_last": "max(r.time)",
}


def _value(number: int, aggregate: Aggregate, bits: Mapping[str, int]) -> str:
    """Return SQL for the feature's value, from its parts."""
    function, part = aggregate.function, f"p{number}"
    if function in ("count", "count_distinct"):
        return f"coalesce({part}, 0)"
    if function == "time_since_last":
        return f"(time - {part}) / 1000.0"
    if function in SUMMED and aggregate.column in bits:
        whole = f"(({part} // {_DOUBLE})::DOUBLE * {_DOUBLE} + ({part} % {_DOUBLE})::DOUBLE)"
        part = f"({whole} / pow(2.0, {bits[aggregate.column]}))"
    if function == "sum":
        return f"coalesce({part}, 0.0)"
    return f"({part} / c{number})" if function == "mean" else part


def _equal(view: View, number: int, aggregate: Aggregate, bits: Mapping[str, int]) -> str:
    served, function = _served(view, aggregate), aggregate.function
    value = _value(number, aggregate, bits)
    same = f"{served} IS NOT DISTINCT FROM {value}"
    if (share := quantile(function)) is not None and view.slide:
        low, high = f"l{number} / c{number} - {RANK_ERROR}", f"u{number} / c{number} + {RANK_ERROR}"
        return f"{same} OR coalesce({share} BETWEEN {low} AND {high}, false)"
    if function == "count_distinct" and view.slide:
        return f"{same} OR ({value} > {DISTINCT} AND abs({served} - {value}) <= {DISTINCT_ERROR} * {value})"
    is_exact = function not in ("mean", "std", "var", "time_since_last") and (
        function != "sum" or aggregate.column in bits
    )
    if is_exact:
        return same
    near = f"abs({served} - {value}) <= {TOLERANCE} * greatest(1, abs({value}))"
    return f"{same} OR coalesce({near}, false)"


def _served(view: View, aggregate: Aggregate) -> str:
    return name(f"{view.name}__{aggregate.name}")
