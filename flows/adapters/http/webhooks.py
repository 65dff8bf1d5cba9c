"""Posts to webhooks according to Standard Webhooks 1.0 (https://www.standardwebhooks.com).

`flows.core.alerting.outbox` decides about retries. An attempt resolves the endpoint's host, refuses addresses
that are not public unless they are allowed, and connects to the address that it checked, so that a changed
DNS answer cannot redirect it. No proxy is used; if a public address is routed to an internal service, the
network must block it.

An attempt ends, and its socket is closed, after two timeouts, even if the peer keeps sending slowly. A name
server that does not answer cannot be interrupted: after four timeouts the attempt is left to its thread.
"""

import socket
import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from threading import Event, Thread
from typing import NamedTuple

import httpcore
import httpx
from standardwebhooks import Webhook

from flows.adapters.http.addresses import is_public
from flows.adapters.http.deadline import DeadlineBackend
from flows.core.alerting.outbox import WebhookResponse, interpret_status
from flows.errors import ConfigError
from flows.settings import DEFAULT_WEBHOOK, webhook_variable

_WHOLE = 2  # timeouts that an attempt may take after name resolution
_ABANDONED = 4  # timeouts after which an attempt is left to its thread


class Message(NamedTuple):
    """A message to post: `body` is UTF-8; `id` is the same in every attempt; `headers` are added to it."""

    id: str
    body: bytes
    content_type: str
    headers: Mapping[str, str] = {}


@dataclass(frozen=True, repr=False)
class Endpoint:
    """The URL to which alerts are posted, and the secret that signs them.

    A secret is "whsec_" and the base64 of 24 to 64 bytes. Several secrets, separated by spaces, give one
    signature each, so that a receiver can rotate secrets. Raises `ConfigError`, naming the variable, for an
    invalid URL or secret.
    """

    url: str
    secret: str
    name: str = DEFAULT_WEBHOOK

    def __post_init__(self) -> None:
        variable = webhook_variable(self.name, "URL")
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            # the cause's text may quote a part of the password
            raise ConfigError(f"{variable} must be a valid URL; write it as https://host/path") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError(f"{variable} must start with http:// or https:// and name a host")
        if not self.secrets or not all(map(_is_secret, self.secrets)):
            raise ConfigError(
                f"{webhook_variable(self.name, 'SECRET')} must be whsec_ and the base64 of 24 to 64 random "
                'bytes; make one with `echo "whsec_$(openssl rand -base64 32)"`'
            )

    @property
    def secrets(self) -> list[str]:
        """The secrets; the first is the newest by convention."""
        return self.secret.split()

    @property
    def fingerprint(self) -> str:
        """Hash that changes with the URL or secrets and reveals neither."""
        return sha256(f"{self.url}\n{self.secret}".encode()).hexdigest()

    def __str__(self) -> str:
        """Return scheme, host and port of the URL; the rest may be secret.

        >>> str(Endpoint("https://me:pw@example.org/hook?token=1", "whsec_" + "MDEy" * 8))
        'https://example.org'
        """
        url = httpx.URL(self.url)
        return f"{url.scheme}://{url.netloc.decode()}"

    def __repr__(self) -> str:
        return f"Endpoint({str(self)!r})"


class _NotPublic(Exception):
    pass


