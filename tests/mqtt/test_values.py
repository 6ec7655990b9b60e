"""Broker URLs, topic filters and the timer wheel."""

from __future__ import annotations

import pytest

from fleetwire.mqtt.errors import InvalidEndpoint
from fleetwire.mqtt.routing import RoutingTable, matches, without_share
from fleetwire.mqtt.values import Endpoint, SessionOptions, TopicFilter
from fleetwire.mqtt.wheel import Wheel


@pytest.mark.parametrize(
    ("url", "host", "port", "text"),
    [
        ("mqtt://broker", "broker", 1883, "mqtt://broker:1883"),
        ("mqtt://127.0.0.1:7/", "127.0.0.1", 7, "mqtt://127.0.0.1:7"),
        ("mqtts://broker", "broker", 8883, "mqtts://broker:8883"),
        ("mqtt://[::1]:1884", "::1", 1884, "mqtt://[::1]:1884"),
        ("mqtt://[FD00::2]", "fd00::2", 1883, "mqtt://[fd00::2]:1883"),
        ("mqtt://[fe80::1%25eth0]:1", "fe80::1%eth0", 1, "mqtt://[fe80::1%eth0]:1"),
        ("mqtt://[fe80::1%eth0]:1", "fe80::1%eth0", 1, "mqtt://[fe80::1%eth0]:1"),
    ],
)
def test_endpoint_is_read_from_its_url(url: str, host: str, port: int, text: str) -> None:
    """Scheme, host and port of a broker URL are understood, with the usual ports."""
    endpoint = Endpoint.parse(url)
    assert (endpoint.host, endpoint.port, str(endpoint)) == (host, port, text)
    assert (endpoint.tls is not None) == url.startswith("mqtts")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker:1883",
        "http://broker",
        "mqtt://",
        "mqtt://b:99999",
        "mqtt://b:0",
        "mqtt://b/x",
        "mqtt://[::1",
        "mqtt://::1",
        "mqtt://::1:1883",
        "mqtt://[broker]:1883",
    ],
)
def test_unusable_url_is_one_line(url: str) -> None:
    """A URL that cannot be used is an error of one line that says how to write it."""
    with pytest.raises(InvalidEndpoint, match="write mqtt://host:port") as caught:
        Endpoint.parse(url)
    assert "\n" not in str(caught.value)


def test_password_in_a_url_is_refused_and_not_repeated() -> None:
    """Credentials do not belong into a URL, and the error does not show them."""
    with pytest.raises(InvalidEndpoint) as caught:
        Endpoint.parse("mqtt://user:hunter2@broker")
    assert "hunter2" not in str(caught.value)


def test_options_are_checked() -> None:
    """QoS 2, and limits beyond what MQTT can say, are refused at once."""
    with pytest.raises(ValueError, match="QoS"):
        TopicFilter(pattern="a", qos=2)
    with pytest.raises(ValueError, match="keep_alive_s"):
        SessionOptions(client_id="a", keep_alive_s=70_000)
    with pytest.raises(ValueError, match="maximum_packet_size"):
        SessionOptions(client_id="a", maximum_packet_size=10)


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/+", "a", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a", True),
        ("#", "$SYS/a", False),
        ("+/a", "$SYS/a", False),
        ("$SYS/#", "$SYS/a", True),
        ("+", "", True),
        ("a/b", "a/c", False),
    ],
)
def test_filter_matches_as_the_standard_says(pattern: str, topic: str, expected: bool) -> None:
    """Wildcards match as in section 4.7 of MQTT 5."""
    assert matches(pattern, topic) is expected


def test_shared_filter_is_routed_by_its_filter() -> None:
    """A message of a shared subscription finds its handler, the exact filter first, otherwise the first registered."""
    table: RoutingTable[int] = RoutingTable()
    table.add("$share/group/a/+", 1)
    table.add("a/#", 2)
    table.add("a/exact", 3)
    assert without_share("$share/group/a/+") == "a/+"
    assert [table.find(topic) for topic in ("a/b", "a/b/c", "a/exact", "z")] == [1, 2, 3, None]


class _Entry:
    due_tick = 0


def test_wheel_gives_each_entry_once_and_never_early() -> None:
    """An entry is due once its deadline has passed; setting it again replaces the deadline."""
    wheel: Wheel[_Entry] = Wheel(0.05, 1000.0)
    first, second, third = _Entry(), _Entry(), _Entry()
    wheel.set(first, 1000.12)
    wheel.set(second, 1000.12)
    wheel.set(second, 1003.0)
    wheel.set(third, 1000.2)
    wheel.clear(third)
    assert list(wheel.due(1000.11)) == []
    assert list(wheel.due(1000.16)) == [first]
    assert list(wheel.due(1002.9)) == []
    assert list(wheel.due(1100.0)) == [second]
    wheel.set(first, 5.0)
    assert list(wheel.due(1100.06)) == [first]
