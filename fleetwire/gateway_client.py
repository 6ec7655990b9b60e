"""The document gateway as a client sees it: Sync Gateway's REST, one pooled connection set, no retries of its own.

Bodies are raw JSON on both ways; nothing is decoded but the answers' frames. Every failure is a GatewayError: definite
when nothing of the request can have been stored (no connection was made, or the gateway refused), not definite when
only the answer is missing. How often to try again is the caller's decision. An answer is at most MAXIMUM_ANSWER_BYTES.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from fleetwire import bounded_json
from fleetwire.errors import GatewayError

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 15.0
MAXIMUM_CONNECTIONS: Final = 4
MAXIMUM_ANSWER_BYTES: Final = 16 * 1024 * 1024

_JSON: Final = {"Content-Type": "application/json"}
_NOTHING_WAS_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
_CUT_OFF: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError, ConnectionError)
_REFUSED_UNSTORED: Final = 503
_NOT_FOUND: Final = 404

Shape = TypeVar("Shape")


class BulkRow(Struct, frozen=True):
    """One row of a ``_bulk_docs`` answer; ``status`` 0 means stored, or known already, at ``rev``."""

    id: str = ""
    rev: str = ""
    status: int = 0
    error: str = ""
    reason: str = ""


class GatewayDocument(Struct, frozen=True):
    """A document as it was read; ``body`` is its whole JSON, ``_id`` and ``_rev`` included."""

    id: str
    rev: str
    body: bytes


class _Opened(Struct):
    instance_start_time: int = 0


class _Identified(Struct):
    id: str = msgspec.field(name="_id")
    rev: str = msgspec.field(name="_rev")


class _Saved(Struct):
    rev: str


class _Refused(Struct):
    error: str = ""
    reason: str = ""


class GatewayClient:
    """Client of one database, ``http://host:port/database``; an async context manager.

    ``answer_timeout_s`` is the longest silence while we wait for an answer, not the length of a whole request.
    """

    def __init__(self, url: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._answer_timeout_s = answer_timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._has_said_when_it_opened = False

    async def __aenter__(self) -> GatewayClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; requests in flight fail."""
        if self._session is not None:
            await self._session.close()

    def _http(self) -> aiohttp.ClientSession:
        """The session, made at the first request, since it must be made inside the event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                connector=aiohttp.TCPConnector(limit=MAXIMUM_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(sock_read=self._answer_timeout_s, connect=CONNECT_TIMEOUT_S, total=None),
                auto_decompress=False,
            )
        return self._session

    async def bulk_docs(self, docs: Sequence[bytes], *, new_edits: bool) -> list[BulkRow]:
        """Write documents given as raw JSON objects; one row each, in their order (couchbase.md 1.5)."""
        flag = b"true" if new_edits else b"false"
        content = b'{"docs":[' + b",".join(docs) + b'],"new_edits":' + flag + b"}"
        rows = _read(await self._request("POST", "_bulk_docs", content), list[BulkRow], "_bulk_docs")
        if len(rows) != len(docs):
            raise GatewayError(f"{self.url}/_bulk_docs: {len(rows)} rows for {len(docs)} documents", definite=False)
        return rows

    async def get(self, document_id: str) -> GatewayDocument | None:
        """Read a document's current revision; None when there is none, or it is deleted."""
        try:
            body = await self._request("GET", quote(document_id, safe=""))
        except GatewayError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        found = _read(body, _Identified, document_id)
        return GatewayDocument(found.id, found.rev, body)

    async def put(self, document_id: str, body: bytes, rev: str = "") -> str:
        """Write a document over the revision ``rev`` ("" for a new one); returns its new one. Conflict: status 409."""
        query = f"?rev={quote(rev, safe='')}" if rev else ""
        answer = await self._request("PUT", quote(document_id, safe="") + query, body)
        return _read(answer, _Saved, document_id).rev

    async def opened_us(self) -> int:
        """When the process that answers opened the database, in microseconds of its own clock: a name for its life.

        0 where a gateway does not say; Sync Gateway and ours do, as ``instance_start_time`` of ``GET /{database}/``.
        Raises GatewayError while nobody answers, or only that it is not ready: 503, or 404 from one that has said it
        before, since Sync Gateway does not know its databases while they load.
        """
        try:
            opened_us = bounded_json.decode(await self._request("GET", ""), type=_Opened).instance_start_time
        except GatewayError as error:
            is_loading = error.status == _NOT_FOUND and self._has_said_when_it_opened
            if is_loading or error.status in (None, _REFUSED_UNSTORED):
                raise
            return 0
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return 0
        self._has_said_when_it_opened |= opened_us != 0
        return opened_us

    async def _request(self, method: str, path: str, content: bytes | None = None) -> bytes:
        url = URL(f"{self.url}/{path}", encoded=True)
        headers = _JSON if content is not None else None
        try:
            async with self._http().request(
                method, url, data=content, headers=headers, allow_redirects=False
            ) as answer:
                body = await _bounded(answer)
        except _NOTHING_WAS_SENT as error:
            raise GatewayError(f"{method} {url}: {error or type(error).__name__}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            what = f"{method} {url}: {error or type(error).__name__}"
            raise GatewayError(what, definite=False, cut_off=isinstance(error, _CUT_OFF)) from error
        if answer.ok:
            return body
        definite = answer.status < 500 or answer.status == _REFUSED_UNSTORED
        raise GatewayError(f"{method} {url}: {answer.status} {_reason(body)}", status=answer.status, definite=definite)


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        if size > MAXIMUM_ANSWER_BYTES:
            raise GatewayError(
                f"{answer.url}: the answer is longer than {MAXIMUM_ANSWER_BYTES} bytes: ask for less", definite=False
            )
        pieces.append(piece)
    return b"".join(pieces)


def _read(body: bytes, shape: type[Shape], what: str) -> Shape:
    try:
        return bounded_json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise GatewayError(f"{what}: the gateway's answer cannot be read: {error}", definite=False) from error


def _reason(body: bytes) -> str:
    try:
        refused = bounded_json.decode(body, type=_Refused)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "without a reason"
    return f"{refused.error}: {refused.reason}"[:300]
