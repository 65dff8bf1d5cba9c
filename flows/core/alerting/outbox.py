"""The delivery of alerts to one webhook endpoint, by the rules of Standard Webhooks 1.0.

This module does no I/O and reads no clock. Times are seconds since 1970, durations seconds.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple, TypedDict

from flows.core.drift.signal import DriftSignal
from flows.core.stream.broker import Record

DeliveryResult = Literal["delivered", "gone", "rejected", "blocked", "failed"]

MAX_WAITING = 1000  # alerts queued for one endpoint; all of them are stored in each snapshot
_REJECTED = (400, 413, 415, 422)  # a retry of the same body would get the same answer
_THROTTLED = (429, 502, 503, 504)


class WebhookResponse(NamedTuple):
    """The outcome of one attempt; `detail` describes it for the log and contains no secret.

    "gone": the endpoint wants no more alerts (410). "rejected": it will never accept this body. "blocked":
    its address is not public. "failed": retry after at least `retry_after` seconds; `throttled` if the
    endpoint is overloaded.
    """

    result: DeliveryResult
    detail: str
    retry_after: float = 0.0
    throttled: bool = False


def interpret_status(status: int, retry_after: str, now: float) -> WebhookResponse:
    """Return the outcome for an HTTP status and the value of the Retry-After header ("" if missing).

    >>> interpret_status(204, "", 0.0)
    WebhookResponse(result='delivered', detail='answered 204', retry_after=0.0, throttled=False)
    >>> interpret_status(429, "17", 0.0)
    WebhookResponse(result='failed', detail='answered 429', retry_after=17.0, throttled=True)
    """
    detail = f"answered {status}"
    if 200 <= status < 300:
        return WebhookResponse("delivered", detail)
    if status == 410:
        return WebhookResponse("gone", detail)
    if status in _REJECTED:
        return WebhookResponse("rejected", detail)
    if 300 <= status < 400:
        detail += "; redirects are not followed, so set the URL to where this one leads"
    return WebhookResponse("failed", detail, _seconds(retry_after, now), status in _THROTTLED)


def _seconds(retry_after: str, now: float) -> float:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3); 0 if it cannot be parsed."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


@dataclass(frozen=True)
class RetryPolicy:
    """When and how often a delivery is retried.

    The backoff after the n-th consecutive failure is `first * 2**(n - 1)` seconds, of which a random fraction
    is waited (exponential backoff with full jitter: M. Brooker, AWS Architecture Blog, 2015). A throttled
    delivery waits for all of it. The pause is at least the endpoint's Retry-After and at most `longest`. No
    attempt starts later than `total` after the first one.
    """

    attempts: int = 20
    first: float = 1.0
    longest: float = 3600.0
    total: float = 86_400.0

    def pause(self, failures: int, response: WebhookResponse, jitter: float) -> float:
        """Return the seconds until the next attempt; `jitter` is from 0 to 1."""
        backoff = self.first * 2.0 ** min(failures - 1, 62)
        wait = backoff if response.throttled else jitter * backoff
        return min(self.longest, max(wait, response.retry_after))


@dataclass(frozen=True)
class AlertFilter:
    """Selects the alerts for an endpoint; an empty set accepts all."""

    pipelines: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    severities: frozenset[str] = frozenset()

    def matches(self, signal: DriftSignal) -> bool:
        """Return whether the endpoint should get this signal."""
        return (
            (not self.pipelines or signal.pipeline in self.pipelines)
            and (not self.kinds or signal.kind in self.kinds)
            and (not self.severities or signal.severity in self.severities)
        )


class EndedDelivery(NamedTuple):
    """An alert whose delivery succeeded or was given up."""

    record: Record
    result: DeliveryResult
    detail: str


class OutboxState(TypedDict):
    """The state of an outbox as plain values, for snapshots.

    `attempts` were made for the first waiting alert since `began`; `failures` counts consecutive failures.
    """

    waiting: tuple[Record, ...]
    attempts: int
    began: float
    failures: int
    not_before: float
    disabled: bool


class Outbox:
    """The queue of alerts for one endpoint, delivered one at a time and in order.

    Rebuilt from `state()`, it resumes where it stopped, including pauses and a disabled endpoint. At most
    `MAX_WAITING` alerts are queued; further ones fail at once.
    """

    def __init__(self, retries: RetryPolicy = RetryPolicy(), state: OutboxState | None = None) -> None:
        stored = state or _initial_state()
        self._retries = retries
        self.waiting = deque(stored["waiting"])
        self.attempts = stored["attempts"]
        self._began = stored["began"]
        self._failures = stored["failures"]
        self._not_before = stored["not_before"]
        self.disabled = stored["disabled"]

    @staticmethod
    def after_change(state: OutboxState) -> OutboxState:
        """Return the state for an endpoint with new settings: it keeps only the waiting alerts."""
        return _initial_state(state["waiting"])

    def state(self) -> OutboxState:
        """Return the state for a snapshot."""
        return {
            "waiting": tuple(self.waiting),
            "attempts": self.attempts,
            "began": self._began,
            "failures": self._failures,
            "not_before": self._not_before,
            "disabled": self.disabled,
        }

    def put(self, records: Iterable[Record]) -> list[EndedDelivery]:
        """Queue these alerts; return those that fail at once, because of a full queue or a gone endpoint."""
        ended = []
        for record in records:
            if len(self.waiting) < MAX_WAITING:
                self.waiting.append(record)
            else:
                detail = f"the queue of this endpoint is full ({MAX_WAITING:,} alerts)"
                ended.append(EndedDelivery(record, "failed", detail))
        return ended + self._abandon() if self.disabled else ended

    def due(self) -> float | None:
        """Return the time of the next attempt; None if no alert waits."""
        return self._not_before if self.waiting else None

    def next(self, now: float) -> Record | None:
        """Return the alert to post now, if any."""
        return self.waiting[0] if self.waiting and now >= self._not_before else None

    def answered(self, response: WebhookResponse, now: float, jitter: float) -> list[EndedDelivery]:
        """Handle the response to the first alert; return the deliveries that end. `jitter` is from 0 to 1."""
        self.attempts += 1
        if self.attempts == 1:
            self._began = now
        if response.result == "gone":
            self.disabled = True
            return self._abandon()
        if response.result == "failed":
            self._failures += 1
            self._not_before = now + self._retries.pause(self._failures, response, jitter)
            if self._may_retry():
                return []
        else:
            self._failures = 0
        self.attempts = 0
        return [EndedDelivery(self.waiting.popleft(), response.result, response.detail)]

    def _may_retry(self) -> bool:
        in_time = self._not_before <= self._began + self._retries.total
        return in_time and self.attempts < self._retries.attempts

    def _abandon(self) -> list[EndedDelivery]:
        detail = "answered 410, which disables the endpoint until its URL or secret changes"
        ended = [EndedDelivery(record, "gone", detail) for record in self.waiting]
        self.waiting.clear()
        self.attempts = 0
        return ended


def _initial_state(waiting: tuple[Record, ...] = ()) -> OutboxState:
    return {
        "waiting": waiting,
        "attempts": 0,
        "began": 0.0,
        "failures": 0,
        "not_before": 0.0,
        "disabled": False,
    }
