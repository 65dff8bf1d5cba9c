"""The demo's webhook receiver, with the real sender and with synthetic requests."""

import base64
import http.client
import threading
import time
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook

from flows.adapters.http.receiver import Receiver
from flows.adapters.http.webhooks import Endpoint, Message, Sender
from flows.core.alerting.outbox import WebhookResponse

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def signed(body, webhook_id="drift_1", age=0.0, secret=SECRET):
    now = int(time.time() - age)
    signature = Webhook(secret).sign(webhook_id, datetime.fromtimestamp(now, UTC), body)
    return {"webhook-id": webhook_id, "webhook-timestamp": str(now), "webhook-signature": signature}


@pytest.fixture
def receiver():
    with Receiver(SECRET) as receiver:
        yield receiver


def test_what_the_sender_posts_is_verified_and_kept_decoded(receiver):
    sender = Sender(allow_private=True)
    message = Message("drift_1", b'{"n": 1}', "application/json")
    assert sender.post(Endpoint(receiver.url, SECRET), message) == WebhookResponse(
        "delivered", "answered 204"
    )
    assert receiver.alerts == [{"n": 1}]
    assert (receiver.repeats, receiver.rejected) == (0, 0)


def test_a_repeated_id_counts_as_a_repeat_and_not_as_a_new_alert(receiver):
    for _ in range(3):
        assert httpx.post(receiver.url, content="{}", headers=signed("{}")).status_code == 204
    assert httpx.post(receiver.url, content="{}", headers=signed("{}", "drift_2")).status_code == 204
    assert (len(receiver.alerts), receiver.repeats, receiver.rejected) == (2, 2, 0)


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({}, '{"altered": true}'),
        ({}, b"\xff\xfe"),
        ({"webhook-id": "drift_2"}, "{}"),
        ({"webhook-id": ""}, "{}"),
        ({"webhook-signature": ""}, "{}"),
        ({"webhook-signature": "v1"}, "{}"),
        ({"webhook-signature": "v1,x"}, "{}"),
        ({"webhook-signature": "v1,a,b"}, "{}"),
        ({"webhook-timestamp": "nan"}, "{}"),
    ],
)
def test_what_is_not_signed_as_it_came_is_answered_401_and_not_kept(receiver, changes, body):
    assert httpx.post(receiver.url, content=body, headers=signed("{}") | changes).status_code == 401
    assert (receiver.alerts, receiver.rejected) == ([], 1)


def test_what_is_signed_with_another_secret_is_answered_401(receiver):
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    assert httpx.post(receiver.url, content="{}", headers=signed("{}", secret=other)).status_code == 401
    assert (receiver.alerts, receiver.rejected) == ([], 1)


def test_a_replay_of_an_old_message_is_rejected(receiver):
    assert httpx.post(receiver.url, content="{}", headers=signed("{}", age=600)).status_code == 401
    assert receiver.rejected == 1


def test_a_signed_body_that_is_no_json_is_answered_400(receiver):
    assert httpx.post(receiver.url, content="hello", headers=signed("hello")).status_code == 400
    assert (receiver.alerts, receiver.rejected) == ([], 1)


@pytest.mark.parametrize("length", [None, "100000000", "-1", "two"])
def test_a_body_of_unknown_or_too_great_length_is_answered_400(receiver, length):
    connection = http.client.HTTPConnection("127.0.0.1", httpx.URL(receiver.url).port, timeout=5)
    connection.putrequest("POST", "/")
    if length:
        connection.putheader("content-length", length)
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()
    assert receiver.rejected == 1


def test_it_listens_on_loopback_only(receiver):
    assert receiver.url.startswith("http://127.0.0.1:")


def test_requests_at_the_same_time_are_all_counted(receiver):
    def post(first):
        with httpx.Client() as client:
            for n in range(first, first + 25):
                client.post(receiver.url, content="{}", headers=signed("{}", f"drift_{n % 50}"))

    threads = [threading.Thread(target=post, args=(first,)) for first in (0, 25, 50, 75)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(receiver.alerts), receiver.repeats, receiver.rejected) == (50, 50, 0)
