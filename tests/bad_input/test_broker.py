"""A broker that cannot be used is told in one line, whatever is wrong with it, and no password is ever echoed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.bad_input.refusal import refusal
from tests.broker import Broker
from tests.lab.command_line import CommandLine

PASSWORD = "open-sesame-4711"


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://127.0.0.1", "mqtt[s]://[user@]host[:port]"),
        ("mqtt://", "mqtt[s]://[user@]host[:port]"),
        ("mqtt://127.0.0.1:99999", "0-65535"),
        ("mqtt://127.0.0.1:0", "mqtt[s]://[user@]host[:port]"),
        ("mqtt://[::1", "IPv6"),
        ("mqtt://::1", "an IPv6 address in brackets"),
        ("mqtt://anna@::1:1883", "an IPv6 address in brackets"),
        ("mqtt://127.0.0.1/topic", "mqtt[s]://[user@]host[:port]"),
        ("", "'local'"),
        (f"mqtt://anna:{PASSWORD}@127.0.0.1", "--broker-password-file"),
        (f"mqtt://:{PASSWORD}@127.0.0.1:1x", "--broker-password-file"),
        (f"mqtt://anna:{PASSWORD}/{PASSWORD}@127.0.0.1", "--broker-password-file"),
    ],
)
def test_a_malformed_url(command_line: CommandLine, url: str, word: str) -> None:
    """A URL that names no broker is shown the form; one with a password is refused without repeating it."""
    line = refusal(command_line, "up", "--broker", url, "--yes-external")
    assert "--broker" in line
    assert word in line
    assert PASSWORD not in line


def test_without_confirmation(command_line: CommandLine) -> None:
    """Somebody else's broker needs a word, and is not touched before it is said."""
    line = refusal(command_line, "up", "--broker", "mqtt://127.0.0.1:1")
    assert "127.0.0.1:1 is not ours" in line
    assert "--yes-external" in line


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1", "Connection refused"), ("no-such-host.invalid", "not known|resolution")],
)
def test_nobody_there(command_line: CommandLine, address: str, reason: str, port: int) -> None:
    """A refused connection and an unknown host end the start at once, with the address."""
    line = refusal(command_line, "up", "--stores", 2, "--broker", f"mqtt://{address}:{port}", "--yes-external")
    assert f"broker {address}:{port}" in line
    assert any(word in line for word in reason.split("|")), line
    assert "check --broker" in line


@pytest.fixture
def mute_peer() -> Iterator[int]:
    """The port of a listener that accepts and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def web_server() -> Iterator[int]:
    """The port of an HTTP server."""

    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is not for this."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_peer_that_never_answers(command_line: CommandLine, mute_peer: int) -> None:
    """After five seconds of silence the line says that this is no broker, or one that hangs."""
    line = refusal(command_line, "up", "--stores", 2, "--broker", f"mqtt://127.0.0.1:{mute_peer}", "--yes-external")
    assert "no CONNACK within 5 s" in line
    assert "check --broker" in line


def test_a_web_server(command_line: CommandLine, web_server: int) -> None:
    """An HTTP server is told to be no broker."""
    line = refusal(command_line, "up", "--stores", 2, "--broker", f"mqtt://127.0.0.1:{web_server}", "--yes-external")
    assert "no MQTT broker" in line
    assert "check --broker" in line


@pytest.mark.skipif(shutil.which("mosquitto_passwd") is None, reason="mosquitto_passwd is not installed")
def test_a_wrong_password(command_line: CommandLine, make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    """A refused password is told with the two ways of giving it, and is not shown."""
    broker = make_broker(anonymous=False)
    passwords = broker.folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "anna", "right"], check=True, capture_output=True)
    passwords.chmod(0o644)
    broker.add_line(f"password_file {passwords}")
    broker.start()
    command_line.environment["STOREFLEET_BROKER_PASSWORD"] = PASSWORD
    url = f"mqtt://anna@127.0.0.1:{broker.port}"
    line = refusal(command_line, "up", "--stores", 2, "--broker", url, "--yes-external")
    assert "not authorized" in line
    assert "STOREFLEET_BROKER_PASSWORD or --broker-password-file" in line
    assert PASSWORD not in line


def test_password_files(command_line: CommandLine, tmp_path: Path) -> None:
    """A password file must be there, and be nobody else's to read."""
    given = ("up", "--stores", 2, "--broker", "mqtt://anna@127.0.0.1:1", "--yes-external", "--broker-password-file")
    assert "no such file" in refusal(command_line, *given, tmp_path / "nowhere")
    open_file = tmp_path / "open"
    open_file.write_text(PASSWORD, encoding="utf-8")
    open_file.chmod(0o644)
    line = refusal(command_line, *given, open_file)
    assert "chmod 600" in line
    assert PASSWORD not in line


@pytest.mark.parametrize(
    ("program", "word"),
    [
        pytest.param("/nowhere/mosquitto", "no program that can be run", id="nothing"),
        pytest.param(".", "no program that can be run", id="a folder"),
        pytest.param("/bin/true", "is no Mosquitto", id="another program"),
        pytest.param("/bin/cat", "is no Mosquitto", id="one that reads its input"),
        pytest.param("./broken", "is no Mosquitto", id="one that cannot be run here"),
    ],
)
def test_a_mosquitto_that_is_none(command_line: CommandLine, program: str, word: str) -> None:
    """STOREFLEET_MOSQUITTO must name the broker's binary; what it names is said, and what to do."""
    broken = command_line.folder / "broken"
    broken.write_bytes(b"\x7fELF is not what this is")
    broken.chmod(0o755)
    command_line.environment["STOREFLEET_MOSQUITTO"] = program
    line = refusal(command_line, "up", "--stores", 2)
    assert program in line
    assert word in line
    assert "STOREFLEET_MOSQUITTO" in line
    found = {finding["check"]: finding for finding in command_line.json("doctor", status=2)}
    assert not found["mosquitto"]["ok"]
