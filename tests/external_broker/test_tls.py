"""A broker that speaks TLS: the lab goes straight to it, without hops, and checks its certificate."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input.refusal import refusal
from tests.broker import Broker
from tests.external_broker.guarded_broker import guarded_broker, options_for, with_password
from tests.lab.command_line import CommandLine

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate; it is missing")


@pytest.fixture
def secured(make_broker: Callable[..., Broker], tmp_path: Path) -> tuple[Broker, Path]:
    """A Mosquitto with TLS on ``localhost``, and the certificate that clients have to trust."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    broker_files = make_broker()
    for file in (certificate, key):
        broker_files.write(file.name, file.read_bytes())
    folder = broker_files.folder
    lines = (f"certfile {folder / certificate.name}", f"keyfile {folder / key.name}")
    return guarded_broker(make_broker, *lines), certificate


def test_a_lab_over_tls(command_line: CommandLine, secured: tuple[Broker, Path]) -> None:
    """With the certificate trusted (SSL_CERT_FILE) a lab lives, has no hops, and is valid."""
    broker, certificate = secured
    command_line.environment["SSL_CERT_FILE"] = str(certificate)
    lab = with_password(command_line).up(*options_for(broker, scheme="mqtts", host="localhost"))
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


def test_a_port_of_ones_own_needs_hops(command_line: CommandLine) -> None:
    """Over TLS there is no hop that could listen at --port: that is said instead of ignoring it."""
    options = ("--broker", "mqtts://localhost:1", "--yes-external", "--port", 15_999)
    line = refusal(command_line, "up", "--stores", 2, *options)
    assert "--port 15999" in line
    assert "mqtts" in line
