"""A broker that speaks TLS: the lab goes straight to it, without hops, and checks its certificate."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input.refusal import refusal
from tests.broker import Broker
from tests.external_broker.guarded_broker import guarded_broker, options_for, secured_broker, with_password
from tests.lab.command_line import CommandLine, until

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate; it is missing")


@pytest.fixture
def secured(make_broker: Callable[..., Broker], tmp_path: Path) -> tuple[Broker, Path]:
    """A Mosquitto with TLS on ``localhost``, and the certificate that clients have to trust."""
    return secured_broker(make_broker, tmp_path)


@pytest.fixture
def vouched(make_broker: Callable[..., Broker], tmp_path: Path) -> tuple[Broker, Path]:
    """A Mosquitto with TLS on ``localhost`` whose certificate an authority of its own has signed, and that authority."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=tmp_path)

    authority = tmp_path / "eine Autorität.pem"
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", "authority.key", "-out", authority.name,
    )  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "broker.key", "-out", "asked")
    (tmp_path / "extensions").write_text(
        "subjectAltName=DNS:localhost\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    openssl(
        "x509", "-req", "-in", "asked", "-CA", authority.name, "-CAkey", "authority.key", "-CAcreateserial",
        "-days", "2", "-extfile", "extensions", "-out", "broker.pem",
    )  # fmt: skip
    broker_files = make_broker()
    files = [broker_files.write(name, (tmp_path / name).read_bytes()) for name in ("broker.pem", "broker.key")]
    return guarded_broker(make_broker, f"certfile {files[0]}", f"keyfile {files[1]}"), authority


def over_tls(broker: Broker) -> tuple[str, ...]:
    """The options for a broker on ``localhost``."""
    return options_for(broker, scheme="mqtts", host="localhost")


@pytest.mark.parametrize("by", ["option", "environment"])
def test_an_authority_of_ones_own(command_line: CommandLine, vouched: tuple[Broker, Path], by: str) -> None:
    """Everything trusts the named authority: the lab, its stages, ``tail``, and the user's command, by its environment."""
    broker, authority = vouched
    options: tuple[object, ...] = ("--stage", "olympus_dgs=sh -c 'env > seen; exec sleep 1000'")
    if by == "option":
        options = (*options, "--broker-ca-file", authority.name)
    else:
        command_line.environment["STOREFLEET_BROKER_CA_FILE"] = authority.name
    lab = with_password(command_line).up(*over_tls(broker), *options)
    assert lab.description["broker"]["ca_file"] == str(authority)
    seen = (command_line.folder / "seen").read_text(encoding="utf-8").splitlines()
    assert f"STOREFLEET_BROKER_CA_FILE={authority}" in seen
    lab.wait_for_trade()
    command_line.environment.pop("STOREFLEET_BROKER_CA_FILE", None)
    assert command_line.run("tail", "--count", 1).stdout.count("storefleet/lab/") == 1
    assert lab.down()["validity"] == "valid"


def test_clean_trusts_the_authority_of_the_lab(command_line: CommandLine, vouched: tuple[Broker, Path]) -> None:
    """What a crashed lab has left on the broker is cleared without naming the authority again."""
    broker, authority = vouched
    with_password(command_line)
    lab = command_line.up(*over_tls(broker), "--without", "parm", "--broker-ca-file", authority)
    identity = lab.identities()["lab"]
    identity.signal(signal.SIGKILL)
    until(lambda: not identity.alive(), "the lab is gone")
    assert "cleared" in command_line.run("clean").stdout


@pytest.mark.parametrize(
    ("file", "says"),
    [("none.pem", "No such file"), (".", "Is a directory"), ("text.pem", "no certificate")],
)
def test_an_authority_that_is_none(command_line: CommandLine, file: str, says: str) -> None:
    """A file that is not there, cannot be read or holds no certificate is one line, before anything is tried."""
    (command_line.folder / "text.pem").write_text("no certificate at all")
    options = ("--broker", "mqtts://localhost:1", "--yes-external", "--broker-ca-file", file)
    line = refusal(command_line, "up", "--stores", 2, *options)
    assert f"certificate authority {command_line.folder / file}: " in line
    assert says in line
    assert "--broker-ca-file" in line


@pytest.mark.parametrize("broker", [(), ("--broker", "mqtt://localhost:1", "--yes-external")])
def test_an_authority_without_tls(command_line: CommandLine, broker: tuple[str, ...]) -> None:
    """Where no certificate is shown, an authority that was named is refused; one of the environment does not matter."""
    line = refusal(command_line, "up", "--stores", 2, *broker, "--broker-ca-file", "authority.pem")
    assert "not mqtts://" in line


def test_a_lab_over_tls(command_line: CommandLine, secured: tuple[Broker, Path]) -> None:
    """With the certificate trusted (SSL_CERT_FILE) a lab lives, has no hops, and is valid."""
    broker, certificate = secured
    command_line.environment["SSL_CERT_FILE"] = str(certificate)
    lab = with_password(command_line).up(*over_tls(broker))
    assert lab.description["hops"] == {}
    assert lab.description["join"].startswith("mqtts://localhost:")
    lab.wait_for_trade()
    assert lab.down()["validity"] == "valid"


def test_an_unknown_certificate(command_line: CommandLine, secured: tuple[Broker, Path]) -> None:
    """A certificate that nobody vouches for ends the start in one line."""
    broker, _ = secured
    line = refusal(
        with_password(command_line), "up", "--stores", 2, *options_for(broker, scheme="mqtts", host="localhost")
    )
    assert "certificate" in line
    assert "--broker-ca-file" in line


def test_a_port_of_ones_own_needs_hops(command_line: CommandLine) -> None:
    """Over TLS there is no hop that could listen at --port: that is said instead of ignoring it."""
    options = ("--broker", "mqtts://localhost:1", "--yes-external", "--port", 15_999)
    line = refusal(command_line, "up", "--stores", 2, *options)
    assert "--port 15999" in line
    assert "mqtts" in line
