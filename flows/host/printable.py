"""Text from records made safe for a terminal, which obeys control characters."""

import logging
import re

_DELETE_AND_C1 = re.compile(rb"\x7f|\xc2([\x80-\x9f])")  # in UTF-8


def printable(text: str) -> str:
    r"""The text with every character that is not printable escaped as in Python's source.

    >>> print(printable("F1\x1b[2J\r\n\u202e"))
    F1\x1b[2J\r\n\u202e
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, such as a stack trace."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(document: bytes) -> bytes:
    r"""The JSON document with the control characters escaped that JSON allows in strings.

    >>> printable_json('"\x7f \x9b31m é"'.encode()).decode()
    '"\\u007f \\u009b31m é"'
    """
    return _DELETE_AND_C1.sub(lambda found: b"\\u%04x" % (found[1] or found[0])[0], document)


class PrintableFormatter(logging.Formatter):
    """Formats log records in which texts of a producer may stand."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802 (logging's name)
        return printable_lines(super().formatException(ei))  # type: ignore[arg-type]
