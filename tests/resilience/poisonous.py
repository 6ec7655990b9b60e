"""Stages that die with their process on an event whose operator is ``poison``, and raise where it is ``surprise``.

Run by a test as a module.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import Any

import consumers.gateway.__main__ as gateway
import consumers.poseidon.stage as poseidon
import consumers.sync_stage.stage as sync
import consumers.views.stage as views
from consumers.feed.event_journal import Event
from consumers.gateway.database import Edit, LocalEdit, Outcome
from consumers.gateway.store import DocumentStore
from consumers.poseidon.fold import Fact, PoseidonFold
from consumers.sync_stage.canonical_documents import Prepared, prepare
from consumers.views.sales import SalesView
from fleetwire import stage
from fleetwire.mqtt import Message
from fleetwire.settings import StageSettings
from fleetwire.topics import Topics

POISON = "poison"
SURPRISE = "surprise"


def die_of(text: object) -> None:
    """End as an abort in native code does, at once and without a word; or raise what nobody foresaw."""
    if POISON in str(text):
        os._exit(9)
    if SURPRISE in str(text):
        raise ZeroDivisionError("nobody foresaw this")


class PoisonousStore(DocumentStore):
    """The gateway's, before it stores anything of a request."""

    async def write(
        self, edits: Sequence[Edit], local_edits: Sequence[LocalEdit] = ()
    ) -> tuple[list[Outcome], list[Outcome]]:
        """As it is, but for poison."""
        die_of([edit.body for edit in edits])
        return await super().write(edits, local_edits)


class PoisonousFold(PoseidonFold):
    """Poseidon's, in the middle of its transaction."""

    def apply(self, connection: sqlite3.Connection, items: Sequence[Fact]) -> None:
        """As it is, but for poison."""
        super().apply(connection, items)
        die_of([item.data for item in items])


class PoisonousSales(SalesView):
    """The sales view, in the middle of its transaction."""

    def apply(self, connection: sqlite3.Connection, items: Sequence[Event]) -> None:
        """As it is, but for poison."""
        super().apply(connection, items)
        die_of([item.data for item in items])


def poisonous_prepare(topics: Topics, message: Message, limit: int) -> Prepared:
    """What the sync stage does with a message, but for poison."""
    die_of(message.payload)
    return prepare(topics, message, limit)


def build(settings: StageSettings) -> Any:
    """The poisonous stage of this name."""
    if settings.stage == "gateway":
        gateway.DocumentStore = PoisonousStore  # type: ignore[misc]
        return gateway.GatewayStage(settings)
    if settings.stage == "poseidon":
        poseidon.PoseidonFold = PoisonousFold  # type: ignore[misc]
        return poseidon.PoseidonStage(settings)
    if settings.stage == "views":
        views.VIEWS = (PoisonousSales, *(view for view in views.VIEWS if view is not SalesView))
        return views.ViewsStage(settings)
    sync.prepare = poisonous_prepare
    return sync.SyncStage(settings)


if __name__ == "__main__":
    stage.main(build)
