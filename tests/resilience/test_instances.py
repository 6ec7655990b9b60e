"""Several instances of PARM and of the sync stage: one of them dies again and again, and the books stay right."""

from __future__ import annotations

from pathlib import Path

from storefleet.run import Run
from tests.resilience.laboratory import kill, plan_of, play, until_traded

ROUNDS = 3


async def test_instances_that_die_again_and_again_lose_and_double_nothing(tmp_path: Path) -> None:
    """Three PARMs and two sync stages under load; one of each is killed in every round, by turns both at once."""

    async def script(run: Run) -> None:
        for number in range(ROUNDS):
            await until_traded(run, 100)
            await kill(run, "parm-2")
            if number % 2:
                await until_traded(run, 30)
            await kill(run, "sync_stage-2")
        await run.wait_recovery(30.0)

    plan = plan_of(
        tmp_path, fleet={"stores": 16, "keep_alive_s": 4}, rate="120/s", instances=("parm=3", "sync_stage=2")
    )
    played = await play(tmp_path, plan, script)
    played.assert_valid()
    assert len(played.run.record.restarts["parm-2"]) == ROUNDS
    assert len(played.run.record.restarts["sync_stage-2"]) == ROUNDS
    assert played.verdict.counts["duplicated"] == played.verdict.counts["lost"] == 0
