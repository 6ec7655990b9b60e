"""The bodies of documents that hold another content than the ledger's, kept so that a verdict can show what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fleetwire import bounded_json
from fleetwire.documents import TRANSACTION_CHANNEL
from fleetwire.errors import FleetError
from fleetwire.identity import Key
from storefleet.verdict.history import Ledger, SourceLedger
from storefleet.verdict.ledger_file import read_ledger

LIMIT: Final = 100
SIZE_LIMIT_BYTES: Final = 65_536
BODY: Final = ("type", "time", "business_day_date", "data", "source", "sequence", "key")
_NOBODY: Final = SourceLedger()


class AlteredDocuments:
    """Looks at every document of a final read; ``bodies`` holds the first LIMIT that are altered, by key text."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.bodies: dict[str, Any] = {}

    def look(self, key: Key, digest: bytes, document: bytes) -> None:
        """Keep what the document says if the ledger has another content under its key."""
        entries = self._ledger.sources.get(key.source, _NOBODY)
        if len(self.bodies) >= LIMIT or key.sequence not in entries.sequences:
            return
        if entries.hash_of(key.sequence) == digest or len(document) > SIZE_LIMIT_BYTES:
            return
        try:
            bounded_json.check_depth(document, bounded_json.DOCUMENT_DEPTH)
            body = bounded_json.decode(document)
        except ValueError:
            return  # there is nothing that could be shown beside the ledger's
        if isinstance(body, dict):
            self.bodies[str(key)] = {name: value for name, value in body.items() if _is_shown(name, value)}


def _is_shown(name: str, value: object) -> bool:
    """All that a document says of its event, and what no document of an event says."""
    if name == "channels":
        return value != [TRANSACTION_CHANNEL]
    return name in BODY or (name != "attempt" and name[:1] != "_")


def ledger_or_nothing(path: Path) -> Ledger:
    """The ledger; an empty one when it cannot be read, which the verdict says by itself."""
    try:
        return read_ledger(path)
    except FleetError:
        return Ledger()
