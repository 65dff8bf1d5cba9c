"""The delivery rules of the outbox, without HTTP or a clock."""

import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signals import signal

from flows.core.alerting.outbox import (
    MAX_WAITING,
    AlertFilter,
    EndedDelivery,
    Outbox,
    RetryPolicy,
    WebhookResponse,
    interpret_status,
)
from flows.core.stream.broker import Record

TAKEN = WebhookResponse("delivered", "answered 200")
FAILED = WebhookResponse("failed", "answered 500")
GONE = WebhookResponse("gone", "answered 410")


def alert(number: int) -> Record:
    return Record("p.drift", 0, number, 0, b"drift_%d" % number, b"{}", ())


def outbox(*numbers: int, **retries: float) -> Outbox:
    box = Outbox(RetryPolicy(**retries))  # type: ignore[arg-type]
    assert box.put(map(alert, numbers)) == []
    return box


def test_alerts_go_one_at_a_time_and_in_their_order():
    box = outbox(1, 2)
    assert box.next(0.0) == alert(1)
    assert box.next(0.0) == alert(1)
    assert box.answered(TAKEN, 0.0, 1.0) == [EndedDelivery(alert(1), "delivered", "answered 200")]
    assert box.next(0.0) == alert(2)
    assert box.answered(TAKEN, 0.0, 1.0) == [EndedDelivery(alert(2), "delivered", "answered 200")]
    assert box.next(0.0) is None
    assert box.due() is None


def test_an_alert_that_failed_is_not_due_before_its_pause_is_over_and_holds_back_those_behind_it():
    box = outbox(1, 2)
    assert box.answered(FAILED, 100.0, 1.0) == []
    assert box.due() == 101.0
    assert box.next(100.9) is None
    assert box.next(101.0) == alert(1)


def test_the_pauses_double_up_to_the_longest():
    box, now, pauses = outbox(1, attempts=9, longest=50.0), 0.0, []
    while not box.answered(FAILED, now, 1.0):
        pauses.append(box.due() - now)
        now = box.due()
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 50.0, 50.0]


def test_an_endpoint_that_has_too_much_to_do_gets_the_whole_pause_whatever_the_jitter():
    for status in (429, 502, 503, 504):
        box = outbox(1)
        box.answered(interpret_status(status, "", 0.0), 0.0, 0.0)
        box.answered(interpret_status(status, "", 0.0), 1.0, 0.0)
        assert box.due() == 1.0 + 2.0


def test_the_pauses_of_an_endpoint_go_on_growing_when_an_alert_is_given_up():
    box = outbox(1, 2, attempts=3)
    for now in (0.0, 1.0):
        assert box.answered(FAILED, now, 1.0) == []
    assert box.answered(FAILED, 3.0, 1.0) == [EndedDelivery(alert(1), "failed", "answered 500")]
    assert box.due() == 3.0 + 4.0
    assert box.answered(TAKEN, 7.0, 1.0) == [EndedDelivery(alert(2), "delivered", "answered 200")]
    box.put([alert(3)])
    box.answered(FAILED, 100.0, 1.0)
    assert box.due() == 101.0  # after a success they begin anew


@pytest.mark.parametrize(("asked", "pause"), [(0.5, 1.0), (30.0, 30.0), (1e9, 600.0)])
def test_retry_after_lengthens_the_pause_up_to_the_longest(asked, pause):
    box = outbox(1, longest=600.0)
    box.answered(WebhookResponse("failed", "answered 429", asked, throttled=True), 5.0, 1.0)
    assert box.due() == 5.0 + pause


def test_an_alert_is_given_up_when_its_next_attempt_would_be_too_late():
    box = outbox(1, 2, total=10.0)
    assert box.answered(FAILED, 0.0, 1.0) == []
    slow = WebhookResponse("failed", "answered 503", retry_after=11.0)
    assert box.answered(slow, 1.0, 1.0) == [EndedDelivery(alert(1), "failed", "answered 503")]
    assert box.due() == 12.0  # and the endpoint still has its pause


@pytest.mark.parametrize("result", ["rejected", "blocked"])
def test_what_is_refused_for_good_ends_at_once_and_the_next_one_is_due(result):
    box = outbox(1, 2)
    assert box.answered(WebhookResponse(result, "no"), 0.0, 1.0) == [EndedDelivery(alert(1), result, "no")]
    assert box.next(0.0) == alert(2)


def test_an_endpoint_that_is_gone_ends_all_that_waits_and_all_that_comes():
    box = outbox(1, 2)
    ended = box.answered(GONE, 0.0, 1.0)
    assert [(each.record, each.result) for each in ended] == [(alert(1), "gone"), (alert(2), "gone")]
    assert box.disabled
    assert [(each.record, each.result) for each in box.put([alert(3)])] == [(alert(3), "gone")]
    assert box.due() is None


