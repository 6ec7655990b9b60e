"""Stages that are slower than their input: memory stays bounded, connections stay, and they catch up when they can."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from storefleet.run import Run
from tests.resilience.laboratory import counter, plan_of, play, resident_mb, until, until_traded

RATE = 300
PAUSED_S = 0.36
RUNNING_S = 0.04
THROTTLED_S = 4.0
SLOW = ("parm", "sync_stage", "gateway", "poseidon", "views")
MOST_GROWTH_MB = 40.0


async def throttle(run: Run, stage: str, measured: dict[str, float]) -> None:
    """Let a stage run a tenth of the time."""
    processes, seen, name = run.lab.processes, run.lab.observatory, f"{stage}-1"
    end_s = time.monotonic() + THROTTLED_S
    while time.monotonic() < end_s:
        processes.pause(name)
        await asyncio.sleep(PAUSED_S)
        processes.resume(name)
        await asyncio.sleep(RUNNING_S)
        for figure in ("in_hand", "paused"):
            for one in ("parm", "sync_stage"):
                key = f"{one}.{figure}"
                measured[key] = max(measured.get(key, 0), counter(run, one, figure))
        behind = {
            one: seen.distinct["emulator"] - seen.distinct[one] for one in ("parm", "sync_stage", "poseidon", "views")
        }
        for one, distance in behind.items():
            measured[f"{one}.behind"] = max(measured.get(f"{one}.behind", 0), distance)
        unresolved = counter(run, "emulator", "unresolved")
        measured["emulator.unresolved"] = max(measured.get("emulator.unresolved", 0), unresolved)
        for child in processes.children:
            key = f"{child}.mb"
            measured[key] = max(measured.get(key, 0), resident_mb(run, child))


async def test_a_slow_stage_bounds_its_memory_keeps_its_connections_and_catches_up(tmp_path: Path) -> None:
    """Each stage in turn gets a tenth of its time under load: what waits is visible, and gone soon after."""
    measured: dict[str, dict[str, float]] = {}
    before: dict[str, float] = {}

    async def script(run: Run) -> None:
        await until_traded(run, 2 * RATE)
        before.update({name: resident_mb(run, name) for name in run.lab.processes.children})
        for stage in SLOW:
            await throttle(run, stage, measured.setdefault(stage, {}))
            await until(lambda: counter(run, "emulator", "unresolved") < RATE, f"{stage} catches up")
        await run.wait_recovery(30.0)

    plan = plan_of(tmp_path, fleet={"stores": 32, "keep_alive_s": 12}, rate=f"{RATE}/s")
    played = await play(tmp_path, plan, script)
    for stage, figures in measured.items():
        shown = {name: round(value) for name, value in figures.items() if not name.endswith(".mb") and value}
        print(stage, shown, {n: round(v - before[n[:-3]]) for n, v in figures.items() if n.endswith(".mb")})
    print(played.verdict.resent, played.verdict.resent_needlessly, played.verdict.broker)
    played.assert_valid()
    assert not played.run.record.restarts
    assert counter(played.run, "emulator", "connections_lost_total") == 0, "no till was disconnected"
    for stage, figures in measured.items():
        grown = {name: value - before[name[:-3]] for name, value in figures.items() if name.endswith(".mb")}
        assert max(grown.values()) < MOST_GROWTH_MB, (stage, grown)
        waits = "poseidon" if stage == "gateway" else stage
        assert figures[f"{waits}.behind"] > RATE * PAUSED_S / 2, f"what waits before {stage} is visible"
