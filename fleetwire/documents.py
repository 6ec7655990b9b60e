"""The documents in the gateway: their ids, their channels, their bodies.

| document id | channel | body | written by |
|---|---|---|---|
| the event's key, ``taco.west.s0042.r01.317`` | ``transaction`` | :class:`TransactionDocument`; never changes | sync stage |
| ``status:{store id}`` | ``status`` | :class:`fleetwire.events.StoreStatus`; greater ``revision`` wins | sync stage |
| ``device:{terminal id}`` | ``device`` | :class:`DeviceDocument`; greater ``(boot, bd_seq)`` wins | olympus_dgs |

Transactions are written with ``new_edits`` false and their deterministic first revision, so the same content twice is a
no-op and another content under the same key is a 409.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Raw, Struct

TRANSACTION_CHANNEL: Final = "transaction"
STATUS_CHANNEL: Final = "status"
DEVICE_CHANNEL: Final = "device"
STATUS_PREFIX: Final = "status:"
DEVICE_PREFIX: Final = "device:"


class TransactionDocument(Struct, frozen=True, kw_only=True):
    """A canonical event as a document; ``key`` is the document's id.

    ``attempt``: which sending of the event was the first to be stored; left out for the first. It is no part of the
    revision, so that a later sending of the same content stays a no-op.
    """

    channels: tuple[str, ...] = (TRANSACTION_CHANNEL,)
    type: str
    source: str
    sequence: int
    time: str
    business_day_date: str
    data: Raw
    attempt: Annotated[int, Meta(ge=1)] = 1


class DeviceDocument(Struct, frozen=True, kw_only=True):
    """What management knows of one terminal."""

    channels: tuple[str, ...] = (DEVICE_CHANNEL,)
    terminal: str
    online: bool
    reason: Literal["birth", "lost", "planned_close"]
    boot: int
    bd_seq: int
    kind: str
    serial_number: str
    model: str
    app_version: str
    os_version: str
