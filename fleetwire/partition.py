"""Which instance of a stage looks after a store, where the broker does not share the work out."""

from __future__ import annotations

from zlib import crc32


def is_responsible(store_id: str, instance: int, instances: int) -> bool:
    """Whether instance ``instance`` (from 1) of ``instances`` looks after this store; exactly one does."""
    return crc32(store_id.encode()) % instances == instance - 1
