"""Ports of a lab: those of the lab before it are its own from the start, and what is taken is said."""

from __future__ import annotations

import contextlib
import socket
import sys

import pytest

from storefleet.ports import Ports, port_answers


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can hold a port beside its listener")
def test_ports_of_before_are_held_at_once() -> None:
    """Before the first of them is asked for, nobody else gets any of them."""
    before = {"broker": free_port(), "parm-broker": free_port()}
    with contextlib.closing(Ports(before)) as ports:
        for port in before.values():
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
        assert {what: ports.reserve(what) for what in before} == before


def test_a_port_that_is_taken_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Where somebody else listens by now another port is taken, in one line; the others stay."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken, kept = stranger.getsockname()[1], free_port()
        with contextlib.closing(Ports({"broker": taken, "gateway": kept, "never": 0, "none": 99_999})) as ports:
            assert ports.reserve("gateway") == kept
            moved = ports.reserve("broker")
            assert moved not in (taken, kept)
            assert caplog.messages == [f"port {taken} of broker is taken by now; it is at {moved}, see lab.json"]
            assert ports.reserve("never")
            assert ports.reserve("none") < 65_536


async def test_whether_a_port_answers() -> None:
    """It does while somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert await port_answers("127.0.0.1", port)
    assert not await port_answers("127.0.0.1", port)
