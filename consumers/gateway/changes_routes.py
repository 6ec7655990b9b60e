"""`GET` and `POST _changes`."""

from collections.abc import AsyncGenerator

from litestar import get, post
from litestar.background_tasks import BackgroundTask
from litestar.response import Stream

from consumers.gateway.answers import JSON
from consumers.gateway.changes import continuous, longpoll, normal
from consumers.gateway.feed_options import ChangesBody, FeedOptions, checked, override, read_body
from consumers.gateway.requests import GatewayRequest, GatewayState, json_body

NEVER_CACHED = {"Cache-Control": "private, max-age=0, no-cache, no-store"}


@get("/_changes")
async def get_changes(request: GatewayRequest, state: GatewayState) -> Stream:
    """A feed with its options in the query."""
    body = override(ChangesBody(), request.query_params)
    return _feed(state, checked(body, state.minimum_heartbeat_ms))


@post("/_changes", status_code=200)
async def post_changes(request: GatewayRequest, state: GatewayState) -> Stream:
    """A feed with its options in the body; the query overrides them."""
    body = override(read_body(await json_body(request)), request.query_params)
    return _feed(state, checked(body, state.minimum_heartbeat_ms))


def _feed(state: GatewayState, options: FeedOptions) -> Stream:
    database = state.database
    if options.feed == "normal":
        return _stream(normal(database, options), JSON)
    subscription = database.wakeups.subscribe(options.wanted.channels)
    if options.feed == "longpoll":
        return _stream(longpoll(database, options, subscription), JSON)
    return _stream(continuous(database, options, subscription), "application/octet-stream")


def _stream(chunks: AsyncGenerator[bytes, None], media_type: str) -> Stream:
    closing = BackgroundTask(_close, chunks)  # a reader that goes away leaves the generator between two chunks
    return Stream(chunks, media_type=media_type, headers=NEVER_CACHED, background=closing)


async def _close(chunks: AsyncGenerator[bytes, None]) -> None:
    """Litestar takes ``aclose`` itself for no coroutine function: it would call it in a thread and await nothing."""
    await chunks.aclose()
