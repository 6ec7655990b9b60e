"""How a worker gets its task and gives its result."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import uvloop
from msgspec import Struct

from fleetwire import bounded_json

_Task = TypeVar("_Task", bound=Struct)


def serve(kind: type[_Task], work: Callable[[_Task], Awaitable[Struct]]) -> None:
    """Do one task. The process ends with its result: closing thousands of connections is no part of any figure."""

    async def whole() -> None:
        result = await work(bounded_json.decode(sys.stdin.buffer.read(), type=kind))
        sys.stdout.buffer.write(msgspec.json.encode(result))
        sys.stdout.flush()
        os._exit(0)

    uvloop.run(whole())
