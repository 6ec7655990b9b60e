"""The changes feed as a stream of bytes: normal, longpoll and continuous, in the formats of Sync Gateway 3.3.

A feed reads the database by sequence, page by page, and holds one page at a time, however far its reader is behind.
It writes a page as one chunk and waits without polling. A document appears at most once in a page, with its latest
revision. When the database fails, the feed ends as if there were nothing more: the reader comes again with the last
sequence it has.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable

from consumers.gateway.database import Change, ChangeFilter, ChangePage, DocumentDatabase, StoredDocument
from consumers.gateway.document_text import encode, render_body
from consumers.gateway.feed_options import FeedOptions
from consumers.gateway.wakeups import Subscription
from fleetwire.errors import StorageError
from fleetwire.one_line import escape_line_marks

PAGE_CHANGES = 500
BODIES_PER_READ = 50
MARK = b"\n"

logger = logging.getLogger(__name__)


def normal(database: DocumentDatabase, options: FeedOptions) -> AsyncGenerator[bytes, None]:
    """What there is now, and the end."""
    if options.document_ids is not None:
        return _enveloped(_document_pages(database, options, options.document_ids), options)
    return _enveloped(_pages(database, options, options.since), options)


async def longpoll(
    database: DocumentDatabase, options: FeedOptions, subscription: Subscription
) -> AsyncGenerator[bytes, None]:
    """What there is now; when that is nothing, what comes next, or nothing after the timeout."""
    with subscription:
        async for chunk in _enveloped(_pages_when_any(database, options, subscription), options):
            yield chunk


async def continuous(
    database: DocumentDatabase, options: FeedOptions, subscription: Subscription
) -> AsyncGenerator[bytes, None]:
    """One JSON object a line, an empty line whenever the reader is up to date and as heartbeat, until the limit, the
    timeout (without heartbeat) or the end of the gateway."""
    position, remaining = options.since, options.limit
    with subscription:
        while True:
            subscription.rest()
            end = database.update_sequence
            page = await _read(database, position, end, options, remaining)
            if page is None:
                return
            position = page.read_up_to
            lines = _lines(page.changes, options.wanted)
            is_caught_up = position >= end
            if lines or is_caught_up:
                yield lines + MARK if is_caught_up else lines
            if options.limit:
                remaining -= len(page.changes)
                if remaining <= 0:
                    return
            if not is_caught_up:
                await asyncio.sleep(0)
                continue
            async for beat in _beats(options, subscription):
                yield beat
            if subscription.first_sequence is None:
                return
            position = max(position, subscription.first_sequence - 1)


async def _enveloped(pages: AsyncIterator[list[Change] | bytes], options: FeedOptions) -> AsyncGenerator[bytes, None]:
    last_sequence = options.since_text
    separator = b""
    chunk = b'{"results":[\r\n'
    if options.feed == "longpoll":
        yield chunk
        chunk = b""
    async for page in pages:
        if isinstance(page, bytes):
            yield page
        elif page:
            yield chunk + separator + b",".join(render_change(change, options.wanted) for change in page)
            chunk, separator = b"", b","
            last_sequence = str(page[-1].sequence)
    yield chunk + b'],\n"last_seq":%b}\n' % encode(last_sequence)


async def _pages(
    database: DocumentDatabase, options: FeedOptions, position: int
) -> AsyncIterator[list[Change] | bytes]:
    remaining, end = options.limit, database.update_sequence
    while position < end:
        page = await _read(database, position, end, options, remaining)
        if page is None:
            return
        yield page.changes
        position = page.read_up_to
        if options.limit:
            remaining -= len(page.changes)
            if remaining <= 0:
                return
        await asyncio.sleep(0)


async def _pages_when_any(
    database: DocumentDatabase, options: FeedOptions, subscription: Subscription
) -> AsyncIterator[list[Change] | bytes]:
    found, position = False, options.since
    while True:
        subscription.rest()
        async for page in _pages(database, options, position):
            found = found or bool(page)
            yield page
        if found:
            return
        async for beat in _beats(options, subscription):
            yield beat
        if subscription.first_sequence is None:
            return
        position = max(position, subscription.first_sequence - 1)


async def _document_pages(
    database: DocumentDatabase, options: FeedOptions, document_ids: tuple[str, ...]
) -> AsyncIterator[list[Change] | bytes]:
    try:
        documents = await database.read(document_ids, bodies=False)
        found = sorted(
            (document.sequence, document.id)
            for document in documents
            if document is not None
            and document.sequence > options.since
            and not (options.wanted.active_only and document.deleted)
        )
        ids = [document_id for _, document_id in found[: options.limit or None]]
        for start in range(0, len(ids), BODIES_PER_READ):
            page = await database.read(ids[start : start + BODIES_PER_READ], bodies=options.wanted.include_docs)
            yield [_as_change(document) for document in page if document is not None]
    except StorageError as error:
        logger.warning("a changes feed ended early: %s", error)


async def _read(
    database: DocumentDatabase, position: int, end: int, options: FeedOptions, remaining: int
) -> ChangePage | None:
    limit = min(PAGE_CHANGES, remaining) if options.limit else PAGE_CHANGES
    try:
        return await database.read_changes(position, end, options.wanted, limit)
    except StorageError as error:
        logger.warning("a changes feed ended early: %s", error)
        return None


async def _beats(options: FeedOptions, subscription: Subscription) -> AsyncIterator[bytes]:
    """Waits for a change, with a mark for every heartbeat; ends on a change, on closing, or after the timeout."""
    if options.heartbeat_s is None:
        await subscription.wait(options.timeout_s)
        return
    while not await subscription.wait(options.heartbeat_s):
        yield MARK


def _lines(changes: Iterable[Change], wanted: ChangeFilter) -> bytes:
    return b"".join(render_change(change, wanted) for change in changes)


def render_change(change: Change, wanted: ChangeFilter) -> bytes:
    """One entry of the feed with its line end; its body is of one line already, its id and channels are made so."""
    extra = b',"deleted":true' if change.deleted else b""
    if change.removed:
        extra += b',"removed":' + encode(change.removed)
    if wanted.include_docs:
        extra += b',"doc":' + _render_included(change)
    entry = b'{"seq":%d,"id":%b,"changes":[{"rev":"%b"}]%b}\n' % (
        change.sequence,
        encode(change.id),
        change.revision.encode(),
        extra,
    )
    return entry if change.id.isascii() and not change.removed else escape_line_marks(entry)


def _render_included(change: Change) -> bytes:
    if change.removed and not change.deleted:
        return render_body(change.id, change.revision, False, b',"_removed":true')
    return render_body(change.id, change.revision, change.deleted, change.body or b"")


def _as_change(document: StoredDocument) -> Change:
    return Change(document.sequence, document.id, document.revision, document.deleted, (), document.body)
