"""What a client asks of `_changes`, from the query or the JSON body, checked and bounded.

Stricter than Sync Gateway, which takes a number that it cannot read for absent: here it is 400, so that a mistake
of a reader shows.
"""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from consumers.gateway.database import ChangeFilter
from consumers.gateway.document_text import checked_json, invalid_json
from consumers.gateway.errors import Refusal
from fleetwire import bounded_json

Feed = Literal["normal", "longpoll", "continuous"]

DEFAULT_TIMEOUT_MS = 300_000
MAXIMUM_TIMEOUT_MS = 900_000
MINIMUM_HEARTBEAT_MS = 25_000
MAXIMUM_CHANNELS = 200
MAXIMUM_DOCUMENT_IDS = 10_000
LARGEST_SEQUENCE = 2**63 - 1

BY_CHANNEL = "sync_gateway/bychannel"
BY_DOCUMENT_ID = "_doc_ids"

_FEEDS: dict[str, Feed] = {
    "": "normal",
    "normal": "normal",
    "longpoll": "longpoll",
    "continuous": "continuous",
}
_SEQUENCE = re.compile(r"(?:(?P<low>\d*):)?(?:(?P<trigger>\d*):)?(?P<plain>\d+)", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": False}


class ChangesBody(msgspec.Struct):
    """The JSON body of `POST _changes`; the query overrides it name by name."""

    feed: str = ""
    since: int | str | None = None
    limit: int = 0
    style: str = ""
    include_docs: bool = False
    active_only: bool = False
    filter: str = ""
    channels: str | None = None
    doc_ids: list[str] | None = None
    heartbeat: int = 0
    timeout: int = DEFAULT_TIMEOUT_MS
    request_plus: bool = False
    accept_encoding: str = ""


class FeedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One feed: `limit` 0 is no limit, `heartbeat_s` None none; `document_ids` None means no such filter."""

    feed: Feed = "normal"
    since: int = 0
    since_text: str = "0"
    limit: int = 0
    wanted: ChangeFilter = ChangeFilter()
    document_ids: tuple[str, ...] | None = None
    timeout_s: float = DEFAULT_TIMEOUT_MS / 1000
    heartbeat_s: float | None = None


_body_decoder = bounded_json.Decoder(ChangesBody)
_ids_decoder = bounded_json.Decoder(list[str])
_text_decoder = bounded_json.Decoder(str)


def read_body(payload: bytes) -> ChangesBody:
    """The body of a POST. Raises Refusal 400."""
    text = checked_json(payload)
    try:
        return _body_decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise invalid_json(error) from error


def override(body: ChangesBody, query: Mapping[str, str]) -> ChangesBody:
    """The body with what the query says in its place. Raises Refusal 400."""
    changes: dict[str, object] = {}
    for name in ("feed", "style", "filter", "channels", "since"):
        if name in query:
            changes[name] = query[name]
    for name in ("limit", "heartbeat", "timeout"):
        if name in query:
            changes[name] = whole_number(query, name)
    for name in ("include_docs", "active_only", "request_plus"):
        if name in query:
            changes[name] = boolean(query, name)
    if query.get("doc_ids"):
        changes["doc_ids"] = _document_ids(query["doc_ids"])
    return msgspec.structs.replace(body, **changes)


def checked(body: ChangesBody, minimum_heartbeat_ms: int = MINIMUM_HEARTBEAT_MS) -> FeedOptions:
    """The feed that is asked for. Raises Refusal."""
    if body.feed == "websocket":
        raise Refusal(501, "feed=websocket is not supported by this gateway; use feed=continuous")
    if body.feed not in _FEEDS:
        raise Refusal(400, "Unknown feed type")
    if min(body.limit, body.heartbeat, body.timeout) < 0:
        raise Refusal(400, "limit, heartbeat and timeout must not be negative")
    since_text = _unquoted(str(body.since)) if body.since is not None else "0"
    heartbeat_ms = max(body.heartbeat, minimum_heartbeat_ms) if body.heartbeat else 0
    channels, document_ids = _filters(body)
    return FeedOptions(
        feed=_FEEDS[body.feed],
        since=parse_sequence(since_text),
        since_text=since_text or "0",
        limit=body.limit,
        wanted=ChangeFilter(channels, body.include_docs, body.active_only),
        document_ids=document_ids,
        timeout_s=min(body.timeout or MAXIMUM_TIMEOUT_MS, MAXIMUM_TIMEOUT_MS) / 1000,
        heartbeat_s=heartbeat_ms / 1000 if heartbeat_ms else None,
    )


def parse_sequence(text: str) -> int:
    """The sequence after which to go on; of `low::sequence` the low one, which is the safe one. Raises Refusal 400.

    A sequence beyond the largest that a database can hold counts as that one.
    """
    if not text:
        return 0
    match = _SEQUENCE.fullmatch(text)
    if match is None or len(text) > 64:
        raise Refusal(400, "Invalid sequence")
    is_compound_with_low = match["trigger"] is not None and match["low"]
    return min(int(match["low"] if is_compound_with_low else match["plain"]), LARGEST_SEQUENCE)


def whole_number(query: Mapping[str, str], name: str, default: int = 0) -> int:
    """A number of at most 15 digits from the query. Raises Refusal 400."""
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Refusal(400, f"{name} must be a whole number, not {text[:40]!r}")
    return int(text)


def boolean(query: Mapping[str, str], name: str) -> bool:
    """`true` or `false` from the query, false when absent. Raises Refusal 400."""
    text = query.get(name, "")
    if text not in _BOOLEANS:
        raise Refusal(400, f"{name} must be true or false, not {text[:40]!r}")
    return _BOOLEANS[text]


def _filters(body: ChangesBody) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    if body.filter == "":
        return None, None
    if body.filter == BY_CHANNEL:
        return _followed_channels(body.channels), None
    if body.filter == BY_DOCUMENT_ID:
        return None, _followed_ids(body)
    raise Refusal(400, "Unknown filter; try sync_gateway/bychannel or _doc_ids")


def _followed_channels(text: str | None) -> tuple[str, ...] | None:
    if not text:
        raise Refusal(400, "Missing 'channels' filter parameter")
    channels = tuple(dict.fromkeys(name for name in text.split(",") if name))
    if not channels:
        raise Refusal(400, "Empty channel list")
    if len(channels) > MAXIMUM_CHANNELS:
        raise Refusal(400, f"{len(channels)} channels; this gateway follows at most {MAXIMUM_CHANNELS} in one feed")
    return None if "*" in channels else channels


def _followed_ids(body: ChangesBody) -> tuple[str, ...]:
    if body.feed not in ("", "normal"):
        raise Refusal(400, "Filter '_doc_ids' is only valid for feed=normal replications")
    if body.doc_ids is None:
        raise Refusal(400, "Missing 'doc_ids' filter parameter")
    if not body.doc_ids:
        raise Refusal(400, "Empty doc_ids list")
    if len(body.doc_ids) > MAXIMUM_DOCUMENT_IDS:
        raise Refusal(400, f"{len(body.doc_ids)} doc_ids; this gateway takes at most {MAXIMUM_DOCUMENT_IDS}")
    return tuple(dict.fromkeys(body.doc_ids))


def _document_ids(text: str) -> list[str]:
    try:
        return _ids_decoder.decode(text)
    except msgspec.MsgspecError:
        return text.split(",")


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return _text_decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise Refusal(400, "Invalid sequence") from error
