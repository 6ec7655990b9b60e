"""Host and port as one text: what is printed is read again, and what is ambiguous is refused."""

from __future__ import annotations

import pytest

from fleetwire.host_port import host_port, read_host_port


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("127.0.0.1", 1883, "127.0.0.1:1883"),
        ("broker.test", 65_535, "broker.test:65535"),
        ("::1", 1883, "[::1]:1883"),
        ("fd00::2", 0, "[fd00::2]:0"),
        ("::ffff:127.0.0.1", 8883, "[::ffff:127.0.0.1]:8883"),
        ("fe80::1%eth0", 1, "[fe80::1%eth0]:1"),
    ],
)
def test_both_ways(host: str, port: int, text: str) -> None:
    """An IPv6 address stands in brackets, whatever else there is in it; nothing else does."""
    assert host_port(host, port) == text
    assert read_host_port(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", "::1", "::1:1883", "[::1]", "[::1]1883", "[::1:1883", "::1]:1883", "[]:1883", "[broker]:1883", "a:b:1883",
     "[[::1]]:1883", "[::1]:65536", "broker:1883\n", "broker: 1883"],
)  # fmt: skip
def test_what_is_no_host_and_port(text: str) -> None:
    """Where nobody knows where the port begins, or whether a bracket belongs there, nothing is guessed."""
    with pytest.raises(ValueError, match=r"expected host:port, an IPv6 address as in \[::1\]:1883"):
        read_host_port(text)
