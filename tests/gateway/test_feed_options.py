"""What a feed may ask for: defaults, clamps, and every refusal."""

from typing import Any

import pytest

from consumers.gateway.database import ChangeFilter
from consumers.gateway.errors import Refusal
from consumers.gateway.feed_options import (
    LARGEST_SEQUENCE,
    ChangesBody,
    checked,
    override,
    parse_sequence,
    read_body,
)

REFUSED: list[tuple[dict[str, str], int, str]] = [
    ({"feed": "eventsource"}, 400, "Unknown feed type"),
    ({"feed": "websocket"}, 501, "feed=websocket is not supported by this gateway; use feed=continuous"),
    ({"since": "now"}, 400, "Invalid sequence"),
    ({"since": "-1"}, 400, "Invalid sequence"),
    ({"since": '"1'}, 400, "Invalid sequence"),
    ({"since": "1:2:3:4"}, 400, "Invalid sequence"),
    ({"since": "9" * 65}, 400, "Invalid sequence"),
    ({"limit": "few"}, 400, "limit must be a whole number, not 'few'"),
    ({"limit": "-1"}, 400, "limit must be a whole number, not '-1'"),
    ({"timeout": "1.5"}, 400, "timeout must be a whole number, not '1.5'"),
    ({"heartbeat": "٣"}, 400, "heartbeat must be a whole number, not '٣'"),
    ({"include_docs": "yes"}, 400, "include_docs must be true or false, not 'yes'"),
    ({"filter": "app/mine"}, 400, "Unknown filter; try sync_gateway/bychannel or _doc_ids"),
    ({"filter": "sync_gateway/bychannel"}, 400, "Missing 'channels' filter parameter"),
    ({"filter": "sync_gateway/bychannel", "channels": ","}, 400, "Empty channel list"),
    ({"filter": "_doc_ids"}, 400, "Missing 'doc_ids' filter parameter"),
    ({"filter": "_doc_ids", "doc_ids": "[]"}, 400, "Empty doc_ids list"),
    (
        {"filter": "_doc_ids", "doc_ids": "a", "feed": "longpoll"},
        400,
        "Filter '_doc_ids' is only valid for feed=normal replications",
    ),
    (
        {"filter": "sync_gateway/bychannel", "channels": ",".join(map(str, range(201)))},
        400,
        "201 channels; this gateway follows at most 200 in one feed",
    ),
]
SEQUENCES = [
    ("", 0),
    ("0", 0),
    ("12", 12),
    ("7:12", 12),
    ("5::12", 5),
    ("5:7:12", 5),
    ("9" * 30, LARGEST_SEQUENCE),
]
HEARTBEATS = [(0, None), (1, 25.0), (10_000, 25.0), (30_000, 30.0)]
TIMEOUTS = [(0, 900.0), (60_000, 60.0), (10_000_000, 900.0)]


@pytest.mark.parametrize(("query", "status", "reason"), REFUSED)
def test_what_cannot_be_asked_is_refused(query: dict[str, str], status: int, reason: str) -> None:
    """Each wrong option has its status and its words."""
    with pytest.raises(Refusal) as refused:
        checked(override(ChangesBody(), query))
    assert (refused.value.status, refused.value.reason) == (status, reason)


@pytest.mark.parametrize(("text", "sequence"), SEQUENCES)
def test_sequences_are_read_in_every_form(text: str, sequence: int) -> None:
    """Plain and compound sequences are read; of a compound one with a low part, that part."""
    assert parse_sequence(text) == sequence


@pytest.mark.parametrize(("heartbeat_ms", "expected_s"), HEARTBEATS)
def test_heartbeats_are_at_least_25_seconds(heartbeat_ms: int, expected_s: float | None) -> None:
    """A shorter heartbeat is lengthened to 25 s; 0 is none."""
    assert checked(ChangesBody(heartbeat=heartbeat_ms)).heartbeat_s == expected_s


@pytest.mark.parametrize(("timeout_ms", "expected_s"), TIMEOUTS)
def test_timeouts_are_at_most_15_minutes(timeout_ms: int, expected_s: float) -> None:
    """A longer timeout, or none, is cut to 15 minutes; absent it is 5."""
    assert checked(ChangesBody(timeout=timeout_ms)).timeout_s == expected_s
    assert checked(ChangesBody()).timeout_s == 300


def test_the_query_overrides_the_body_name_by_name() -> None:
    """What the query names counts; the rest comes from the body."""
    body = read_body(b'{"feed":"longpoll","since":3,"limit":5,"include_docs":true,"unknown":1}')
    options = checked(override(body, {"since": '"4"', "include_docs": "false"}))
    assert (options.feed, options.since, options.since_text, options.limit) == ("longpoll", 4, "4", 5)
    assert options.wanted == ChangeFilter(None, False, False)


@pytest.mark.parametrize(
    ("filters", "channels", "ids"),
    [
        ({"channels": "a"}, None, None),
        ({"filter": "sync_gateway/bychannel", "channels": "a,b,a,"}, ("a", "b"), None),
        ({"filter": "sync_gateway/bychannel", "channels": "a,*"}, None, None),
        ({"filter": "_doc_ids", "doc_ids": "a,b"}, None, ("a", "b")),
        ({"filter": "_doc_ids", "doc_ids": '["a,b"]'}, None, ("a,b",)),
    ],
)
def test_filters_select_channels_or_ids(
    filters: dict[str, str], channels: tuple[str, ...] | None, ids: tuple[str, ...] | None
) -> None:
    """Channels without the filter are ignored, `*` is everything, ids come as JSON or with commas."""
    options = checked(override(ChangesBody(), filters))
    assert (options.wanted.channels, options.document_ids) == (channels, ids)


@pytest.mark.parametrize("payload", [b"[]", b'{"limit":"5"}', b'{"channels":["a"]}', b'{"since":1.5}', b"{"])
def test_a_body_of_wrong_types_is_refused(payload: bytes) -> None:
    """A POST body is checked against its types."""
    with pytest.raises(Refusal, match="400 Invalid JSON"):
        read_body(payload)


def test_negative_numbers_in_the_body_are_refused() -> None:
    """Limit, heartbeat and timeout cannot be negative."""
    values: Any
    for values in ({"limit": -1}, {"heartbeat": -1}, {"timeout": -1}):
        with pytest.raises(Refusal, match="must not be negative"):
            checked(ChangesBody(**values))
