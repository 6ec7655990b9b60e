"""A canonical device message as a register: whose it is says the topic, what it says the payload."""

from __future__ import annotations

from typing import Final

import msgspec

from fleetwire import bounded_json
from fleetwire.documents import DeviceDocument
from fleetwire.errors import BadPayload
from fleetwire.events import TerminalState
from fleetwire.identity import Terminal
from fleetwire.plain_words import plain
from fleetwire.topics import Topics

MAXIMUM_PAYLOAD_BYTES: Final = 16_384
_LARGEST: Final = 2**63 - 1
"""What the inventory's file can hold."""

_decode = bounded_json.Decoder(TerminalState).decode
_decode_document = bounded_json.Decoder(DeviceDocument).decode


def read_device(topics: Topics, topic: str, payload: bytes) -> DeviceDocument:
    """The register; raises BadPayload."""
    terminal = Terminal.parse(topics.source_of(topic))
    if topic != topics.canonical("device", terminal):
        raise BadPayload("topic_mismatch", f"topic levels of {topic[:200]} contradict {terminal.id}")
    if len(payload) > MAXIMUM_PAYLOAD_BYTES:
        raise BadPayload("oversized", f"{len(payload)} bytes of state; the limit is {MAXIMUM_PAYLOAD_BYTES}")
    state = _read_state(payload)
    if max(state.boot, state.bd_seq) > _LARGEST:
        raise BadPayload("schema", f"boot and bd_seq are at most {_LARGEST}")
    return DeviceDocument(
        terminal=terminal.id,
        online=state.online,
        reason=state.reason,
        boot=state.boot,
        bd_seq=state.bd_seq,
        kind=state.kind,
        serial_number=state.serial_number,
        model=state.model,
        app_version=state.app_version,
        os_version=state.os_version,
    )


def read_document(body: bytes) -> DeviceDocument:
    """A document of the gateway, which anybody may have written; raises BadPayload."""
    try:
        device = _decode_document(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadPayload("schema", plain(error)) from error
    if not (0 <= device.boot <= _LARGEST and 0 <= device.bd_seq <= _LARGEST):
        raise BadPayload("schema", f"boot and bd_seq are 0 to {_LARGEST}")
    return device


def _read_state(payload: bytes) -> TerminalState:
    try:
        payload.decode()
        return _decode(payload)
    except UnicodeDecodeError as error:
        raise BadPayload("not_utf8", str(error)) from error
    except msgspec.ValidationError as error:
        raise BadPayload("schema", plain(error)) from error
    except msgspec.DecodeError as error:
        raise BadPayload("malformed_json", str(error)) from error
