"""The SQLite database of the gateway: one log of documents by sequence, with a unique index on their ids.

`write` is one transaction: when it returns, everything in it survives the death of the process (power loss is not
promised: the write-ahead log is not synchronised to the disk). When the disk is full or read-only it raises
StorageError, nothing of the call is stored, and the next call finds the database as it was. One process at a time
owns the file.
"""

import contextlib
import functools
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from consumers.gateway.database import (
    Change,
    ChangeFilter,
    ChangePage,
    Counters,
    Edit,
    LocalEdit,
    Outcome,
    StoredDocument,
    Written,
)
from consumers.gateway.errors import Refusal
from consumers.gateway.revision_tree import Head, follow
from consumers.gateway.wakeups import Wakeups
from fleetwire.clock import now_ms
from fleetwire.closing_on_error import closing_on_error
from fleetwire.errors import StorageError

SCHEMA = """
CREATE TABLE IF NOT EXISTS document (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    revision TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    channels TEXT,
    left_channels TEXT,
    ancestors TEXT,
    retired TEXT,
    body BLOB NOT NULL,
    stored_at_ms INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS document_id ON document (id);
CREATE TABLE IF NOT EXISTS local_document (id TEXT PRIMARY KEY, generation INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS identity (server_uuid TEXT NOT NULL);
"""
SETTINGS = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "PRAGMA cache_size = -32768",
)
LOCK_TIMEOUT_S = 5.0
IDS_PER_QUERY = 500
PAGE_BYTES = 1_000_000
SCAN_SEQUENCES = 10_000

