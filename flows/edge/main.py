"""The command `driftline-edge`."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import package
from .model import EdgeModel
from .server import HOST, EdgeServer, answers, encoded

MISTAKE = 2  # the exit code if a person has to correct something first


def main(arguments: Sequence[str] | None = None, key: str = "") -> int:
    """Run the command and return its exit code; `key` is the public key that a copy for devices has."""
    options = _parser(key).parse_args(arguments)
    try:
        files = package.read(options.package, bytes.fromhex(options.key))
    except (package.PackageError, ValueError) as error:
        sys.stderr.write(f"driftline-edge: {error}\n")
        return MISTAKE
    model = EdgeModel(files)
    if options.http is None:
        for answer in answers(sys.stdin.buffer, model.answer):
            sys.stdout.buffer.write(encoded(answer))
            sys.stdout.buffer.flush()
        return 0
    return _serve(model, options.http)


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
    parser.add_argument(
        "--key",
        default=key,
        required=not key,
        metavar="HEX",
        help="the project's public key, 64 hexadecimal digits",
    )
    return parser


def _serve(model: EdgeModel, port: int) -> int:
    def health() -> dict[str, Any]:
        return {"ready": True, "pipeline": model.pipeline, "model": model.version, "learned": model.learned}

    try:
        server = EdgeServer(port, model.answer, health)
    except (OSError, OverflowError) as error:
        sys.stderr.write(f"driftline-edge: --http must be a free port, got {port} ({error})\n")
        return MISTAKE
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stderr.write(f"driftline-edge: http://{HOST}:{server.server_port}\n")
    sys.stderr.flush()
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
