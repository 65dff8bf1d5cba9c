"""The port of the server: the one that was asked for, or the next one that is free."""

import socket

import pytest
from harness import free_ports

from flows.errors import ConfigError
from flows.serve.admission.listening import NEARBY, bound, bound_nearby

HOST = "127.0.0.1"


def port_of(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


def test_the_next_free_port_is_taken_where_another_project_has_the_first():
    first = free_ports(4)
    with bound_nearby(HOST, first) as one, bound_nearby(HOST, first) as two, bound(HOST, first + 2):
        assert (port_of(one), port_of(two)) == (first, first + 1)
        with bound_nearby(HOST, first) as four:
            assert port_of(four) == first + 3
    with bound_nearby(HOST, first) as again:
        assert port_of(again) == first


def test_any_port_is_free():
    with bound_nearby(HOST, 0) as one, bound_nearby(HOST, 0) as two:
        assert port_of(one) != port_of(two)


@pytest.mark.parametrize("bind", [bound, bound_nearby])
def test_an_address_of_another_machine_is_a_mistake_that_says_what_to_set(bind):
    with pytest.raises(ConfigError, match=r"cannot serve on 192\.0\.2\.1:8471 .* set DRIFTLINE_SERVE_PORT"):
        bind("192.0.2.1", 8471)


def test_it_gives_up_after_some_ports():
    first = free_ports(NEARBY)
    taken = [bound(HOST, first + number) for number in range(NEARBY)]
    try:
        with pytest.raises(ConfigError, match=f"cannot serve on {HOST}:{first} .* to a free port"):
            bound_nearby(HOST, first)
    finally:
        for each in taken:
            each.close()
