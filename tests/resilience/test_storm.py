"""A whole fleet that comes back at once: full jitter instead of a stampede, and everybody is online soon."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from storefleet.plan import TERMINALS_HOP
from storefleet.run import Run
from tests.resilience.laboratory import counter, plan_of, play, until, until_traded

TERMINALS = 600
OUTAGE_S = 8.0


async def test_a_fleet_that_comes_back_at_once_is_online_within_ten_seconds(tmp_path: Path) -> None:
    """After eight seconds without network every terminal connects again once, spread over time, and nothing is lost."""
    took_s = 0.0
    connects: list[float] = []

    async def script(run: Run) -> None:
        nonlocal took_s
        await until_traded(run, 100)
        await run.add_fault(TERMINALS_HOP, "everybody", "partition", {"client_id": "*"}, lease_s=30.0)
        await asyncio.sleep(OUTAGE_S)
        await until(lambda: counter(run, "emulator", "online") == 0, "every terminal has noticed")
        before = counter(run, "emulator", "connects_total")
        run.lab.control.notify_all("snapshot_every", {"interval_ms": 100})
        await run.remove_fault(TERMINALS_HOP, "everybody")
        healed_s = time.monotonic()

        def all_online() -> bool:
            connects.append(counter(run, "emulator", "connects_total") - before)
            return counter(run, "emulator", "online") == TERMINALS

        await until(all_online, "every terminal is online")
        took_s = time.monotonic() - healed_s
        await run.wait_recovery(30.0)

    plan = plan_of(tmp_path, fleet={"stores": 200, "keep_alive_s": 4}, rate="100/s")
    played = await play(tmp_path, plan, script)
    played.assert_valid()
    print(f"all online after {took_s:.2f} s; connects: {connects[:: max(1, len(connects) // 12)]}")
    assert took_s < 10.0
    assert connects[-1] == TERMINALS, "nobody connects twice"
    halfway = next(index for index, value in enumerate(connects) if value >= TERMINALS / 2)
    assert 0 < connects[halfway // 2] < TERMINALS, "they come spread over time"
