"""What Mosquitto does to a fleet: it dies with its memory, drops what it has acknowledged, forgets who was away."""

from __future__ import annotations

import signal
from pathlib import Path

from storefleet.run import Run
from tests.resilience.laboratory import kill, plan_of, play, until, until_traded

SMALL = {"stores": 12, "keep_alive_s": 4}


async def test_a_broker_that_dies_with_its_memory_is_healed_by_asks_and_births(tmp_path: Path) -> None:
    """Queues, sessions and retained registers are gone twice: every event arrives, every register converges again."""

    async def script(run: Run) -> None:
        for _ in range(2):
            await until_traded(run, 150)
            run.lab.processes.pause("sync_stage-1")  # so that the broker holds canonical messages when it dies
            await until_traded(run, 60)
            births = run.lab.observatory.total("emulator", "connects_total")
            await kill(run, "broker-1")
            run.lab.processes.resume("sync_stage-1")
            await until(
                lambda births=births: run.lab.observatory.total("emulator", "connects_total") >= births + 36,
                "every terminal has connected again",
            )
        recovery = await run.wait_recovery(30.0)
        assert recovery.converged_ms.keys() == recovery.views

    played = await play(tmp_path, plan_of(tmp_path, fleet=SMALL, rate="120/s"), script)
    played.assert_valid()
    assert played.healed(), played.verdict.places
    assert played.verdict.broker is not None
    assert played.verdict.broker.restarts == 2
    print(played.healed(), played.verdict.broker, [(v.view, v.healed_to_converged_ms) for v in played.verdict.views])


async def test_an_overflowing_queue_is_healed_and_stands_beside_the_brokers_own_count(tmp_path: Path) -> None:
    """PARM stands still, the broker acknowledges and drops: the account names the hop, the broker says how many."""
    options = ("max_queued_messages 20", "max_inflight_messages 20")

    async def script(run: Run) -> None:
        await until_traded(run, 100)
        run.lab.processes.pause("parm-1")
        await until_traded(run, 300)
        watch = run.lab.broker_watch
        assert watch is not None
        await until(lambda: watch.account().dropped > 100, "the broker drops")
        run.lab.processes.resume("parm-1")
        await run.wait_recovery(30.0)

    plan = plan_of(tmp_path, fleet=SMALL, rate="150/s", broker_options=options)
    played = await play(tmp_path, plan, script)
    played.assert_valid()
    broker = played.verdict.broker
    assert broker is not None
    print(played.healed(), broker, played.verdict.resent, played.verdict.resent_needlessly)
    assert broker.dropped > 100
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
