"""Webhook delivery as Standard Webhooks 1.0 says (https://www.standardwebhooks.com).

A delivery resolves the endpoint's host, refuses an address that is not public unless that is allowed, and
connects to the very address that it checked, so that the name cannot point elsewhere a moment later.

What remains for the network to guard: there is no proxy, a public address may be routed to an inner
service, and resolving a name cannot be cut short. The timeout holds for each wait for the peer, so one
that sends its headers byte by byte holds a delivery up for longer.
"""

import random
import socket
import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import count
from typing import Literal, NamedTuple, Protocol

import httpx
from standardwebhooks import Webhook

from flows.errors import ConfigError

Result = Literal["delivered", "gone", "rejected", "blocked", "failed", "stopped"]
_Judgement = Literal["delivered", "gone", "rejected", "blocked", "failed"]

_WORTH_RETRYING = (408, 425, 429)  # of the 4xx, those that speak of the moment, not of the request
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


@dataclass(frozen=True, repr=False)
class Endpoint:
    """Where alerts are posted to, and the secret that signs them: "whsec_" and base64 of 24 to 64 bytes.

    Raises `ConfigError` for anything but an http or https URL and such a secret.
    """

    url: str
    secret: str

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            # its text may quote a piece of the password
            raise ConfigError("DRIFTLINE_WEBHOOK_URL cannot be read; write it as https://host/path") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError("DRIFTLINE_WEBHOOK_URL must start with http:// or https:// and name a host")
        if not _is_secret(self.secret):
            raise ConfigError(
                "DRIFTLINE_WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64 random bytes; "
                'make one with `echo "whsec_$(openssl rand -base64 32)"`'
            )

    def __str__(self) -> str:
        """The URL without what may be secret in it: user, password, query and fragment.

        >>> str(Endpoint("https://me:pw@example.org/hook?token=1", "whsec_" + "MDEy" * 8))
        'https://example.org/hook'
        """
        url = httpx.URL(self.url)
        return f"{url.scheme}://{url.netloc.decode()}{url.path}"

    def __repr__(self) -> str:
        return f"Endpoint({str(self)!r})"


@dataclass(frozen=True)
class Retries:
    """How long a delivery goes on: times in seconds.

    After the n-th failure it waits a random part of `first * 2**(n - 1)`, and no less than the answer's
    Retry-After; neither is followed beyond `longest`. No attempt begins `total` after the first.
    (Exponential backoff with full jitter: M. Brooker, AWS Architecture Blog, 2015.)
    """

    attempts: int = 10
    first: float = 1.0
    longest: float = 300.0
    total: float = 900.0


@dataclass(frozen=True)
class Outcome:
    """How a delivery ended. `detail` says it in words for a log and holds no secret.

    "gone": the endpoint wants no more (410). "rejected": it refuses this request for good (another 4xx).
    "blocked": its address is not public. "failed": out of attempts or time. "stopped": interrupted by
    the shutdown, so the alert is still to be delivered.
    """

    result: Result
    attempts: int
    detail: str

    @property
    def delivered(self) -> bool:
        """Whether the endpoint took the alert."""
        return self.result == "delivered"