class Sender:
    """Posts messages, without retries; thread-safe.

    `timeout` is in seconds, for connecting and for each wait for the peer; `clock` returns seconds since
    1970.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        timeout: float = 15.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._allow_private = allow_private
        self._timeout = timeout
        self._clock = clock
        self._tls = httpx.create_ssl_context(trust_env=False)

    def begin(self, endpoint: Endpoint, message: Message, attempt: int = 0) -> "Exchange":
        """Start to post in a new thread; `attempt` selects one of the host's addresses."""
        return Exchange(lambda: self.post(endpoint, message, attempt), _ABANDONED * self._timeout)

    def post(self, endpoint: Endpoint, message: Message, attempt: int = 0) -> WebhookResponse:
        """Post, and return the outcome."""
        url = httpx.URL(endpoint.url)
        headers = {
            "host": url.netloc.decode(),
            "user-agent": "driftline",
            "content-type": message.content_type,
            **message.headers,
            **_signed(endpoint, message, int(self._clock())),
        }
        try:
            addresses = self._addresses(url)
            request = self._request(url, addresses[attempt % len(addresses)], headers, message.body)
            return self._exchange(request)
        except _NotPublic as error:
            return WebhookResponse("blocked", str(error))
        except httpcore.TimeoutException:
            return _silent(self._timeout)
        except httpcore.ConnectError as error:
            return WebhookResponse("failed", f"cannot connect: {error}")
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            # the error's text may quote headers
            return WebhookResponse("failed", f"the exchange broke off ({type(error).__name__})")
        except (OSError, UnicodeError):
            return WebhookResponse("failed", f"cannot resolve the host {url.host}")

    def _exchange(self, request: httpcore.Request) -> WebhookResponse:
        """Send the request over a new connection.

        A bare connection pool follows no redirects, keeps no cookies and logs no URLs. It is keyed by
        address and must not be reused: another host at that address has to present its own certificate.
        """
        backend = DeadlineBackend(time.monotonic() + _WHOLE * self._timeout)
        with (
            httpcore.ConnectionPool(self._tls, network_backend=backend) as pool,
            closing(pool.handle_request(request)) as response,
        ):
            after = httpx.Headers(response.headers).get("retry-after", "")
            return interpret_status(response.status, after, self._clock())

    def _request(
        self, url: httpx.URL, address: str, headers: dict[str, str], body: bytes
    ) -> httpcore.Request:
        extensions = {
            "sni_hostname": url.raw_host.decode(),  # the certificate must be the host's, not the address's
            "timeout": httpx.Timeout(self._timeout).as_dict(),
        }
        request = httpx.Request("POST", url.copy_with(host=address), headers=headers, content=body)
        if url.userinfo:
            next(httpx.BasicAuth(url.username, url.password).auth_flow(request))
        there = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        return httpcore.Request(
            "POST", there, headers=request.headers.raw, content=body, extensions=extensions
        )

    def _addresses(self, url: httpx.URL) -> list[str]:
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        found = socket.getaddrinfo(url.raw_host.decode(), port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        if not self._allow_private and not all(map(is_public, addresses)):
            raise _NotPublic(
                f"the address of {url.host} is not public; "
                "set DRIFTLINE_WEBHOOK_ALLOW_PRIVATE=true if it may be posted to"
            )
        return addresses


class Exchange:
    """An attempt that runs in its own thread; abandoned after `longest` seconds."""

    def __init__(self, post: Callable[[], WebhookResponse], longest: float) -> None:
        self._post = post
        self._longest = longest
        self._until = time.monotonic() + longest
        self._answer: WebhookResponse | None = None
        self._over = Event()
        Thread(target=self._run, daemon=True).start()

    def answer(self, wait: float = 0.0) -> WebhookResponse | None:
        """Return the outcome, or None if it is not known within `wait` seconds."""
        if self._over.wait(wait):
            return self._answer or WebhookResponse("failed", "the exchange broke off")
        return _silent(self._longest) if time.monotonic() >= self._until else None

    def _run(self) -> None:
        try:
            self._answer = self._post()
        finally:
            self._over.set()


def _silent(seconds: float) -> WebhookResponse:
    return WebhookResponse("failed", f"no answer within {seconds:g} s")


def _signed(endpoint: Endpoint, message: Message, now: int) -> dict[str, str]:
    """Return the headers of the specification; `now` is in whole seconds."""
    moment, body = datetime.fromtimestamp(now, UTC), message.body.decode()
    signatures = [Webhook(secret).sign(message.id, moment, body) for secret in endpoint.secrets]
    return {
        "webhook-id": message.id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(signatures),
    }


def _is_secret(secret: str) -> bool:
    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except (Base64Error, ValueError):
        return False
    return secret.startswith("whsec_") and 24 <= len(key) <= 64
