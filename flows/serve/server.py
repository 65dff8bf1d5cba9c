"""Runs the application until SIGTERM or Ctrl-C."""

import logging
import signal
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from types import FrameType
from typing import Any

import uvicorn

from flows.errors import ConfigError
from flows.host.printable import PrintableFormatter
from flows.runtime.engine import Engine
from flows.serve.app import application
from flows.serve.audit import AuditLog
from flows.serve.guard import Guard, is_loopback
from flows.serve.listening import Bind, bound
from flows.serve.routes.streams import Streams
from flows.serve.served_pipeline import ServedPipelines
from flows.serve.token_file import TokenFile
from flows.settings import Settings

_GRACE = 5  # seconds for requests in progress when the server stops


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
    tokens = TokenFile(settings.tokens)
    tls = _checked_tls(settings)
    _check_open(settings, tokens, say)
    pipelines = ServedPipelines(engines)
    listening = bind(settings.serve_host, settings.serve_port)
    streams = Streams()
    audit = AuditLog(settings.state_dir)
    guard = Guard(
        application(pipelines, streams),
        tokens,
        audit,
        settings.serve_rate,
        settings.serve_body,
        is_local=is_loopback(settings.serve_host),
        has_tls=bool(tls),
    )
    config = uvicorn.Config(
        guard,
        log_config=None,
        access_log=False,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        proxy_headers=False,  # anybody could write the address of another caller there
        **tls,
    )
    host, port = listening.getsockname()[:2]
    if settings.serve_port not in (0, port):
        say(f"port {settings.serve_port} is in use, so another one is taken; DRIFTLINE_SERVE_PORT sets it")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    say(f"serving {', '.join(pipelines.by_name)} at {'https' if tls else 'http'}://{address}")
    with listening, closing(audit):
        _Server(config, streams).run(sockets=[listening])


def _checked_tls(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options for TLS, none without a certificate; raises `ConfigError`."""
    certificate, key = settings.serve_certificate, settings.serve_key
    if certificate is None and key is None:
        return {}
    if certificate is None or key is None:
        raise ConfigError("DRIFTLINE_SERVE_CERTIFICATE and DRIFTLINE_SERVE_KEY must both be set")
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificate {certificate} and its key {key} cannot be used: {error}; both must be PEM files"
        ) from None
    return {"ssl_certfile": certificate, "ssl_keyfile": key}


def _check_open(settings: Settings, tokens: TokenFile, say: Callable[[str], None]) -> None:
    """Raise `ConfigError` if others could reach a server that asks for no token; warn if it has no TLS."""
    if is_loopback(settings.serve_host):
        tokens.read()
        return
    if not tokens.read().all:
        raise ConfigError(
            f"a server on {settings.serve_host} can be reached from other machines, and there is no token; "
            "make one with `driftline tokens create`"
        )
    if settings.serve_certificate is None:
        say(
            f"warning: on {settings.serve_host} tokens and data travel in plain text; set "
            "DRIFTLINE_SERVE_CERTIFICATE, or let a proxy on this machine speak TLS"
        )


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(asctime)s serve: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
