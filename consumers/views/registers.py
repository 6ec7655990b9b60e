"""The part that views of registers share: one row a name, the greatest version wins, whatever comes when and how often.

The version of a register is a pair, then the generation of its document, so that the latest revision decides a draw.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from consumers.feed.lines import Change
from consumers.views.view import MAXIMUM_ROWS, Selection
from fleetwire import bounded_json
from fleetwire.errors import BadPayload
from fleetwire.plain_words import plain
from fleetwire.revisions import generation_of
from fleetwire.witness import Witness

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS register (
  name TEXT PRIMARY KEY, major INTEGER NOT NULL, minor INTEGER NOT NULL, generation INTEGER NOT NULL,
  value BLOB NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
"""
_LARGEST: Final = 2**63 - 1

Document = TypeVar("Document", bound=Struct)

_PUT: Final = """
INSERT INTO register (name, major, minor, generation, value, body) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET major = excluded.major, minor = excluded.minor, generation = excluded.generation,
  value = excluded.value, body = excluded.body
WHERE (excluded.major, excluded.minor, excluded.generation) > (major, minor, generation)
"""


class RegisterRow(NamedTuple):
    """One register as a document says it: ``value`` and ``body`` are JSON, for the checker and for people."""

    name: str
    version: tuple[int, int]
    generation: int
    value: bytes
    body: bytes


class Damaged(Struct):
    """What is shown of a register that cannot be read any more; a newer document of it, or a rebuild, mends it."""

    name: str
    damage: str


class RegisterView(ABC, Generic[Document]):
    """A View of documents that are registers; a subclass says which, and what of them counts."""

    name: str
    path: str
    channel: str
    prefix: str
    """What goes before a register's name in its document's id."""
    shape: type[Struct]
    """The documents' shape."""
    schema = SCHEMA

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._decode = bounded_json.Decoder(self.shape).decode
        self._written: list[tuple[str, bytes]] = []

    @abstractmethod
    def register_name(self, document: Document) -> str:
        """Whose register it is."""

    @abstractmethod
    def version(self, document: Document) -> tuple[int, int]:
        """What orders it."""

    @abstractmethod
    def value(self, document: Document) -> object:
        """What the checker compares."""

    def load(self, connection: sqlite3.Connection) -> None:
        """Tell the witness what is stored."""
        self._witness.begin_registers(self.name)
        for name, value in connection.execute("SELECT name, value FROM register"):
            self._witness.register(self.name, name, bounded_json.decode(value))

    def read(self, change: Change) -> RegisterRow:
        """The register that a document holds; raises BadPayload. A deletion leaves a register as it was."""
        if change.deleted:
            raise BadPayload("key_conflict", "the document was deleted: a register keeps its last value")
        try:
            generation = generation_of(change.revision)
            document: Any = self._decode(change.document)
        except (ValueError, msgspec.MsgspecError) as error:
            raise BadPayload("schema", plain(error)) from error
        name, version = self.register_name(document), self.version(document)
        if change.id != self.prefix + name:
            raise BadPayload("no_key", f"the document is of {name[:100]}, not of its id")
        if not all(0 <= number <= _LARGEST for number in version):
            raise BadPayload("schema", f"a version is two numbers from 0 to {_LARGEST}")
        value = msgspec.json.encode(self.value(document))
        return RegisterRow(name, version, generation, value, msgspec.json.encode(document))

    def apply(self, connection: sqlite3.Connection, items: Sequence[RegisterRow]) -> None:
        """Store what is newer than what is there."""
        connection.executemany(_PUT, [(row.name, *row.version, row.generation, row.value, row.body) for row in items])
        self._written = [
            (name, connection.execute("SELECT value FROM register WHERE name = ?", (name,)).fetchone()[0])
            for name in {row.name for row in items}
        ]

    def committed(self) -> None:
        """Tell the witness what is there now."""
        for name, value in self._written:
            self._witness.register(self.name, name, bounded_json.decode(value))
        self._written = []

    def rebuild(self, connection: sqlite3.Connection) -> None:
        """Forget everything."""
        connection.execute("DELETE FROM register")
        self._witness.begin_registers(self.name)

    def rows(self, connection: sqlite3.Connection, selection: Selection) -> list[Any]:
        """The documents, by name; one whose row was damaged hides no other."""
        rows = connection.execute("SELECT name, body FROM register ORDER BY name")
        wanted = (row for row in rows if selection.wants(row[0]))
        return [self._shown(name, body) for name, body in islice(wanted, MAXIMUM_ROWS)]

    def _shown(self, name: str, body: bytes) -> Any:
        try:
            return self._decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
            return Damaged(name, plain(error)[:200])

    def final_read(self, file: Path, begin: int = 0) -> Mapping[str, Any]:  # noqa: ARG002 - there is one page
        """``registers``: value by name."""
        connection = sqlite3.connect(file, isolation_level=None)
        try:
            rows = connection.execute("SELECT name, value FROM register").fetchall()
        finally:
            connection.close()
        return {"registers": {name: bounded_json.decode(value) for name, value in rows}}
