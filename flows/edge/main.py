"""The command `driftline-edge`.

HTTP and SQLite are imported where they are used: they take most of a start.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import package
from .lines import Answer, answers, encoded
from .model import EdgeModel

if TYPE_CHECKING:
    from .outbox import PredictionOutbox

_LOCAL = ("127.0.0.1", "localhost", "::1")
FAULT = 1  # the exit code if the machine fails, such as by a full disk
MISTAKE = 2  # the exit code if a person has to correct something first


def main(arguments: Sequence[str] | None = None, key: str = "") -> int:
    """Run the command and return its exit code; `key` is the public key that a copy for devices has."""
    options = _parser(key).parse_args(arguments)
    try:
        _check(options)
        model = EdgeModel(package.read(options.package, bytes.fromhex(options.key)))
    except (package.PackageError, ValueError) as error:
        return _failed(error, MISTAKE)
    if options.outbox is None:
        return _run(model.answer, model, options.http)
    from .outbox import OutboxError, PredictionOutbox

    try:
        with closing(PredictionOutbox(options.outbox)) as outbox:
            return _run_recorded(model, outbox, options)
    except OutboxError as error:
        return _failed(f"the outbox {options.outbox} failed: {error}; check its disk", FAULT)


def _parser(key: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="driftline-edge",
        description="Score events with an exported model. Events are lines of JSON, "
        '{"id": ..., "features": {...}}, and so are the answers.',
    )
    parser.add_argument("package", type=Path, help="the folder that `driftline export edge` wrote")
    parser.add_argument(
        "--http",
        type=int,
        metavar="PORT",
        help="serve POST /score and GET /health on loopback instead of reading standard input",
    )
    parser.add_argument("--outbox", type=Path, metavar="FILE", help="keep each prediction in this file")
    parser.add_argument(
        "--forward",
        default="",
        metavar="URL",
        help="forward the predictions in the outbox to `driftline collect` whenever it answers",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="the file with the token that `driftline collect` asks for",
    )
    parser.add_argument(
        "--key",
        default=key,
        required=not key,
        metavar="HEX",
        help="the project's public key, 64 hexadecimal digits",
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.forward and options.outbox is None:
        raise ValueError("--forward needs --outbox; name a file")
    if options.forward and not options.forward.startswith(("http://", "https://")):
        raise ValueError(f"--forward must be an http or https URL, got {options.forward!r}")
    if options.token_file is not None:
        _check_token(options.token_file, options.forward)


def _check_token(file: Path, url: str) -> None:
    """Raise `ValueError` for a file without a token, and if others could read the token on its way."""
    from urllib.parse import urlsplit

    from .forwarding import read_token

    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOCAL:
        raise ValueError(f"--token-file needs --forward with an https URL, got {url!r}")
    try:
        read_token(file)
    except OSError as error:
        raise ValueError(f"--token-file must be a file with a token: {error}") from None


def _run_recorded(model: EdgeModel, outbox: "PredictionOutbox", options: argparse.Namespace) -> int:
    """Run with each prediction stored before it is answered, and forwarded if there is a URL."""
    from .forwarding import Forwarder

    forwarder = Forwarder(outbox, options.forward, options.token_file) if options.forward else None

    def answer(event: Any) -> dict[str, Any]:
        found = model.answer(event)
        if "score" in found:
            outbox.add({**found, "time": _now(), "plan": model.plan, "features": model.values(event)})
            if forwarder is not None:
                forwarder.wake()
        return found

    if forwarder is None:
        return _run(answer, model, options.http)
    forwarder.start()
    try:
        return _run(answer, model, options.http)
    finally:
        forwarder.stop()
        if waiting := len(outbox):
            sys.stderr.write(
                f"driftline-edge: {waiting:,} predictions wait in {options.outbox} ({forwarder.fault}); "
                "the next run forwards them\n"
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _run(answer: Answer, model: EdgeModel, port: int | None) -> int:
    if port is not None:
        return _serve(answer, model, port)
    for each in answers(sys.stdin.buffer, answer):
        sys.stdout.buffer.write(encoded(each))
        sys.stdout.buffer.flush()
    return 0


def _serve(answer: Answer, model: EdgeModel, port: int) -> int:
    from .server import HOST, EdgeServer

    def health() -> dict[str, Any]:
        return {"ready": True, "pipeline": model.pipeline, "model": model.version, "learned": model.learned}

    try:
        server = EdgeServer(port, answer, health)
    except (OSError, OverflowError) as error:
        return _failed(f"--http must be a free port, got {port} ({error})", MISTAKE)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stderr.write(f"driftline-edge: http://{HOST}:{server.server_port}\n")
    sys.stderr.flush()
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def _failed(reason: object, code: int) -> int:
    sys.stderr.write(f"driftline-edge: {reason}\n")
    return code
