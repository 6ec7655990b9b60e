"""A whole fleet that comes back at once: full jitter instead of a stampede, and everybody is online soon."""

from __future__ import annotations

import asyncio
from pathlib import Path

from storefleet.plan import TERMINALS_HOP
from storefleet.run import Run
from storefleet.verdict.machine import Standstill
from tests.resilience.laboratory import counter, plan_of, play, until, until_traded

TERMINALS = 600
OUTAGE_S = 8.0


async def test_a_fleet_that_comes_back_at_once_is_online_within_ten_seconds(tmp_path: Path) -> None:
    """After eight seconds without network every terminal connects again once, spread over time, and nothing is lost."""
    took_ms = lost = 0.0
    connects: list[float] = []

    async def script(run: Run) -> None:
        nonlocal took_ms, lost
        await until_traded(run, 100)
        await run.add_fault(TERMINALS_HOP, "everybody", "partition", {"client_id": "*"}, lease_s=30.0)
        await asyncio.sleep(OUTAGE_S)
        await until(lambda: counter(run, "emulator", "online") == 0, "every terminal has noticed")
        before, lost = counter(run, "emulator", "connects_total"), counter(run, "emulator", "connections_lost_total")
        run.lab.control.notify_all("snapshot_every", {"interval_ms": 100})
        await run.remove_fault(TERMINALS_HOP, "everybody")
        healed_ms = run.clock.now_ms()

        def all_online() -> bool:
            connects.append(counter(run, "emulator", "connects_total") - before)
            return counter(run, "emulator", "online") == TERMINALS

        await until(all_online, "every terminal is online")
        online_ms = run.clock.now_ms()
        stalled_ms = sum(Standstill(run.lab.observatory.stalls).by_cause(healed_ms, online_ms).values())
        took_ms = online_ms - healed_ms - stalled_ms
        lost = counter(run, "emulator", "connections_lost_total") - lost
        await run.wait_recovery(30.0)

    plan = plan_of(tmp_path, fleet={"stores": 200, "keep_alive_s": 4}, rate="100/s")
    played = await play(tmp_path, plan, script)
    played.assert_valid()
    print(f"all online after {took_ms:.0f} ms; connects: {connects[:: max(1, len(connects) // 12)]}")
    assert took_ms < 10_000
    assert connects[-1] - lost == TERMINALS, "nobody connects twice without need"
    assert len(set(connects)) >= 4, "they come spread over time"
