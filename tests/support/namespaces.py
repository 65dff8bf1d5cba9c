"""Two hosts on one machine: network namespaces connected by a pair of virtual interfaces."""

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest
from harness import NOT_TESTED

CLONE_NEWNET = 0x40000000


class Host:
    """A network namespace with an address in the shared network and its own loopback."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.command = ("ip", "netns", "exec", name)  # begins a command that is to run there

    def reaches(self, port: int) -> None:
        """Forward a port of its loopback to the same port of this process's loopback."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        _enter(there)
        try:
            server = socket.create_server(("127.0.0.1", port))
        finally:
            _enter(here)
            os.close(here)
            os.close(there)
        Thread(target=_serve, args=(server, port), daemon=True).start()


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Yield two hosts that reach only each other; skip the test where namespaces are not permitted."""
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip(NOT_TESTED + "several hosts: network namespaces need root and iproute2")
    name = f"dl{uuid4().hex[:8]}"
    hosts = Host(f"{name}a", "10.77.0.1"), Host(f"{name}b", "10.77.0.2")
    try:
        try:
            for host in hosts:
                _ip("netns", "add", host.name)
            pair = ("link", "add", "host", "netns", hosts[0].name, "type", "veth")
            _ip(*pair, "peer", "name", "host", "netns", hosts[1].name)
            for host in hosts:
                _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "host")
                for device in ("lo", "host"):
                    _ip("-n", host.name, "link", "set", device, "up")
        except subprocess.CalledProcessError as refused:
            pytest.skip(f"{NOT_TESTED}several hosts: {refused.stderr.decode().strip()}")
        yield hosts
    finally:
        for host in hosts:
            if Path(f"/run/netns/{host.name}").exists():
                _ip("netns", "delete", host.name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _enter(namespace: int) -> None:
    """Move the calling thread into a network namespace; its existing sockets stay in the old one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _serve(server: socket.socket, port: int) -> None:
    while True:
        inside, _ = server.accept()
        outside = socket.create_connection(("127.0.0.1", port))
        for ends in ((inside, outside), (outside, inside)):
            Thread(target=_copy, args=ends, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