_COLUMNS = "sequence, id, revision, deleted, channels, left_channels, ancestors, retired"
_INSERT = f"""
INSERT INTO document ({_COLUMNS}, body, stored_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608 - names of ours
_ADD_STORED_AT = "ALTER TABLE document ADD COLUMN stored_at_ms INTEGER NOT NULL DEFAULT 0"
_STORED_TIMES = """
SELECT id, stored_at_ms FROM document
WHERE sequence > ? AND sequence <= ? AND deleted = 0 AND stored_at_ms > 0 AND instr(channels, ?)
"""
_DELETE = "DELETE FROM document WHERE sequence = ?"
_PUT_LOCAL = "INSERT OR REPLACE INTO local_document (id, generation, body) VALUES (?, ?, ?)"


class DocumentStore:
    """The DocumentDatabase of `consumers.gateway.database` on SQLite. All methods run on the loop's own thread.

    `refusal` says why the last write was refused; it is empty when it was not.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Takes over a connection in autocommit mode (isolation_level None) and creates what is missing in it."""
        self.counters = Counters()
        self.refusal = ""
        self.wakeups = Wakeups()
        self.opened_us = time.time_ns() // 1000
        self._connection = connection
        with _as_storage_error("open the database"):
            for setting in SETTINGS:
                connection.execute(setting)
            connection.executescript(SCHEMA)
            if "stored_at_ms" not in {row[1] for row in connection.execute("PRAGMA table_info(document)")}:
                connection.execute(_ADD_STORED_AT)
            self.server_uuid = self._identity()
            self.update_sequence: int = connection.execute(
                "SELECT coalesce(max(sequence), 0) FROM document"
            ).fetchone()[0]

    @classmethod
    def open(cls, path: Path) -> "DocumentStore":
        """Opens or creates the file. Raises StorageError when that fails or another process owns it."""
        with _as_storage_error(f"open {path}"):
            connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)
        with closing_on_error(connection):
            return cls(connection)

    def close(self) -> None:
        """Ends the feeds and closes the file; what was written stays written."""
        self.wakeups.close()
        self._connection.close()

    def figures(self) -> dict[str, float]:
        """Counters and standing, by name, as a witness reports them."""
        return {
            **msgspec.structs.asdict(self.counters),
            "update_sequence": self.update_sequence,
            "open_feeds": self.wakeups.open_feeds,
        }

    async def write(
        self, edits: Sequence[Edit], local_edits: Sequence[LocalEdit] = ()
    ) -> tuple[list[Outcome], list[Outcome]]:
        """See DocumentDatabase. Edits of one id in one call follow each other."""
        batch = _Batch(self.update_sequence, now_ms())
        try:
            with self._transaction():
                batch.heads = self._heads([edit.id for edit in edits])
                outcomes = [batch.apply(edit) for edit in edits]
                self._connection.executemany(_DELETE, [(sequence,) for sequence in batch.replaced])
                self._connection.executemany(_INSERT, batch.rows.values())
                local_outcomes = [self._write_local(edit) for edit in local_edits]
        except StorageError as error:
            self.counters.writes_unavailable += 1
            self.refusal = str(error)
            raise
        self.refusal = ""
        self.update_sequence = batch.sequence
        self._count(outcomes)
        if batch.rows:
            self.wakeups.announce(batch.first_sequences(), next(iter(batch.rows.values()))[0])
        return outcomes, local_outcomes

    async def read(self, ids: Sequence[str], *, bodies: bool = True) -> list[StoredDocument | None]:
        """See DocumentDatabase."""
        with _as_storage_error("read documents"):
            found = {document.id: document for document in self._select(ids, bodies=bodies)}
        return [found.get(document_id) for document_id in ids]

    async def read_range(self, start: str, end: str | None, limit: int, *, bodies: bool) -> list[StoredDocument]:
        """See DocumentDatabase."""
        body = ", body" if bodies else ", NULL"
        upper = "" if end is None else " AND id <= ?"
        condition = f"id >= ?{upper} AND deleted = 0 ORDER BY id LIMIT ?"
        query = f"SELECT {_COLUMNS}{body} FROM document WHERE {condition}"  # noqa: S608 - names of ours
        bounds = (start,) if end is None else (start, end)
        with _as_storage_error("read documents"):
            rows = self._connection.execute(query, (*bounds, limit))
            return [_stored(row) for row in _within_bytes(rows)]

    async def read_changes(self, after: int, up_to: int, wanted: ChangeFilter, limit: int) -> ChangePage:
        """See DocumentDatabase. Looks at no more than 10,000 sequences, so that the loop never waits long."""
        scan_end = min(up_to, after + SCAN_SEQUENCES)
        patterns = tuple(f",{channel}," for channel in wanted.channels or ())
        query = _changes_query(len(patterns), wanted.include_docs, wanted.active_only)
        with _as_storage_error("read changes"):
            followed = patterns if wanted.active_only else patterns * 2
            rows = self._connection.execute(query, (after, scan_end, *followed, limit))
            changes = [_change(row, wanted.channels) for row in _within_bytes(rows)]
            is_cut = len(changes) == limit or rows.fetchone() is not None
            rows.close()
        return ChangePage(changes, changes[-1].sequence if is_cut else scan_end)

    def read_stored_times(self, after: int, channel: str) -> tuple[list[tuple[str, int]], int]:
        """Id and time of storing (unix ms) of a channel's documents, a stretch of sequences a call; and how far it came.

        Documents that were stored before this was noted are left out.
        """
        scan_end = min(self.update_sequence, after + SCAN_SEQUENCES)
        with _as_storage_error("read times"):
            rows = self._connection.execute(_STORED_TIMES, (after, scan_end, f",{channel},")).fetchall()
        return rows, scan_end

    async def read_local(self, document_id: str) -> tuple[str, bytes] | None:
        """See DocumentDatabase."""
        with _as_storage_error("read a local document"):
            row = self._local(document_id)
        return None if row is None else (f"0-{row[0]}", row[1])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _as_storage_error("store documents"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _select(self, ids: Iterable[str], *, bodies: bool) -> Iterator[StoredDocument]:
        body = "body" if bodies else "NULL"
        unique = list(dict.fromkeys(ids))
        for start in range(0, len(unique), IDS_PER_QUERY):
            chunk = unique[start : start + IDS_PER_QUERY]
            places = ",".join("?" * len(chunk))
            query = f"SELECT {_COLUMNS}, {body} FROM document WHERE id IN ({places})"  # noqa: S608 - places only
            for row in self._connection.execute(query, chunk):
                yield _stored(row)

    def _heads(self, ids: Iterable[str]) -> dict[str, "_Standing"]:
        return {
            document.id: _Standing(
                Head(document.revision, document.deleted, document.ancestors, document.retired),
                document.sequence,
                document.channels,
                document.left_channels,
            )
            for document in self._select(ids, bodies=False)
        }

    def _local(self, document_id: str) -> tuple[int, bytes] | None:
        row: tuple[int, bytes] | None = self._connection.execute(
            "SELECT generation, body FROM local_document WHERE id = ?", (document_id,)
        ).fetchone()
        return row

    def _write_local(self, edit: LocalEdit) -> Outcome:
        row = self._local(edit.id)
        if row is None and (edit.revision or edit.body is None):
            return Refusal(404, "No previous revision to replace")
        if row is not None and edit.revision != f"0-{row[0]}":
            return Refusal(409, "Document update conflict")
        if edit.body is None:
            self._connection.execute("DELETE FROM local_document WHERE id = ?", (edit.id,))
            return Written("", True)
        generation = 1 if row is None else row[0] + 1
        self._connection.execute(_PUT_LOCAL, (edit.id, generation, edit.body))
        return Written(f"0-{generation}", True)

    def _identity(self) -> str:
        row = self._connection.execute("SELECT server_uuid FROM identity").fetchone()
        if row is not None:
            return str(row[0])
        made = str(uuid.uuid4())
        self._connection.execute("INSERT INTO identity (server_uuid) VALUES (?)", (made,))
        return made

    def _count(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if not isinstance(outcome, Written):
                self.counters.conflicts += 1
            elif outcome.is_new:
                self.counters.documents_written += 1
            else:
                self.counters.documents_unchanged += 1


class _Standing:
    """A document as the batch sees it: where it stands, in which row, and in which channels."""

    __slots__ = ("channels", "head", "left_channels", "sequence")

    def __init__(self, head: Head, sequence: int, channels: tuple[str, ...], left_channels: tuple[str, ...]) -> None:
        self.head = head
        self.sequence = sequence
        self.channels = channels
        self.left_channels = left_channels


class _Batch:
    """One transaction in the making: decides edit after edit, and collects the rows to replace and to insert."""

    def __init__(self, sequence: int, at_ms: int) -> None:
        self.sequence = sequence
        self._at_ms = at_ms
        self.heads: dict[str, _Standing] = {}
        self.replaced: list[int] = []
        self.rows: dict[str, tuple[Any, ...]] = {}

    def apply(self, edit: Edit) -> Outcome:
        """Takes one edit in, or says why not."""
        standing = self.heads.get(edit.id)
        try:
            head = follow(standing.head if standing else None, edit)
        except Refusal as refusal:
            return refusal.with_traceback(None)
        if head is None:
            return Written(edit.history[0], False)
        self.sequence += 1
        self._put(edit, head, standing)
        return Written(head.revision, True)

    def first_sequences(self) -> dict[str, int]:
        """Every channel that gained or lost a document, with the first sequence at which that happened."""
        first: dict[str, int] = {}
        for document_id, row in self.rows.items():
            standing = self.heads[document_id]
            for channel in (*standing.channels, *standing.left_channels):
                first.setdefault(channel, row[0])
        return first

    def _put(self, edit: Edit, head: Head, before: _Standing | None) -> None:
        left: tuple[str, ...] = ()
        if before is not None:
            was_in = dict.fromkeys((*before.channels, *before.left_channels))
            left = tuple(channel for channel in was_in if channel not in edit.channels)
            if self.rows.pop(edit.id, None) is None:
                self.replaced.append(before.sequence)
        self.heads[edit.id] = _Standing(head, self.sequence, edit.channels, left)
        self.rows[edit.id] = (
            self.sequence,
            edit.id,
            head.revision,
            head.deleted,
            _pack_channels(edit.channels),
            _pack_channels(left),
            " ".join(head.ancestors) or None,
            " ".join(head.retired) or None,
            edit.body,
            self._at_ms,
        )


@contextlib.contextmanager
def _as_storage_error(doing: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", type(error).__name__)
        raise StorageError(f"the gateway could not {doing}: {error} ({code}); it goes on when it can") from error


def _pack_channels(channels: tuple[str, ...]) -> str | None:
    """Names cannot contain commas, so `,name,` finds a name and nothing else."""
    return f",{','.join(channels)}," if channels else None


def _unpack_channels(packed: str | None) -> tuple[str, ...]:
    return tuple(packed[1:-1].split(",")) if packed else ()


def _unpack_revisions(packed: str | None) -> tuple[str, ...]:
    return tuple(packed.split(" ")) if packed else ()


def _stored(row: tuple[Any, ...]) -> StoredDocument:
    sequence, document_id, revision, deleted, channels, left, ancestors, retired, body = row
    return StoredDocument(
        sequence,
        document_id,
        revision,
        bool(deleted),
        _unpack_channels(channels),
        _unpack_channels(left),
        _unpack_revisions(ancestors),
        _unpack_revisions(retired),
        body,
    )


def _change(row: tuple[Any, ...], followed: tuple[str, ...] | None) -> Change:
    sequence, document_id, revision, deleted, channels, left, body = row
    removed: tuple[str, ...] = ()
    if left is not None and followed is not None and not set(followed) & set(_unpack_channels(channels)):
        removed = tuple(sorted(set(followed) & set(_unpack_channels(left))))
    return Change(sequence, document_id, revision, bool(deleted), removed, body)


def _within_bytes(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Rows until a page is full in bytes; at least one."""
    budget = PAGE_BYTES
    for row in rows:
        yield row
        budget -= len(row[-1] or b"")
        if budget <= 0:
            return


@functools.lru_cache(maxsize=256)
def _changes_query(channel_count: int, include_docs: bool, active_only: bool) -> str:
    body = "body" if include_docs else "NULL"
    conditions = ["sequence > ?", "sequence <= ?"]
    followed = ["instr(channels, ?)"] * channel_count
    left = [] if active_only else ["instr(left_channels, ?)"] * channel_count
    if channel_count:
        conditions.append(f"({' OR '.join(followed + left)})")
    if active_only:
        conditions.append("deleted = 0")
    return (
        f"SELECT sequence, id, revision, deleted, channels, left_channels, {body} FROM document "  # noqa: S608 - names of ours
        f"WHERE {' AND '.join(conditions)} ORDER BY sequence LIMIT ?"
    )
