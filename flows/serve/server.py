"""Runs the application until SIGTERM or Ctrl-C."""

import logging
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from types import FrameType

import uvicorn

from flows.core.serving.access.callers import is_loopback
from flows.host.printable import PrintableFormatter
from flows.runtime.access.listening import Certificate, certificate, check_tokens
from flows.runtime.access.token_file import TokenFile
from flows.runtime.engine import Engine
from flows.serve.admission.audit import AuditLog
from flows.serve.admission.connections import MOST_CONNECTIONS, LimitedProtocol
from flows.serve.admission.guard import Guard
from flows.serve.admission.listening import Bind, bound
from flows.serve.app import application
from flows.serve.direct_routes import DirectRoutes
from flows.serve.routes.streams import Streams
from flows.serve.served_pipeline import ServedPipelines
from flows.settings import Settings

_GRACE = 5  # seconds for requests in progress when the server stops
_FILES = 1024  # open ones, beside the connections


class _Server(uvicorn.Server):
    """A server that ends with the exit code 0 on a signal; uvicorn's own raises the signal again."""

    def __init__(self, config: uvicorn.Config, streams: Streams) -> None:
        super().__init__(config)
        self._streams = streams

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        def stop(number: int, frame: FrameType | None) -> None:
            self._streams.end()
            self.handle_exit(number, frame)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        yield


def serve(engines: Sequence[Engine], say: Callable[[str], None], bind: Bind = bound) -> None:
    """Serve the pipelines of these engines; `say` gets the address once the server listens.

    `bind` returns the socket for the address of the settings. Raises `ConfigError` if it cannot be bound.
    """
    settings = engines[0].settings
    _log_to_stderr()
    _allow_connections()
    tokens, tls = TokenFile(settings.tokens), certificate(settings)
    check_tokens(settings.serve_host, tokens, "publish")
    _warn(settings, tls, say)
    pipelines, streams = ServedPipelines(engines), Streams()
    listening = bind(settings.serve_host, settings.serve_port)
    audit = AuditLog(settings.state_dir)
    guard = Guard(
        DirectRoutes(application(pipelines, streams), pipelines),
        tokens,
        audit,
        settings.serve_rate,
        settings.serve_body,
        is_local=is_loopback(settings.serve_host),
        has_tls=tls is not None,
    )
    host, port = listening.getsockname()[:2]
    if settings.serve_port not in (0, port):
        say(f"port {settings.serve_port} is in use, so another one is taken; DRIFTLINE_SERVE_PORT sets it")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    say(f"serving {', '.join(pipelines.by_name)} at {'https' if tls else 'http'}://{address}")
    with listening, closing(audit):
        _Server(_config(guard, tls), streams).run(sockets=[listening])


def _warn(settings: Settings, tls: Certificate | None, say: Callable[[str], None]) -> None:
    if tls is None and not is_loopback(settings.serve_host):
        say(
            f"warning: on {settings.serve_host} tokens and data travel in plain text; set "
            "DRIFTLINE_SERVE_CERTIFICATE, or let a proxy on this machine speak TLS"
        )


def _config(guard: Guard, tls: Certificate | None) -> uvicorn.Config:
    return uvicorn.Config(
        guard,
        http=LimitedProtocol,
        log_config=None,
        access_log=False,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        proxy_headers=False,  # anybody could write the address of another caller there
        ssl_certfile=tls and tls.chain,
        ssl_keyfile=tls and tls.key,
    )


def _allow_connections() -> None:
    """Let the process have as many open files as its connections need, if the system permits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + _FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(asctime)s serve: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
