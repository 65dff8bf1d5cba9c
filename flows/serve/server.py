"""Runs the application until SIGTERM or Ctrl-C."""

import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn

from flows.errors import ConfigError
from flows.host.printable import PrintableFormatter
from flows.runtime.engine import Engine
from flows.serve.app import application
from flows.serve.served_pipeline import ServedPipelines

_GRACE = 5  # seconds for requests in progress when the server stops
_WAITING = 2048  # connections


class _Server(uvicorn.Server):
    """A server that ends with the exit code 0 on a signal; uvicorn's own raises the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        def stop(number: int, frame: FrameType | None) -> None:
            self.handle_exit(number, frame)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        yield


def serve(engines: Sequence[Engine], say: Callable[[str], None]) -> None:
    """Serve the pipelines of these engines; `say` gets the address once the server listens.

    Raises `ConfigError` if the address cannot be bound.
    """
    settings = engines[0].settings
    _log_to_stderr()
    pipelines = ServedPipelines(engines)
    listening = _bound(settings.serve_host, settings.serve_port)
    config = uvicorn.Config(
        application(pipelines),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    host, port = listening.getsockname()[:2]
    say(f"serving {', '.join(pipelines.by_name)} at http://{f'[{host}]' if ':' in host else host}:{port}")
    with listening:
        _Server(config).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address; raises `ConfigError`."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(_WAITING)
    except (OSError, OverflowError) as error:
        with suppress(NameError):
            found.close()
        raise ConfigError(
            f"cannot serve on {host}:{port} ({error}); set DRIFTLINE_SERVE_PORT to a free port, or to 0 "
            "to have one picked"
        ) from None
    return found


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(asctime)s serve: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
