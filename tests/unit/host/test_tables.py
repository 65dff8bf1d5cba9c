"""Tables fit 80 columns and pipes, and escape the text of records."""

import io
import logging
import os
import pty
import sys

import pytest
from rich.console import Console

from flows.backtest.summary import print_backtest
from flows.host.printable import PrintableFormatter, printable, printable_json
from flows.host.tables import console, print_line, print_table

LONG = "a_pipeline_with_quite_a_long_name.predictions"
NAMES = ("topic", "records", "share", "lag of the flows that read it")
ROWS = [(LONG, 1_234_567, 0.5, "predict 12, learn 1,234,567"), ("t", 1, None, "")]


def shown(width: int, names=NAMES, rows=ROWS) -> str:
    to = Console(width=width, file=io.StringIO(), markup=False, highlight=False)
    print_table(to, names, rows)
    return to.file.getvalue()  # type: ignore[attr-defined]


def test_a_table_that_fits_has_a_line_for_each_row_and_numbers_to_the_right() -> None:
    lines = shown(120).splitlines()
    assert len(lines) == 4 + len(ROWS)
    assert f"│ {LONG} │ 1,234,567 │ 0.5000 │ predict 12, learn 1,234,567   │" in lines
    assert "│         1 │" in lines[-2]


@pytest.mark.parametrize("width", [20, 80])
def test_a_table_that_does_not_fit_is_a_list_with_every_cell_whole(width: int) -> None:
    text = shown(width)
    assert "…" not in text
    assert [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith("topic")] == [
        LONG,
        "t",
    ]
    assert "lag of the flows that read it  predict 12, learn 1,234,567" in text


def test_a_table_without_rows_has_its_head() -> None:
    assert "records" in shown(80, rows=[])


def test_a_pipe_has_no_width_and_a_terminal_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    print_table(console(), NAMES, [("x" * 500, 1, 0.5, "y" * 500)])
    assert f"│ {'x' * 500} │" in sys.stdout.getvalue()  # type: ignore[attr-defined]
    parent, child = pty.openpty()
    with os.fdopen(child, "w") as terminal, os.fdopen(parent):
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("COLUMNS", "80")
        assert console().width == 80


def test_the_tables_of_a_backtest_are_whole_at_80_columns() -> None:
    drift = {
        "time": "2013-01-01T10:15:00.000Z",
        "kind": "concept",
        "status": "firing",
        "detector": "adwin",
        "severity": "critical",
        "before": 0.2,
        "after": 0.35,
        "kept": 12_345,
        "since": "2013-01-01T00:26:40.000Z",
        "columns": ["origin_departures__mean_delay_24h", "route_arrivals__mean_delay_24h"],
    }
    metrics = {"model": dict.fromkeys(["ROCAUC", "LogLoss", "A", "B", "C", "CrossEntropyOfClasses"], 0.12345)}
    summary = {"pipeline": "p", "events": 5, "labels": 4, "dead_letters": 3, "seconds": 2.0}
    summary |= {"outliers": {"events": 0, "values": {}}, "reasons": [], "fault": None}
    summary |= {"events_per_second": 2, "metrics": metrics, "drift": [drift]}
    to = Console(width=80, file=io.StringIO(), markup=False, highlight=False)
    print_backtest(to, summary)
    text = to.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    for part in (
        drift["time"],
        drift["since"],
        ", ".join(drift["columns"]),
        "CrossEntropyOfClasses",
        "12,345",
    ):
        assert part in text


BAD = "F1\x1b]0;title\x07\x1b[2J\r\n\x9b31m\u202eevil"


def test_control_characters_are_escaped_in_lines_tables_json_and_logs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_line(console(), BAD)
    print_table(console(), (BAD, "b"), [(BAD, 1)])
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(PrintableFormatter("%(asctime)s predict: %(message)s"))
    try:
        raise ValueError(BAD)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "id %s", (BAD,), sys.exc_info())
    handler.handle(record)
    text = capsys.readouterr().out
    assert text.count(r"F1\x1b]0;title\x07\x1b[2J\r\n\x9b31m\u202eevil") == 4
    assert "ValueError: F1\\x1b" in text  # and the first line of the exception's own
    assert all(character.isprintable() for line in text.split("\n") for character in line)


def test_what_is_printable_stays_as_it_is_and_json_stays_json() -> None:
    assert printable("größer, 東京 😀") == "größer, 東京 😀"
    assert printable("\ud800") == r"\ud800"
    assert printable_json('{"a":"\x7f\x9b é"}'.encode()) == b'{"a":"\\u007f\\u009b \xc3\xa9"}'
