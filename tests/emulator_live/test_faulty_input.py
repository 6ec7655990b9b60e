"""Faulty input on demand is sent as such and entered in the ledger as what it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from fleetwire.reasons import REASONS
from tests.broker import Broker
from tests.emulator_live.lab import answering, call, rows, running, settings_for, until, until_drained


async def test_malformed_events_keep_their_number_and_carry_their_reason(broker: Broker, tmp_path: Path) -> None:
    """Every malformed event arrives under its own key, and the ledger names the reason it must be rejected for."""
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path, malformed_share=0.3)) as emulator:
        await call(emulator, "burst", events=200)
        await until_drained(emulator)
        assert len(answerer.keys) == 200
    reasons = Counter(str(reason) for (reason,) in rows(tmp_path, "SELECT expected_reason FROM event"))
    assert 100 < reasons.pop("") < 180
    assert set(reasons) <= set(REASONS)
    assert len(reasons) >= 5


async def test_repeated_events_come_twice_and_are_planted(broker: Broker, tmp_path: Path) -> None:
    """A repeat is the same content under the same key, once for every planted row."""
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path, repeat_share=0.25)) as emulator:
        await call(emulator, "burst", events=100)
        await until_drained(emulator)
        planted = {
            (str(source), int(str(number)))
            for source, number in rows(
                tmp_path, "SELECT id, sequence FROM planted JOIN source ON number = source WHERE kind = 'repeat'"
            )
        }
        assert 5 < len(planted) < 60
        await until(lambda: len(answerer.events) == 100 + len(planted), "every repeat came")
    came = Counter((source, sequence, body) for source, sequence, _, body in answerer.events)
    assert {(source, sequence) for (source, sequence, _), times in came.items() if times == 2} == planted


async def test_a_conflict_follows_the_applied_event_with_another_content(broker: Broker, tmp_path: Path) -> None:
    """The second content comes after the first was applied, and its refusal resolves nothing but is kept."""
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path, conflict_share=0.25)) as emulator:
        await call(emulator, "burst", events=100)
        await until_drained(emulator)
        emulator.running.journal.flush()
        planted = {
            (str(source), int(str(number)))
            for source, number in rows(
                tmp_path, "SELECT id, sequence FROM planted JOIN source ON number = source WHERE kind = 'conflict'"
            )
        }
        assert len(planted) > 5
        await until(lambda: len(answerer.events) == 100 + len(planted), "every conflict came")
        bodies: dict[tuple[str, int], list[bytes]] = {}
        for source, sequence, _, body in answerer.events:
            bodies.setdefault((source, sequence), []).append(body)
        twice = {key for key, versions in bodies.items() if len(versions) == 2}
        assert twice == planted
        assert all(bodies[key][0] != bodies[key][1] for key in planted)
        assert emulator.witness.counters["resolved_total"] == 100
