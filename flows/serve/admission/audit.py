"""The audit log: each refused request, and each that changes which model is served."""

import logging
import os
import time
from collections.abc import Mapping, MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import orjson

from flows.core.stream.times import iso
from flows.errors import ConfigError

FILE = "serve-audit.jsonl"  # in the state directory
_WHY = "audited"  # in the state of a request
_BYTES, _FILES = 10 * 2**20, 5  # of the log; so that requests cannot fill the disk


class AuditLog:
    """Appends lines of JSON to a file, which is renamed and begun again when it is long."""

    def __init__(self, folder: Path) -> None:
        file = folder / FILE
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.close(descriptor)
            self._handler = RotatingFileHandler(file, maxBytes=_BYTES, backupCount=_FILES, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"the audit log {file} cannot be written: {error.strerror}; let this user write it"
            ) from None

    def write(self, method: str, path: str, status: int, caller: str | None, address: str, why: str) -> None:
        """Append a request and its answer; `caller` is the name of its token."""
        line = {
            "time": iso(time.time_ns() // 1_000_000),
            "method": method,
            "path": path,
            "status": status,
            "caller": caller,
            "address": address,
            "why": why,
        }
        text = orjson.dumps(line).decode()
        self._handler.emit(logging.LogRecord("audit", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


def audited(scope: MutableMapping[str, Any], why: str) -> None:
    """Let the line of a request tell why it was asked, or what it did."""
    scope.setdefault("state", {})[_WHY] = why


def why_of(scope: Mapping[str, Any]) -> str:
    """Return what `audited` was told about a request."""
    why: str = scope.get("state", {}).get(_WHY, "")
    return why
