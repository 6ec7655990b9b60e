"""What the gateway needs of a database: values that go in and come out, and the interface every database offers.

A write is all or nothing: when `write` returns, all documents of the call and their sequences survive the death of
the process, and only then are the feeds woken. When it raises, nothing of the call was stored.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from consumers.gateway.errors import Refusal
from consumers.gateway.wakeups import Wakeups


class Edit(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One document as a client wants it.

    `history` holds the client's own revisions, newest first (new_edits=false); when it is empty the gateway makes the
    revision from `canonical`, as a child of `parent` ("" when the client named none). `body` is the JSON members of
    the document, each with a comma in front, ready to be spliced behind `_id` and `_rev`.
    """

    id: str
    body: bytes
    channels: tuple[str, ...] = ()
    deleted: bool = False
    history: tuple[str, ...] = ()
    parent: str = ""
    canonical: bytes = b""


class LocalEdit(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A checkpoint to write, or to delete when `body` is None; `revision` is the one it replaces, "" for none."""

    id: str
    revision: str
    body: bytes | None


class Written(msgspec.Struct, frozen=True, gc=False):
    """The revision that is stored now; `is_new` is False when it was known already and nothing changed."""

    revision: str
    is_new: bool


Outcome = Written | Refusal


class StoredDocument(msgspec.Struct, frozen=True, gc=False):
    """The current revision of a document; `body` is None when it was not asked for."""

    sequence: int
    id: str
    revision: str
    deleted: bool
    channels: tuple[str, ...]
    left_channels: tuple[str, ...]
    ancestors: tuple[str, ...]
    retired: tuple[str, ...]
    body: bytes | None


class ChangeFilter(msgspec.Struct, frozen=True):
    """Which changes a feed wants; `channels` None means all of them."""

    channels: tuple[str, ...] | None = None
    include_docs: bool = False
    active_only: bool = False


class Change(msgspec.Struct, frozen=True, gc=False):
    """One entry of the feed; `body` is None unless documents are included, `removed` are the channels it left."""

    sequence: int
    id: str
    revision: str
    deleted: bool
    removed: tuple[str, ...]
    body: bytes | None


class ChangePage(msgspec.Struct, frozen=True):
    """Some changes in the order of their sequence, and the sequence up to which nothing else is to be read."""

    changes: list[Change]
    read_up_to: int


class Counters(msgspec.Struct):
    """What a witness reads. Documents count once per stored revision, local documents not at all."""

    documents_written: int = 0
    documents_unchanged: int = 0
    conflicts: int = 0
    writes_unavailable: int = 0


class DocumentDatabase(Protocol):
    """Documents by id, their changes by sequence, and checkpoints. Every method may raise StorageError: not now."""

    counters: Counters
    wakeups: Wakeups

    @property
    def update_sequence(self) -> int:
        """The sequence of the latest stored change, 0 when there is none."""
        ...

    @property
    def server_uuid(self) -> str:
        """Names this database for its life."""
        ...

    @property
    def opened_us(self) -> int:
        """When it was opened, microseconds since 1970."""
        ...

    async def write(
        self, edits: Sequence[Edit], local_edits: Sequence[LocalEdit] = ()
    ) -> tuple[list[Outcome], list[Outcome]]:
        """Writes all in one transaction, in order; one outcome for each edit and each local edit."""
        ...

    async def read(self, ids: Sequence[str], *, bodies: bool = True) -> list[StoredDocument | None]:
        """The current revisions in the order asked for, None where there never was a document."""
        ...

    async def read_range(self, start: str, end: str | None, limit: int, *, bodies: bool) -> list[StoredDocument]:
        """At most `limit` documents that are not deleted, by id, from `start` to `end`, both included."""
        ...

    async def read_changes(self, after: int, up_to: int, wanted: ChangeFilter, limit: int) -> ChangePage:
        """A page of at most `limit` changes with `after < sequence <= up_to`, bounded in bytes too."""
        ...

    async def read_local(self, document_id: str) -> tuple[str, bytes] | None:
        """Revision and body of a checkpoint."""
        ...
