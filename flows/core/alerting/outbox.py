"""What becomes of alerts on their way to webhooks: the rules of Standard Webhooks 1.0, without HTTP or clock.

Times are seconds since 1970, durations seconds.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple

from flows.core.drift.signal import DriftSignal
from flows.core.stream.broker import Record

DeliveryResult = Literal["delivered", "gone", "rejected", "blocked", "failed"]

_OF_THE_REQUEST = (400, 413, 415, 422)  # no later attempt with the same body would be answered otherwise
MAX_WAITING = 1000  # alerts that wait for one endpoint; all of them are in each snapshot
_THROTTLES = (429, 502, 503, 504)


class WebhookResponse(NamedTuple):
    """How one attempt ended. `detail` says it in words for a log and holds no secret.

    "gone": the endpoint wants no more (410). "rejected": it refuses this body for good. "blocked": its
    address is not public. "failed": it may be tried again, no earlier than after `retry_after` seconds;
    `throttled` if the endpoint said that it has too much to do.
    """

    result: DeliveryResult
    detail: str
    retry_after: float = 0.0
    throttled: bool = False


def interpret_status(status: int, retry_after: str, now: float) -> WebhookResponse:
    """What an HTTP status means, with the value of the Retry-After header ("" for none).

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
    if status in _OF_THE_REQUEST:
        return WebhookResponse("rejected", detail)
    if 300 <= status < 400:
        detail += "; redirects are not followed, so set the URL to where this one leads"
    return WebhookResponse("failed", detail, _seconds(retry_after, now), status in _THROTTLES)


def _seconds(retry_after: str, now: float) -> float:
    """The seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 where it cannot be read."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


@dataclass(frozen=True)
class RetryPolicy:
    """How long a delivery goes on.

    After the n-th failure in a row the endpoint gets a pause: a random part of `first * 2**(n - 1)`, or all
    of it where the endpoint said that it has too much to do, and no less than its Retry-After; neither is
    followed beyond `longest`. No attempt begins `total` after the first.
    (Exponential backoff with full jitter: M. Brooker, AWS Architecture Blog, 2015.)
    """

    attempts: int = 20
    first: float = 1.0
    longest: float = 3600.0
    total: float = 86_400.0

    def pause(self, failures: int, answer: WebhookResponse, jitter: float) -> float:
        """The seconds until the next attempt; `jitter` is from 0 to 1."""
        backoff = self.first * 2.0 ** min(failures - 1, 62)
        part = backoff if answer.throttled else jitter * backoff
        return min(self.longest, max(part, answer.retry_after))


@dataclass(frozen=True)
class AlertFilter:
    """Which alerts an endpoint wants; an empty set wants all."""

    pipelines: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    severities: frozenset[str] = frozenset()

    def takes(self, signal: DriftSignal) -> bool:
        """Whether the endpoint wants this one."""
        return (
            (not self.pipelines or signal.pipeline in self.pipelines)
            and (not self.kinds or signal.kind in self.kinds)
            and (not self.severities or signal.severity in self.severities)
        )


class EndedDelivery(NamedTuple):
    """An alert whose delivery is over, well or not."""

    record: Record
    result: DeliveryResult
    detail: str


class Outbox:
    """The alerts of one endpoint: one at a time and in order, so that none is resolved before it fires.

    Made anew from what `state` gave it goes on where it was, also with its pauses and with what it knows
    of an endpoint that is gone. At most `MAX_WAITING` alerts wait; what comes beyond ends as failed. `waiting` are
    the alerts, `attempts` those made for the first of them.
    """

    def __init__(
        self, retries: RetryPolicy = RetryPolicy(), state: Any = ((), 0, 0.0, 0, 0.0, False)
    ) -> None:
        self._retries = retries
        self.attempts: int
        self._since: float
        self._failures: int
        self._not_before: float
        self.disabled: bool
        waiting, self.attempts, self._since, self._failures, self._not_before, self.disabled = state
        self.waiting: deque[Record] = deque(waiting)

    @staticmethod
    def after_change(state: Any) -> Any:
        """The state of an outbox whose endpoint is another one now: only what waits is kept."""
        return state[0], 0, 0.0, 0, 0.0, False

    def state(self) -> Any:
        """All that a successor has to know, as plain tuples."""
        waiting = tuple(self.waiting)
        return waiting, self.attempts, self._since, self._failures, self._not_before, self.disabled

    def put(self, records: Iterable[Record]) -> list[EndedDelivery]:
        """Take these alerts; those that end at once, since the endpoint is gone or too many wait."""
        ended = []
        for record in records:
            if len(self.waiting) < MAX_WAITING:
                self.waiting.append(record)
            else:
                ended.append(
                    EndedDelivery(record, "failed", f"{MAX_WAITING:,} alerts wait for this endpoint already")
                )
        return ended + self._abandon() if self.disabled else ended

    def due(self) -> float | None:
        """When the next attempt may begin, if any alert waits."""
        return self._not_before if self.waiting else None

    def next(self, now: float) -> Record | None:
        """The alert to be posted now."""
        return self.waiting[0] if self.waiting and now >= self._not_before else None

    def answered(self, answer: WebhookResponse, now: float, jitter: float) -> list[EndedDelivery]:
        """The alerts that end since the first one's attempt came to `answer`; `jitter` is from 0 to 1."""
        self.attempts += 1
        if self.attempts == 1:
            self._since = now
        if answer.result == "gone":
            self.disabled = True
            return self._abandon()
        if answer.result == "failed":
            self._failures += 1
            self._not_before = now + self._retries.pause(self._failures, answer, jitter)
            if self._may_go_on():
                return []
        else:
            self._failures = 0
        self.attempts = 0
        return [EndedDelivery(self.waiting.popleft(), answer.result, answer.detail)]

    def _may_go_on(self) -> bool:
        in_time = self._not_before <= self._since + self._retries.total
        return in_time and self.attempts < self._retries.attempts

    def _abandon(self) -> list[EndedDelivery]:
        detail = "answered 410, which disables the endpoint until its URL or secret changes"
        ended = [EndedDelivery(record, "gone", detail) for record in self.waiting]
        self.waiting.clear()
        self.attempts = 0
        return ended
