"""What a server needs before it listens: a certificate for TLS, and tokens where others can reach it."""

import ssl
from pathlib import Path
from typing import NamedTuple

from flows.core.serving.access.callers import is_loopback
from flows.errors import ConfigError
from flows.runtime.access.token_file import TokenFile
from flows.settings import Settings


class Certificate(NamedTuple):
    """The PEM files of a certificate chain and of its private key."""

    chain: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return the context of a server with this certificate; raises `ConfigError`."""
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.chain, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"the certificate {self.chain} and its key {self.key} cannot be used: {error}; both must be "
                "PEM files"
            ) from None
        return context


def certificate(settings: Settings) -> Certificate | None:
    """Return the certificate of the settings, None if they name none; raises `ConfigError`."""
    chain, key = settings.serve_certificate, settings.serve_key
    if chain is None and key is None:
        return None
    if chain is None or key is None:
        raise ConfigError("DRIFTLINE_SERVE_CERTIFICATE and DRIFTLINE_SERVE_KEY must both be set")
    found = Certificate(chain, key)
    found.context()
    return found


def check_tokens(host: str, tokens: TokenFile, scope: str) -> None:
    """Raise `ConfigError` if others can reach a server on this address, and no token is asked for."""
    if not tokens.read().all and not is_loopback(host):
        raise ConfigError(
            f"a server on {host} can be reached from other machines, and there is no token; make one with "
            f"`driftline tokens create NAME --scope {scope}`"
        )
