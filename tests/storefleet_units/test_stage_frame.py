"""The frame around a stage, as a real process against a real control server."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest
from msgspec import structs

from fleetwire.control import Channel
from fleetwire.errors import ControlError
from fleetwire.settings import StageSettings
from fleetwire.stage import _Frame
from fleetwire.witness import Snapshot
from tests.storefleet_units.lab_end import DEADLINE_S, LabEnd, ended
from tests.storefleet_units.tiny_stage import LAST, TinyStage

SOURCE = "a.b.c.d"
OTHER = "a.b.c.e"


async def take(lab_end: LabEnd, source: str, sequence: int) -> None:
    """Let the tiny stage take an event."""
    assert await lab_end.server.call("tiny", "take", {"source": source, "sequence": sequence}) == [True]


def gaps_ms(lab_end: LabEnd, apart: int) -> list[float]:
    """From each snapshot to the one so many behind it, with the stalls that those in between and both ends tell of.

    A stall makes a gap longer. It makes one shorter, by as much, only when it comes between the loop's look at the clock,
    by which the next snapshot is due, and the stamp of this one: so it is added.
    """
    snapshots, gaps = lab_end.snapshots, []
    for first in range(len(snapshots) - apart):
        told = snapshots[first : first + apart + 1]
        gaps.append(told[-1].at_ms - told[0].at_ms + sum(snapshot.loop_stall_ms for snapshot in told))
    return gaps


async def test_a_stage_joins_its_lab(lab_end: LabEnd) -> None:
    """A stage that has started is known by its instance, incarnation, process and endpoints."""
    process = await lab_end.start()
    member = await lab_end.until_ready()
    assert (member.stage, member.instance, member.incarnation) == ("tiny", 2, 3)
    assert member.process_id == process.pid
    assert member.endpoints == {"http": "http://127.0.0.1:1"}


async def test_snapshots_come_every_second_and_faster_on_demand(lab_end: LabEnd) -> None:
    """Snapshots come a second apart; once the lab asks for more, at the asked pace, never more than 20 a second."""
    await lab_end.start()
    await lab_end.until_ready()
    await take(lab_end, SOURCE, 1)
    await lab_end.until(lambda: any(gap_ms < 1_900 for gap_ms in gaps_ms(lab_end, 1)))
    assert min(gaps_ms(lab_end, 1)) >= 950
    first, second = lab_end.snapshots[:2]
    assert (first.stage, first.instance, first.incarnation) == ("tiny", 2, 3)
    assert second.counters["measured"] == first.counters["measured"] + 1
    lab_end.server.notify_all("snapshot_every", {"interval_ms": 1})
    lab_end.snapshots.clear()
    await lab_end.until(lambda: any(gap_ms < 5_000 for gap_ms in gaps_ms(lab_end, 10)[1:]))
    assert min(gaps_ms(lab_end, 10)[1:]) >= 450
    assert all(not snapshot.taken for snapshot in lab_end.snapshots[2:])


@pytest.mark.parametrize("how", ["stop", "SIGTERM"])
async def test_a_stage_stops(lab_end: LabEnd, how: str) -> None:
    """Told to stop, it finishes, sends one last and full snapshot before it says good-bye, and ends with status 0."""
    process = await lab_end.start()
    await lab_end.until_ready()
    await take(lab_end, SOURCE, 1)
    await take(lab_end, OTHER, 1)
    await lab_end.until(lambda: any(snapshot.taken for snapshot in lab_end.snapshots))
    if how == "stop":
        assert await lab_end.server.call("tiny", "stop") == [None]
    else:
        process.send_signal(signal.SIGTERM)
    status, lines = await ended(process)
    assert status == 0, lines
    assert lab_end.snapshots[-1].taken == {SOURCE: [(1, 1), (LAST, LAST)], OTHER: [(1, 1)]}
    async with asyncio.timeout(DEADLINE_S):
        while lab_end.server.stage("tiny"):
            lab_end.server.changed.clear()
            await lab_end.server.changed.wait()


async def test_an_interrupt_is_the_labs_business(lab_end: LabEnd) -> None:
    """SIGINT, which a terminal sends to all, does not end a stage: it still answers."""
    process = await lab_end.start()
    await lab_end.until_ready()
    process.send_signal(signal.SIGINT)
    await take(lab_end, SOURCE, 1)
    await take(lab_end, SOURCE, 2)
    assert process.returncode is None


async def test_a_stage_does_not_outlive_its_lab(lab_end: LabEnd) -> None:
    """When the control connection ends, the process ends, and says why."""
    process = await lab_end.start()
    await lab_end.until_ready()
    await lab_end.server.stop()
    status, lines = await ended(process)
    assert status == 70
    assert lines[-1].endswith("the lab is gone; ending")


async def test_what_a_stage_tells_on_demand(lab_end: LabEnd) -> None:
    """A full snapshot, one journey and all journeys are there for the asking; a wrong question is answered."""
    await lab_end.start()
    await lab_end.until_ready()
    await take(lab_end, SOURCE, 7)
    (full,) = await lab_end.server.call("tiny", "full_snapshot")
    assert full["taken"] == {SOURCE: [[7, 7]]}
    (step,) = await lab_end.server.call("tiny", "journey", {"source": SOURCE, "sequence": 7})
    assert step["attempt"] == 1
    assert await lab_end.server.call("tiny", "journey", {"source": SOURCE, "sequence": 8}) == [None]
    assert await lab_end.server.call("tiny", "journeys") == [{f"{SOURCE}.7": step}]
    with pytest.raises(Exception, match="KeyError: 'interval_ms'"):
        await lab_end.server.call("tiny", "snapshot_every")


async def test_a_stall_is_told(lab_end: LabEnd) -> None:
    """How long the event loop stood still is in the next snapshot, once; no other stall here is as long as this."""
    await lab_end.start()
    await lab_end.until_ready()
    await lab_end.server.call("tiny", "stand_still", {"seconds": 5.0})
    await lab_end.until(lambda: any(snapshot.loop_stall_ms >= 4_900 for snapshot in lab_end.snapshots))
    seen = len(lab_end.snapshots)
    await lab_end.until(lambda: len(lab_end.snapshots) > seen)
    assert sum(snapshot.loop_stall_ms >= 4_900 for snapshot in lab_end.snapshots) == 1


async def test_a_stage_on_its_own(lab_end: LabEnd) -> None:
    """Without a control plane a stage works until SIGTERM."""
    process = await lab_end.start(structs.replace(lab_end.settings(), control=""))
    assert process.stderr is not None
    assert (await asyncio.wait_for(process.stderr.readline(), DEADLINE_S)).decode().rstrip().endswith("tiny: started")
    process.send_signal(signal.SIGTERM)
    assert await ended(process) == (0, [])


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"STOREFLEET_INSTANCE": "two"}, "STOREFLEET_INSTANCE='two': expected a whole number"),
        ({"STOREFLEET_CONTROL": "nowhere"}, "STOREFLEET_CONTROL='nowhere': expected host:port"),
        ({"STOREFLEET_CONTROL": "127.0.0.1:1"}, "control plane at 127.0.0.1:1:"),
        ({"STOREFLEET_TOKEN_FILE": "/nowhere"}, "secret file /nowhere:"),
        ({"STOREFLEET_TOKEN_FILE": ""}, "wrong token"),
        ({"STOREFLEET_OPTIONS": '{"refuses":"build"}'}, "tiny refuses to build: choose another option"),
        ({"STOREFLEET_OPTIONS": '{"refuses":"start"}'}, "tiny refuses to start: choose another option"),
    ],
    ids=str,
)
async def test_bad_settings(lab_end: LabEnd, variables: dict[str, Any], message: str) -> None:
    """A stage that cannot begin says why in one line and ends with status 2."""
    status, lines = await ended(await lab_end.start(**variables))
    assert (status, len(lines)) == (2, 1), lines
    assert message in lines[0]


class NarrowChannel(Channel):
    """A control connection over which no line with a register fits."""

    def __init__(self) -> None:
        self.passed: list[Snapshot] = []

    def notify(self, method: str, params: object) -> None:
        """Refuse it, or keep it."""
        assert isinstance(params, Snapshot)
        if params.state:
            raise ControlError(f"{method} does not fit")
        self.passed.append(params)


def test_a_snapshot_that_does_not_fit_is_counted_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its sources go without its registers, at once, and tell that something is missing; the last full one's too."""
    settings = StageSettings(stage="tiny")
    stage, channel = TinyStage(settings), NarrowChannel()
    frame = _Frame(settings, stage)
    frame._channel = channel
    frame._stall_ms = 700.0
    stage.witness.take(SOURCE, 1)
    stage.witness.register("store_board", "s1", "OPEN")
    for full in (False, False, True):
        frame._tell_snapshot(full=full)
    assert [snapshot.unnoted_total for snapshot in channel.passed] == [1, 1, 2]
    assert [snapshot.taken for snapshot in channel.passed] == [{SOURCE: [(1, 1)]}, {}, {SOURCE: [(1, 1)]}]
    assert channel.passed[0].loop_stall_ms == 700.0
    messages = [record.getMessage() for record in caplog.records]
    assert ["a snapshot is not sent: snapshot does not fit;" in message for message in messages] == [True, True]
