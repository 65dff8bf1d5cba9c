"""A signed package: a folder with a model, the code of its features, and the signature of both."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from . import ed25519

FORMAT = "driftline-edge/1"
MODEL, SIGNATURE = "model.json", "signature.json"

_LARGEST = 64 * 2**20  # bytes of a file


class PackageError(Exception):
    """A package is not signed with the key, is damaged, or is of another format; nothing of it was run."""


def signed(files: Mapping[str, bytes], secret: bytes) -> bytes:
    """Return the signature file for the files of a package."""
    hashes = {name: sha256(content).hexdigest() for name, content in sorted(files.items())}
    told = json.dumps({"format": FORMAT, "files": hashes})
    signature = {
        "key": ed25519.public_key(secret).hex(),
        "signed": told,
        "signature": ed25519.sign(secret, told.encode()).hex(),
    }
    return json.dumps(signature, indent=2).encode()


def read(folder: Path, key: bytes) -> dict[str, bytes]:
    """Return the files of a package whose signature verifies; raises `PackageError`.

    The bytes returned are those that were verified, so a later change of the folder has no effect.
    """
    try:
        raw = json.loads(_content(folder / SIGNATURE))
        told, signature = raw["signed"].encode(), bytes.fromhex(raw["signature"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(f"{folder / SIGNATURE} is no signature of a package: {error}") from None
    if not ed25519.verifies(key, told, signature):
        raise PackageError(
            f"{folder} is not signed with the key {key.hex()}; export it again, or give its key"
        )
    listed = json.loads(told)
    if listed.get("format") != FORMAT:
        raise PackageError(
            f"{folder} must be of format {FORMAT}, got {listed.get('format')!r}; export it again"
        )
    return {name: _verified(folder, name, digest) for name, digest in listed["files"].items()}


def _verified(folder: Path, name: str, digest: str) -> bytes:
    content = _content(folder / name)
    if sha256(content).hexdigest() != digest:
        raise PackageError(f"{folder / name} is not what was signed; export the package again")
    return content


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > _LARGEST:
            raise PackageError(f"{file} must be at most {_LARGEST:,} bytes")
        return file.read_bytes()
    except OSError as error:
        raise PackageError(f"{file} cannot be read: {error.strerror}") from None


def described(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the model's description in a verified package."""
    found: dict[str, Any] = json.loads(files[MODEL])
    return found
