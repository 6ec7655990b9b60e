"""The broker: a Mosquitto of our own on a loopback port, or somebody else's that was named and confirmed.

Ours keeps nothing on disk, is bound to loopback, and queues as much as the fleet's window allows (32 unresolved events a
terminal), so that it drops nothing by design. That window does not bound what waits for the lab itself where the lab is the
final read, since no terminal waits for that: there it queues more. Started by root it drops to its own user; it has read its
file by then and needs no other.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fleetwire.errors import SettingsError
from fleetwire.host_port import host_in, host_port
from fleetwire.outcomes import WINDOW

MAXIMUM_PACKET_BYTES: Final = 262_144
QUEUED_FOR_A_READER: Final = 200_000
"""Messages kept for a lab that is the final read of its run and stands still for a while: eight minutes at 400 a second.
The broker keeps a message once, about a kilobyte, so this bounds what a lab that never comes back costs by 200 MB."""
SBIN_FOLDERS: Final = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/sbin",
    "/opt/homebrew/sbin",
    "/opt/homebrew/opt/mosquitto/sbin",
)
BROKER_FORM: Final = "'local' or mqtt[s]://[user@]host[:port]"
_BRACKETS: Final = ", an IPv6 address in brackets"
INSTALL_HINT: Final = "install it (Debian, Ubuntu: sudo apt-get install mosquitto; macOS: brew install mosquitto)"


def find_mosquitto() -> str:
    """Path of the broker's binary: STOREFLEET_MOSQUITTO, PATH, the usual sbin folders; raises SettingsError."""
    named = os.environ.get("STOREFLEET_MOSQUITTO")
    if named:
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise SettingsError(
                f"STOREFLEET_MOSQUITTO={named} is no program that can be run; name Mosquitto's binary, or unset it"
            )
        return named
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN_FOLDERS))
    found = shutil.which("mosquitto", path=folders)
    if found is None:
        raise SettingsError(f"Mosquitto was not found; {INSTALL_HINT}, or set STOREFLEET_MOSQUITTO")
    return found


def require_mosquitto() -> str:
    """Path of the broker's binary, once it has said what it is; raises SettingsError."""
    binary = find_mosquitto()
    if mosquitto_version(binary) == "unknown":
        raise SettingsError(
            f"{binary} is no Mosquitto: asked by -h, it names no version; {INSTALL_HINT}, "
            "or set STOREFLEET_MOSQUITTO to it"
        )
    return binary


def mosquitto_version(binary: str) -> str:
    """The broker's own word for its version, e.g. ``2.0.11``; ``unknown`` when it says nothing usable."""
    try:
        shown = subprocess.run(
            [binary, "-h"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    words = shown.stdout.split()
    return words[2] if words[:2] == ["mosquitto", "version"] and len(words) > 2 else "unknown"


def configuration(port: int, terminals: int, options: Sequence[str] = (), *, read_by_the_lab: bool = False) -> str:
    """The whole configuration file of our own broker; ``options`` are lines of the user's, which come last."""
    queued = max(1_000, WINDOW * terminals * 2, QUEUED_FOR_A_READER if read_by_the_lab else 0)
    return "\n".join(
        (
            f"listener {port} 127.0.0.1",
            "allow_anonymous true",
            "persistence false",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "log_type notice",
            "connection_messages false",
            "sys_interval 1",
            "set_tcp_nodelay true",
            f"max_packet_size {MAXIMUM_PACKET_BYTES}",
            f"max_queued_messages {queued}",
            "max_inflight_messages 0",
            *options,
            "",
        )
    )


def require_free(port: int, option: str) -> None:
    """Raise SettingsError when a port that the user named is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(f"{option} {port}: {error.strerror}; choose another port, or 0 for any") from error


class BrokerAddress:
    """A broker URL taken apart: ``mqtt[s]://[user@]host[:port]``. A password in it is refused: argv is public."""

    __slots__ = ("host", "port", "tls", "username")

    def __init__(self, url: str) -> None:
        user = url.partition("://")[2].rpartition("@")[0]
        if ":" in user:
            raise SettingsError(
                "--broker: a password in the URL would show in the process list; "
                "put it into STOREFLEET_BROKER_PASSWORD or a file (mode 0600) named by --broker-password-file"
            )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SettingsError(f"--broker {url!r}: {error}; expected {BROKER_FORM}{_BRACKETS}") from error
        strange = parts.path not in ("", "/") or parts.query or parts.fragment or port == 0
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or strange:
            raise SettingsError(f"--broker {url!r}: expected {BROKER_FORM}{_BRACKETS}")
        self.tls = parts.scheme == "mqtts"
        self.host = host_in(parts)
        self.port = port or (8883 if self.tls else 1883)
        self.username = parts.username or ""

    @property
    def upstream(self) -> str:
        """``host:port``."""
        return host_port(self.host, self.port)
