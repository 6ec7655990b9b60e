"""A constructor that fails leaves nothing open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class _Closeable(Protocol):
    def close(self) -> None: ...


_Resource = TypeVar("_Resource", bound=_Closeable)


@contextmanager
def closing_on_error(resource: _Resource) -> Iterator[_Resource]:
    """Yield it; it is closed when the block raises, and stays open after a block that succeeds."""
    try:
        yield resource
    except BaseException:
        resource.close()
        raise
