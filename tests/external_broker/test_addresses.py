"""A broker by IPv6, by a name that is an IPv6 address, and by one with several addresses: a lab lives on each."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bad_input.refusal import refusal
from tests.broker import Broker
from tests.external_broker.guarded_broker import guarded_broker, options_for, retained, secured_broker, with_password
from tests.ipv6 import needs_ipv6, with_hosts
from tests.lab.command_line import CommandLine, Lab

MakeBroker = Callable[..., Broker]

pytestmark = needs_ipv6

SEES_ITS_ENVIRONMENT = ("--stage", "olympus_dgs=sh -c 'env > seen; exec sleep 1000'")


def assert_it_lives(command_line: CommandLine, lab: Lab, broker: Broker) -> None:
    """It trades, every command that goes to the broker gets there, and it ends valid with nothing left."""
    lab.wait_for_trade()
    assert command_line.run("tail", "--count", 1).stdout.count("storefleet/lab/") == 1
    assert lab.status()["ready"]
    assert lab.down()["validity"] == "valid"
    assert command_line.run("clean").stdout == "nothing to clean\n"
    assert retained(broker) == set()


def seen(command_line: CommandLine) -> list[str]:
    """The environment of the user's command."""
    return (command_line.folder / "seen").read_text(encoding="utf-8").splitlines()


def test_a_broker_on_ipv6(command_line: CommandLine, make_broker: MakeBroker) -> None:
    """Its address has brackets wherever it is written; the lab's own hops are where they always are."""
    broker = guarded_broker(make_broker, host="::1")
    lab = with_password(command_line).up(*options_for(broker, host="[::1]"), *SEES_ITS_ENVIRONMENT)
    where = f"[::1]:{broker.port}"
    described = lab.description["broker"]
    assert (described["address"], described["url"]) == (where, f"mqtt://{where}")
    upstreams = {hop: ends["upstream"] for hop, ends in lab.description["hops"].items() if hop.endswith("-broker")}
    assert len(upstreams) == 5
    assert set(upstreams.values()) == {where}
    hop = lab.description["hops"]["olympus-broker"]["listen"]
    assert f"STOREFLEET_BROKER_URL=mqtt://{hop}" in seen(command_line)
    assert_it_lives(command_line, lab, broker)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate; it is missing")
def test_a_broker_with_tls_on_ipv6(command_line: CommandLine, make_broker: MakeBroker, tmp_path: Path) -> None:
    """Its certificate is for the address; a stage is told the address as it is written in a URL."""
    broker, certificate = secured_broker(make_broker, tmp_path, host="::1", named="IP:::1")
    options = (*options_for(broker, scheme="mqtts", host="[::1]"), "--broker-ca-file", certificate)
    lab = with_password(command_line).up(*options, *SEES_ITS_ENVIRONMENT)
    url = f"mqtts://[::1]:{broker.port}"
    assert (lab.description["join"], lab.description["broker"]["url"]) == (url, url)
    assert f"STOREFLEET_BROKER_URL={url}" in seen(command_line)
    lab.wait_for_trade()
    assert command_line.run("tail", "--count", 1).stdout.count("storefleet/lab/") == 1
    assert lab.down()["validity"] == "valid"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate; it is missing")
def test_a_certificate_for_another_address(command_line: CommandLine, make_broker: MakeBroker, tmp_path: Path) -> None:
    """A name is no address: the one line says so, with brackets."""
    broker, certificate = secured_broker(make_broker, tmp_path, host="::1", named="DNS:localhost")
    options = (*options_for(broker, scheme="mqtts", host="[::1]"), "--broker-ca-file", certificate)
    line = refusal(with_password(command_line), "up", "--stores", 2, *options)
    assert line.startswith(f"broker [::1]:{broker.port}: mqtts://[::1]:{broker.port}, client ")
    assert "connect to the name in the certificate" in line


def test_a_localhost_that_is_ipv6_alone(command_line: CommandLine, make_broker: MakeBroker) -> None:
    """The lab, its hops and its commands get there by the name."""
    command_line.before = with_hosts(command_line.folder, "::1 localhost\n")
    broker = guarded_broker(make_broker, host="::1")
    lab = with_password(command_line).up(*options_for(broker, host="localhost"))
    assert lab.description["broker"]["url"] == f"mqtt://localhost:{broker.port}"
    assert_it_lives(command_line, lab, broker)


@contextlib.contextmanager
def nobody_answers(port: int) -> Iterator[None]:
    """At [::1] and this port no SYN is answered: its queue of connections is full, and nobody takes any."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6, backlog=0))
        while True:
            try:
                held.enter_context(socket.create_connection(listener.getsockname()[:2], timeout=0.3))
            except TimeoutError:
                break
        yield


def test_a_name_with_an_address_that_is_dead(command_line: CommandLine, make_broker: MakeBroker) -> None:
    """Nobody answers at the first address: the broker is at the second, and all get there. (Dialling has all others.)"""
    command_line.before = with_hosts(command_line.folder, "127.0.0.1 localhost two.test\n::1 two.test\n")
    broker = guarded_broker(make_broker)
    with nobody_answers(broker.port):
        lab = with_password(command_line).up(*options_for(broker, host="two.test"))
        assert_it_lives(command_line, lab, broker)


def test_a_name_with_addresses_that_are_all_dead(command_line: CommandLine, port: int) -> None:
    """Each is named in the one line, with its reason."""
    command_line.before = with_hosts(command_line.folder, "127.0.0.1 localhost two.test\n::1 two.test\n")
    line = refusal(command_line, "up", "--stores", 2, "--broker", f"mqtt://two.test:{port}", "--yes-external")
    assert line.startswith(f"broker two.test:{port}: ")
    assert f"[::1]:{port}: Connection refused" in line
    assert f"127.0.0.1:{port}: Connection refused" in line


def test_an_ipv6_address_where_nobody_is(command_line: CommandLine, port: int) -> None:
    """The one line has it with brackets, however it was written; and without the word for it nothing is tried."""
    url = f"mqtt://[0:0:0:0:0:0:0:1]:{port}"
    assert "--broker [0:0:0:0:0:0:0:1]:" in refusal(command_line, "up", "--stores", 2, "--broker", url)
    line = refusal(command_line, "up", "--stores", 2, "--broker", url, "--yes-external")
    assert line.startswith(f"broker [0:0:0:0:0:0:0:1]:{port}: Connection refused; check --broker")
