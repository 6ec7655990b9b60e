"""Host and port as one text, as in the authority of a URL (RFC 3986, 3.2.2): an IPv6 address stands in brackets.

Whatever of ours prints an address, or reads one, does it here: without its brackets nobody knows where the port begins.
"""

from __future__ import annotations

import re
import socket
from typing import Final
from urllib.parse import SplitResult

_FORM: Final = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*:[^\[\]]*)\]|(?P<name>[^\[\]:]+)):(?P<port>[0-9]{1,5})")
LARGEST_PORT: Final = 65_535


def host_port(host: str, port: int) -> str:
    """Such as ``127.0.0.1:1883``, ``broker.test:1883`` or ``[::1]:1883``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_host_port(text: str) -> tuple[str, int]:
    """The two again, the host without brackets; raises ValueError, which says what is expected."""
    found = _FORM.fullmatch(text)
    if found is None or int(found["port"]) > LARGEST_PORT:
        raise ValueError("expected host:port, an IPv6 address as in [::1]:1883")
    return found["ipv6"] or found["name"], int(found["port"])


def host_in(parts: SplitResult) -> str:
    """The host of a URL, without brackets; empty: none. A zone may stand behind ``%25``, as RFC 6874 has it, or ``%``."""
    host = parts.hostname or ""
    return host.replace("%25", "%", 1) if ":" in host else host


def family_of(host: str) -> socket.AddressFamily:
    """What a socket has to be to listen on this address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET
