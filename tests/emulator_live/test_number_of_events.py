"""So many events and not one more, the same at every rate, over every restart, and whoever is offline."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulator.stage import Emulator
from fleetwire.errors import ControlError, SettingsError
from tests.broker import Broker
from tests.emulator_live.lab import call, rows, running, settings_for, until

WANTED = 121
"""No multiple of the terminals, nor of what is committed at once."""
CONTENT = (
    "SELECT id, sequence, type, hash, business_day_date, amount_cents FROM event JOIN source ON number = source"
    " ORDER BY id, sequence"
)
BY_STORE = (
    "SELECT rtrim(id, '0123456789rdk'), business_day_date, count(*), sum(amount_cents) FROM event"
    " JOIN source ON number = source GROUP BY 1, 2 ORDER BY 1, 2"
)


async def until_traded(emulator: Emulator, number: int = WANTED) -> None:
    """Wait until so many events are on disk."""
    await until(lambda: emulator.running.trading.committed >= number, f"{number} events are on disk")


async def traded(broker: Broker, folder: Path, **options: object) -> list[tuple[object, ...]]:
    """The content of WANTED events, as one undisturbed process trades them."""
    async with running(settings_for(broker, folder, events=WANTED, **options)) as emulator:
        await until_traded(emulator)
    return rows(folder, CONTENT)


async def test_the_same_events_at_every_rate(broker: Broker, tmp_path: Path) -> None:
    """A hundred times the rate makes the same events under the same keys, and so the same totals of every store."""
    slow = await traded(broker, tmp_path / "slow", rate_per_s=60.0)
    fast = await traded(broker, tmp_path / "fast", rate_per_s=6_000.0)
    assert len(slow) == WANTED
    assert slow == fast
    assert rows(tmp_path / "slow", BY_STORE) == rows(tmp_path / "fast", BY_STORE)
    other = await traded(broker, tmp_path / "other", rate_per_s=6_000.0, seed=2)
    assert {row[3] for row in other}.isdisjoint(row[3] for row in fast)


async def test_the_same_events_over_a_restart(broker: Broker, tmp_path: Path) -> None:
    """A process that is told the same number again makes what is missing of it, and not one more."""
    whole = await traded(broker, tmp_path / "whole", rate_per_s=6_000.0)
    cut = settings_for(broker, tmp_path / "cut", events=WANTED, rate_per_s=100.0)
    async with running(cut) as emulator:
        await until_traded(emulator, 30)
    assert 30 <= len(rows(tmp_path / "cut", CONTENT)) < WANTED
    for _ in range(2):
        async with running(cut) as emulator:
            await until_traded(emulator)
    assert rows(tmp_path / "cut", CONTENT) == whole


async def test_the_same_events_while_the_broker_is_away(broker: Broker, tmp_path: Path) -> None:
    """Tills that are offline trade on, in their turn."""
    whole = await traded(broker, tmp_path / "whole", rate_per_s=6_000.0)
    settings = settings_for(broker, tmp_path / "offline", events=WANTED)
    async with running(settings) as emulator:
        await call(emulator, "trade", rate_per_s=200.0)
        await until_traded(emulator, 20)
        broker.kill()
        await until_traded(emulator)
        assert emulator.running.online == 0
    assert rows(tmp_path / "offline", CONTENT) == whole


async def test_a_burst_is_cut_to_what_is_left(broker: Broker, tmp_path: Path) -> None:
    """Bursts count; who asks for more than is left gets that, and afterwards is told that there is nothing left."""
    whole = await traded(broker, tmp_path / "whole", rate_per_s=6_000.0)
    async with running(settings_for(broker, tmp_path / "bursts", events=WANTED)) as emulator:
        assert await call(emulator, "burst", events=100) == {"events": 100}
        await until_traded(emulator, 100)
        assert await call(emulator, "traded") == {"events": 100, "offered": 0.0, "selling": 4}
        assert await call(emulator, "burst", events=100) == {"events": WANTED - 100}
        await until_traded(emulator)
        for method, params in (("burst", {"events": 1}), ("trade", {"rate_per_s": 10.0})):
            with pytest.raises(ControlError, match="all 121 events of this run are traded"):
                await call(emulator, method, **params)
        assert (await call(emulator, "traded"))["events"] == WANTED
    assert rows(tmp_path / "bursts", CONTENT) == whole


async def test_what_is_done_is_not_skipped(broker: Broker, tmp_path: Path) -> None:
    """Once all are traded nothing is offered any more, so nothing counts as skipped."""
    async with running(settings_for(broker, tmp_path, events=WANTED, rate_per_s=6_000.0)) as emulator:
        await until_traded(emulator)
        before = emulator.running.trading.pacer.skipped
        await until(lambda: emulator.running.trading.pacer.rate_per_s == 0.0, "nothing is offered")
        emulator.measure()
        assert (emulator.witness.counters["offered_rate"], emulator.witness.counters["skipped_total"]) == (0.0, before)


@pytest.mark.parametrize("events", [0, -1, 1.5, "many", 10**10])
def test_a_number_that_cannot_be_is_refused(broker: Broker, tmp_path: Path, events: object) -> None:
    """One line that names the option."""
    with pytest.raises(SettingsError, match="STOREFLEET_OPTIONS of the emulator: events: expected a whole number"):
        Emulator(settings_for(broker, tmp_path, events=events))
