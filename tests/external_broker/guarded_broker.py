"""Somebody else's broker: it asks for a user and a password, and logs who comes."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import aiomqtt

from tests.broker import Broker
from tests.lab.command_line import CommandLine

USER = "anna"
PASSWORD = f"schwarzes-Gold-{secrets.token_hex(8)}"
"""Of this process alone: tests that run beside it may show theirs, and are looked at too."""
END_OF_RETAINED = "watch/end-of-retained"
"""The broker answers a subscription with its retained messages before anything that is published after it."""
DEADLINE_S = 40.0


def guarded_broker(make_broker: Callable[..., Broker], *lines: str, host: str = "127.0.0.1") -> Broker:
    """A started Mosquitto that lets only :data:`USER` in."""
    assert shutil.which("mosquitto_passwd"), "mosquitto_passwd comes with Mosquitto"
    broker = make_broker("connection_messages true", *lines, anonymous=False, host=host)
    passwords = broker.folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, USER, PASSWORD], check=True, capture_output=True)
    passwords.chmod(0o644)
    broker.add_line(f"password_file {passwords}")
    return broker.start()


def secured_broker(
    make_broker: Callable[..., Broker], folder: Path, *, host: str = "127.0.0.1", named: str = "DNS:localhost"
) -> tuple[Broker, Path]:
    """The same with TLS, and the certificate that clients have to trust; it is for whoever is ``named``."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", f"subjectAltName={named}", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    broker_files = make_broker()
    names = [broker_files.write(file.name, file.read_bytes()) for file in (certificate, key)]
    return guarded_broker(make_broker, f"certfile {names[0]}", f"keyfile {names[1]}", host=host), certificate


def options_for(broker: Broker, *, scheme: str = "mqtt", host: str = "127.0.0.1") -> tuple[str, ...]:
    """What ``storefleet up`` is told to use the broker."""
    return ("--broker", f"{scheme}://{USER}@{host}:{broker.port}", "--yes-external")


def password_file(folder: Path) -> Path:
    """The password in a file that only its owner may read."""
    file = folder / "broker-password"
    file.touch(mode=0o600)
    file.write_text(PASSWORD + "\n", encoding="utf-8")
    return file


def client_ids(broker: Broker) -> set[str]:
    """Everybody who has connected, by the broker's log."""
    return set(re.findall(r"New client connected from \S+ as (\S+) \(", broker.log))


async def retained_topics(broker: Broker) -> set[str]:
    """Every topic with a retained message, as a stranger's client sees them."""
    found: set[str] = set()
    async with aiomqtt.Client(broker.host, broker.port, username=USER, password=PASSWORD, identifier="watch") as client:
        await client.subscribe("#", qos=0)
        await client.publish(END_OF_RETAINED, qos=1)
        async with asyncio.timeout(DEADLINE_S):
            async for message in client.messages:
                if str(message.topic) == END_OF_RETAINED:
                    break
                if message.retain and message.payload:
                    found.add(str(message.topic))
    return found


def retained(broker: Broker) -> set[str]:
    """:func:`retained_topics` for a test that is not asynchronous."""
    return asyncio.run(retained_topics(broker))


def with_password(command_line: CommandLine) -> CommandLine:
    """The user has put the password into the environment."""
    command_line.environment["STOREFLEET_BROKER_PASSWORD"] = PASSWORD
    return command_line
