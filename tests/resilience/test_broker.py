"""What Mosquitto does to a fleet: it dies with its memory, drops what it has acknowledged, forgets who was away."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiomqtt

from parm_stub.stage import Parm
from storefleet.run import Run
from tests.broker import Broker
from tests.parm_live.running import TOPICS, running, stage_settings, wire
from tests.parm_live.test_registers import FIRST, STATUS, beat, say, status_is
from tests.resilience.laboratory import DEADLINE_S, kill, plan_of, play, until, until_traded


async def until_retained(run: Run, wanted: dict[str, int]) -> None:
    """Wait until a client that subscribes now is given so many retained canonical registers of each kind."""
    host, port = run.lab.broker_address()
    found: dict[str, set[str]] = {kind: set() for kind in wanted}
    async with aiomqtt.Client(host, port) as client, asyncio.timeout(DEADLINE_S):
        for kind in wanted:
            await client.subscribe(f"{run.lab.plan.topic_root}/canonical/{kind}/#", qos=1)
        async for message in client.messages:
            kind = str(message.topic).split("/")[3]
            found[kind].add(str(message.topic))
            if {kind: len(topics) for kind, topics in found.items()} == wanted:
                return


def handed_on_by_parm(run: Run) -> int:
    """How many events, by its newest report."""
    return sum(numbers.count for numbers in run.lab.observatory.handed_on["parm"].values())


QUEUED = 60
SMALL = {"stores": 12, "keep_alive_s": 4}


async def test_a_broker_that_dies_with_its_memory_is_healed_by_asks_and_births(tmp_path: Path) -> None:
    """Queues, sessions and retained registers are gone twice: every event arrives, every register converges again."""

    async def script(run: Run) -> None:
        for _ in range(2):
            await until_traded(run, 150)
            # So that the broker, and no socket, holds what PARM hands on from now on.
            await run.add_fault("sync-broker", "away", "down", {}, lease_s=DEADLINE_S)
            await run.lab.control.ask_snapshots("parm", timeout_s=DEADLINE_S)
            wanted = handed_on_by_parm(run) + QUEUED
            await until(lambda wanted=wanted: handed_on_by_parm(run) >= wanted, "PARM has handed on more events")
            births = run.lab.observatory.total("emulator", "connects_total")
            await kill(run, "broker-1")
            await run.remove_fault("sync-broker", "away")
            await until(
                lambda births=births: run.lab.observatory.total("emulator", "connects_total") >= births + 36,
                "every terminal has connected again",
            )
        recovery = await run.wait_recovery(30.0)
        assert recovery.converged_ms.keys() == recovery.views
        await until_retained(run, {"status": 12, "device": 36})

    played = await play(tmp_path, plan_of(tmp_path, fleet=SMALL, rate="120/s"), script)
    played.assert_valid()
    assert played.healed()["parm > parm-broker > broker > sync-broker"] >= 2 * QUEUED
    assert played.verdict.broker is not None
    assert played.verdict.broker.restarts == 2
    print(played.healed(), played.verdict.broker, [(v.view, v.healed_to_converged_ms) for v in played.verdict.views])


async def test_an_overflowing_queue_is_healed_and_stands_beside_the_brokers_own_count(tmp_path: Path) -> None:
    """PARM stands still, the broker acknowledges and drops: the account names the hop, the broker says how many."""
    options = ("max_queued_messages 20", "max_inflight_messages 20")

    async def script(run: Run) -> None:
        await until_traded(run, 100)
        run.lab.processes.pause("parm-1")
        await until_traded(run, 150)
        watch = run.lab.broker_watch
        assert watch is not None
        await until(lambda: watch.account().dropped > 30, "the broker drops")
        run.lab.processes.resume("parm-1")
        await run.wait_recovery(30.0)

    plan = plan_of(tmp_path, fleet=SMALL, rate="150/s", broker_options=options)
    played = await play(tmp_path, plan, script)
    played.assert_valid()
    broker = played.verdict.broker
    assert broker is not None
    print(played.healed(), broker, played.verdict.resent, played.verdict.resent_needlessly)
    assert broker.dropped > 30
    # The broker counts every sending that it dropped, the account every event of which one arrived at last.
    assert 0 < played.healed()["terminals-broker > broker > parm-broker"] <= broker.dropped
    assert "Dropped by the broker, by its own count" in (played.folder / "report.txt").read_text(encoding="utf-8")


async def test_a_member_that_is_gone_for_longer_than_its_session_costs_time_and_nothing_else(tmp_path: Path) -> None:
    """PARM-2's share is forgotten with its session: terminals ask, send again, and the verdict is valid."""

    async def script(run: Run) -> None:
        processes = run.lab.processes
        await until_traded(run, 100)
        await kill(run, "parm-2")
        processes.pause("parm-2")  # before it has connected: to the broker it is simply gone
        await until_traded(run, 400)
        processes.resume("parm-2")
        await run.wait_recovery(30.0)

    plan = plan_of(
        tmp_path, fleet=SMALL, rate="100/s", instances=("parm=2",),
        stage_options={"parm": {"session_expiry_s": 1}},
    )  # fmt: skip
    played = await play(tmp_path, plan, script)
    played.assert_valid()
    print(played.healed(), played.verdict.broker)
    assert played.verdict.resent > 0
    assert signal.SIGKILL.name in str(played.run.record.restarts["parm-2"])


async def test_a_will_that_never_comes_is_made_up_for_by_silence(broker: Broker, tmp_path: Path) -> None:
    """A till whose end nobody said goes offline in its device register too, and comes back by a heartbeat."""
    options = '{"heartbeat_timeout_s": 0.3}'
    topic = TOPICS.canonical("device", FIRST)
    async with (
        wire(broker, "canonical/#") as observer,
        running(Parm(stage_settings("parm", broker, tmp_path, options=options))),
    ):

        def said() -> list[dict[str, Any]]:
            return [message.json for message in observer.seen if message.topic == topic]

        await say(observer, FIRST, online=True, boot=1, bd_seq=1)
        await until(lambda: [one["online"] for one in said()] == [True, False], "it is silent")
        assert said()[1]["reason"] == "lost"
        await until(lambda: status_is(observer, "OFFLINE", 0, 1), "the store's status")
        await beat(observer, FIRST)
        await until(lambda: [one["online"] for one in said()[:3]] == [True, False, True], "it speaks again")
        assert (said()[2]["boot"], said()[2]["bd_seq"]) == (1, 1)


async def test_revisions_grow_although_parm_and_broker_have_both_forgotten_them(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    """The next start of PARM, on a broker without any retained status, still says something newer."""
    revisions = []
    for incarnation in (1, 2):
        broker = make_broker().start()
        settings = stage_settings("parm", broker, tmp_path, incarnation=incarnation)
        async with wire(broker, "canonical/status/#") as observer, running(Parm(settings)):
            for boot in range(1, 6 - 2 * incarnation):  # fewer changes the second time
                await say(observer, FIRST, online=True, boot=boot, bd_seq=1)
                await say(observer, FIRST, online=False, boot=boot, bd_seq=1)
            await until(lambda observer=observer: status_is(observer, "OFFLINE", 0, 1), "the store's status")
            revisions.append(observer.retained(STATUS)["revision"])
    assert revisions[1] > revisions[0]
