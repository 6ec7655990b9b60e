"""What a stage that was killed had taken is no loss before it, whatever its next incarnation sees first on a retry."""

from __future__ import annotations

import json
import signal
from collections import defaultdict
from pathlib import Path

from storefleet.run import Run
from tests.resilience.laboratory import DEADLINE_S, plan_of, play, until, until_running_again, until_traded

Key = tuple[str, int]
DYING = ("parm-1", "broker-1", "sync_stage-1")


def keys(sets: dict[str, list[tuple[int, int]]]) -> set[Key]:
    """Source -> intervals, as single keys."""
    return {
        (source, number)
        for source, intervals in sets.items()
        for first, last in intervals
        for number in range(first, last + 1)
    }


def taken_by_parm(folder: Path) -> tuple[set[Key], set[Key]]:
    """What the first PARM reported as taken, and what any later one reported as taken first on a retry."""
    taken: dict[int, set[Key]] = defaultdict(set)
    on_retry: dict[int, set[Key]] = defaultdict(set)
    for line in (folder / "witnesses.jsonl").read_text(encoding="utf-8").splitlines():
        report = json.loads(line)
        if report.get("stage") == "parm":
            taken[report["incarnation"]] |= keys(report["taken"])
            on_retry[report["incarnation"]] |= keys(report["first_taken_on_retry"])
    later = set().union(*(found for incarnation, found in on_retry.items() if incarnation > 1))
    return taken[1], later


async def test_what_an_earlier_parm_had_taken_was_not_lost_before_it(tmp_path: Path) -> None:
    """PARM dies, and with it all who have what it handed on: nobody says of the next one what nobody can know."""
    plan = plan_of(tmp_path, fleet={"stores": 8}, rate="100/s")

    async def script(run: Run) -> None:
        await until_traded(run, 300)
        parm = run.lab.processes.children["parm-1"]
        seen = run.lab.observatory
        run.lab.processes.pause("sync_stage-1")  # what PARM hands on waits where it will be forgotten
        before = seen.distinct["parm"]
        await run.lab.stage_call("emulator", "burst", {"events": 1_500}, timeout_s=DEADLINE_S)
        await until(lambda: seen.distinct["parm"] > before + 200, "PARM has reported much that nobody behind it has")
        incarnations = {name: run.lab.processes.children[name].incarnation for name in DYING}
        for name in incarnations:
            run.lab.processes._send(run.lab.processes.children[name], signal.SIGKILL)
        for name, incarnation in incarnations.items():
            await until_running_again(run, name, incarnation)
        assert parm.incarnation > 1
        await until_traded(run, 100)

    played = await play(tmp_path, plan, script)
    had_taken, later = taken_by_parm(played.folder)
    wrongly = had_taken & later
    assert wrongly, "the next PARM saw nothing first on a retry that the first had taken"
    before_parm = sum(count for address, count in played.healed().items() if address.endswith("parm-broker"))
    assert before_parm <= len(later - had_taken)
    assert before_parm + played.verdict.resent_not_known >= len(later - had_taken) - played.verdict.resent_needlessly
    played.assert_valid()
