"""A process that watches its machine as a lab does, for tests that stop it.

``stalls.json`` in the folder holds what it noted so far, once it measures all it can. It ends when its input does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from storefleet.machine_watch import MachineWatch
from storefleet.observatory import Observatory
from storefleet.run_clock import RunClock


async def watch_until_the_input_ends(folder: Path) -> None:
    """Watch and write down."""
    observatory = Observatory(folder / "witnesses.jsonl")
    watch = MachineWatch(observatory, RunClock().now_ms, folder)
    watching = asyncio.create_task(watch.run())
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not ended.done():
        if "disk_wait" in watch.record.measured:
            (folder / "stalls.json.new").write_bytes(msgspec.json.encode(observatory.stalls))
            (folder / "stalls.json.new").replace(folder / "stalls.json")
        await asyncio.sleep(0.05)
    watching.cancel()
    observatory.close()


asyncio.run(watch_until_the_input_ends(Path(sys.argv[1])))
