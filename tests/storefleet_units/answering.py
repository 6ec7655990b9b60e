"""An endpoint that answers whatever a test says, over real HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from msgspec import json


@contextlib.asynccontextmanager
async def answering(answer_of: Callable[[web.Request], object]) -> AsyncIterator[str]:
    """Its URL; ``answer_of`` a request: bytes as they are, a number as a status, else JSON."""

    async def answer(request: web.Request) -> web.Response:
        found = answer_of(request)
        if isinstance(found, int):
            return web.Response(status=found)
        return web.Response(body=found if isinstance(found, bytes) else json.encode(found))

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def answering_by_path(answers: dict[str, object]) -> contextlib.AbstractAsyncContextManager[str]:
    """The same with answers by path and query, 404 for any other."""
    return answering(lambda request: answers.get(request.path_qs, 404))