def test_an_outbox_made_anew_knows_its_alerts_its_pause_and_its_attempts():
    box = outbox(1, 2, attempts=3)
    box.answered(FAILED, 0.0, 1.0)
    box.answered(FAILED, 1.0, 1.0)
    again = Outbox(RetryPolicy(attempts=3), pickle.loads(pickle.dumps(box.state())))  # noqa: S301
    assert (again.due(), again.next(3.0)) == (3.0, alert(1))
    assert [each.result for each in again.answered(FAILED, 3.0, 1.0)] == ["failed"]
    assert again.next(7.0) == alert(2)


def test_an_endpoint_that_is_gone_stays_so_after_a_restart_and_not_after_a_change_of_its_settings():
    box = outbox(1)
    box.answered(GONE, 0.0, 1.0)
    assert Outbox(state=box.state()).disabled
    changed = Outbox(state=Outbox.after_change(box.state()))
    assert changed.put([alert(2)]) == []
    assert changed.next(0.0) == alert(2)


def test_after_a_change_of_the_settings_what_waits_goes_to_the_new_endpoint_without_a_pause():
    box = outbox(1, 2)
    box.answered(FAILED, 0.0, 1.0)
    changed = Outbox(state=Outbox.after_change(box.state()))
    assert (changed.next(0.0), changed.attempts) == (alert(1), 0)
    changed.answered(TAKEN, 0.0, 1.0)
    assert changed.next(0.0) == alert(2)


ANSWERS = st.sampled_from(
    [
        TAKEN,
        FAILED,
        WebhookResponse("failed", "answered 429", 40.0, throttled=True),
        WebhookResponse("rejected", "answered 400"),
    ]
)


@given(st.lists(st.tuples(ANSWERS, st.floats(0, 1), st.booleans()), max_size=60))
def test_whatever_is_answered_no_alert_is_lost_or_ends_twice_and_no_attempt_comes_too_early(answers):
    box, now, ended = outbox(*range(5), attempts=4, total=100.0), 0.0, []
    for answer, jitter, restart in answers:
        if box.due() is None:
            break
        assert box.next(box.due() - 0.001) is None
        now = max(now, box.due())
        assert box.next(now) == alert(len(ended))
        ended += box.answered(answer, now, jitter)
        if box.due() is not None:
            assert box.due() >= now + answer.retry_after or answer.result != "failed"
        if restart:
            box = Outbox(RetryPolicy(attempts=4, total=100.0), box.state())
    assert [each.record for each in ended] == [alert(number) for number in range(len(ended))]
    assert len(ended) + len(box.waiting) == 5


@pytest.mark.parametrize("status", [*range(200, 300, 9), 299])
def test_2xx_and_nothing_else_is_success(status):
    assert interpret_status(status, "", 0.0).result == "delivered"


@pytest.mark.parametrize("status", [100, 199, 300, 301, 304, 307, 400, 401, 404, 410, 429, 500, 503, 600])
def test_no_other_status_is_success(status):
    assert interpret_status(status, "", 0.0).result != "delivered"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17.0),
        ("0", 0.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),  # 1,700,000,010 s
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0),  # past
        ("Tue, 14 Nov 2023 23:13:30 +0100", 10.0),
        ("9" * 400, float("inf")),
        *[(text, 0.0) for text in ("", "soon", "-5", "1.5", "\u0661\u0667", "Wed, 99 Oct 2015 07:28:00 GMT")],
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header, seconds):
    assert interpret_status(503, header, 1_700_000_000.0).retry_after == seconds


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        ({}, True),
        ({"pipelines": {"flight_delays", "other"}}, True),
        ({"pipelines": {"other"}}, False),
        ({"kinds": {"concept"}}, True),
        ({"kinds": {"feature"}}, False),
        ({"severities": {"critical"}}, True),
        ({"severities": {"warning"}}, False),
        ({"pipelines": {"flight_delays"}, "kinds": {"concept"}, "severities": {"warning"}}, False),
    ],
)
def test_a_filter_wants_what_is_in_each_of_its_sets_and_an_empty_one_wants_all(wanted, takes):
    chosen = AlertFilter(**{name: frozenset(values) for name, values in wanted.items()})
    assert chosen.matches(signal(1)) is takes
    assert chosen.matches(replace(signal(1), status="resolved")) is takes


def test_more_alerts_than_may_wait_end_as_failed_and_those_that_wait_are_not_touched():
    box = outbox(*range(MAX_WAITING))
    assert [(e.record, e.result) for e in box.put([alert(MAX_WAITING), alert(MAX_WAITING + 1)])] == [
        (alert(MAX_WAITING), "failed"),
        (alert(MAX_WAITING + 1), "failed"),
    ]
    assert list(box.waiting) == [alert(n) for n in range(MAX_WAITING)]
    box.answered(TAKEN, 0.0, 1.0)
    assert box.put([alert(MAX_WAITING + 2)]) == []
