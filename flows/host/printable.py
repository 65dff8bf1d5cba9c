"""Escapes control characters in text from records, since a terminal would obey them."""

import logging
import re

_DEL_AND_C1 = re.compile(rb"\x7f|\xc2([\x80-\x9f])")  # in UTF-8


def printable(text: str) -> str:
    r"""Return the text with every unprintable character escaped as in Python's source.

    >>> print(printable("F1\x1b[2J\r\n\u202e"))
    F1\x1b[2J\r\n\u202e
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Escape each line of a text, such as a stack trace."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(document: bytes) -> bytes:
    r"""Return the JSON document with DEL and C1 control characters escaped, which JSON allows in strings.

    >>> printable_json('"\x7f \x9b31m é"'.encode()).decode()
    '"\\u007f \\u009b31m é"'
    """
    return _DEL_AND_C1.sub(lambda found: b"\\u%04x" % (found[1] or found[0])[0], document)


class PrintableFormatter(logging.Formatter):
    """Formats log records that may contain text from records."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802 (logging's name)
        return printable_lines(super().formatException(ei))  # type: ignore[arg-type]