class Stop(Protocol):
    """What a delivery waits on, such as a `threading.Event` that SIGTERM sets."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float) -> bool: ...


class _Answer(NamedTuple):
    judgement: _Judgement
    detail: str
    retry_after: str | None = None


class _NotPublic(Exception):
    pass


class Sender:
    """Posts alerts, one at a time. Setting `stop` ends a wait at once, an exchange after its timeout.

    `timeout` is in seconds, for connecting and for each wait for the peer. `clock` gives seconds since
    1970 and `jitter` a number from 0 to 1.
    """

    def __init__(
        self,
        stop: Stop,
        *,
        allow_private: bool = False,
        timeout: float = 15.0,
        retries: Retries = Retries(),
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._stop = stop
        self._allow_private = allow_private
        self._timeout = timeout
        self._retries = retries
        self._clock = clock
        self._jitter = jitter
        # The bare transport follows no redirect, keeps no cookie and logs no URL, and as connections go
        # by address, none is kept: the next host at the same address must prove its own name.
        self._transport = httpx.HTTPTransport(
            trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    def deliver(self, endpoint: Endpoint, event_id: str, body: bytes, content_type: str) -> Outcome:
        """Post `body` (UTF-8) until the endpoint answers 2xx or the delivery has to end."""
        deadline = self._clock() + self._retries.total
        if self._stop.is_set():
            return Outcome("stopped", 0, "not yet tried")
        for attempt in count(1):
            answer = self._attempt(endpoint, event_id, body, content_type, attempt)
            if answer.judgement != "failed":
                return Outcome(answer.judgement, attempt, answer.detail)
            wait = self._wait(attempt, answer.retry_after)
            if attempt >= self._retries.attempts or self._clock() + wait > deadline:
                break
            if self._stop.wait(wait):
                return Outcome("stopped", attempt, answer.detail)
        return Outcome("failed", attempt, answer.detail)

    def close(self) -> None:
        """Let go of the connections."""
        self._transport.close()

    def _attempt(
        self, endpoint: Endpoint, event_id: str, body: bytes, content_type: str, attempt: int
    ) -> _Answer:
        url = httpx.URL(endpoint.url)
        headers = {
            "host": url.netloc.decode(),
            "user-agent": "driftline",
            "content-type": content_type,
            **_signed(endpoint, event_id, body, int(self._clock())),
        }
        try:
            addresses = self._addresses(url)
            address = addresses[(attempt - 1) % len(addresses)]
            request = self._request(url, address, headers, body)
            with closing(self._transport.handle_request(request)) as response:
                return _judge(response)
        except _NotPublic as error:
            return _Answer("blocked", str(error))
        except httpx.TimeoutException:
            return _Answer("failed", f"no answer within {self._timeout:g} s")
        except httpx.ConnectError as error:
            return _Answer("failed", f"cannot connect: {error}")
        except httpx.HTTPError as error:
            # other texts may quote headers
            return _Answer("failed", f"the exchange broke off ({type(error).__name__})")
        except (OSError, UnicodeError):
            return _Answer("failed", f"cannot resolve the host {url.host}")

    def _request(self, url: httpx.URL, address: str, headers: dict[str, str], body: bytes) -> httpx.Request:
        extensions = {
            "sni_hostname": url.raw_host.decode(),  # the certificate must be the host's, not the address's
            "timeout": httpx.Timeout(self._timeout).as_dict(),
        }
        there = url.copy_with(host=address)
        request = httpx.Request("POST", there, headers=headers, content=body, extensions=extensions)
        if url.userinfo:
            next(httpx.BasicAuth(url.username, url.password).auth_flow(request))
        return request

    def _addresses(self, url: httpx.URL) -> list[str]:
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        found = socket.getaddrinfo(url.raw_host.decode(), port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        if not self._allow_private and not all(map(_is_public, addresses)):
            raise _NotPublic(
                f"the address of {url.host} is not public; "
                "set DRIFTLINE_WEBHOOK_ALLOW_PRIVATE=true if it may be posted to"
            )
        return addresses

    def _wait(self, attempt: int, retry_after: str | None) -> float:
        backoff: float = self._jitter() * self._retries.first * 2 ** (attempt - 1)
        return min(self._retries.longest, max(backoff, _seconds(retry_after, self._clock())))


def _signed(endpoint: Endpoint, event_id: str, body: bytes, now: int) -> dict[str, str]:
    """The headers of the specification; `now` is in whole seconds, as it is signed."""
    signature = Webhook(endpoint.secret).sign(event_id, datetime.fromtimestamp(now, UTC), body.decode())
    return {"webhook-id": event_id, "webhook-timestamp": str(now), "webhook-signature": signature}


def _judge(response: httpx.Response) -> _Answer:
    status = response.status_code
    detail = f"answered {status}"
    if response.is_success:
        return _Answer("delivered", detail)
    if status == 410:
        return _Answer("gone", detail)
    if response.is_client_error and status not in _WORTH_RETRYING:
        return _Answer("rejected", detail)
    if response.has_redirect_location:
        detail += "; redirects are not followed, so set the URL to where this one leads"
    return _Answer("failed", detail, response.headers.get("retry-after"))


def _seconds(retry_after: str | None, now: float) -> float:
    """The seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 where it cannot be read."""
    try:
        return int(retry_after or 0)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(retry_after or "").timestamp() - now
    except (ValueError, OverflowError):
        return 0.0


def _is_secret(secret: str) -> bool:
    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except (Base64Error, ValueError):
        return False
    return secret.startswith("whsec_") and 24 <= len(key) <= 64


def _is_public(address: str) -> bool:
    ip: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(ip, IPv6Address):
        carried = IPv4Address(ip.packed[-4:]) if ip in _NAT64 else ip.ipv4_mapped or ip.sixtofour
        ip = carried or ip
    return ip.is_global and not ip.is_multicast
