"""A run that has begun is judged, whatever happens to its script or to the lab; it never says that it did not begin."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from emulator.fleet import Fleet
from fleetwire.errors import ControlError
from storefleet.conductor import CutShort, conduct
from storefleet.lab_options import make_plan
from storefleet.live import Silent
from storefleet.plan import TERMINALS_HOP
from storefleet.run import Run
from storefleet.run_record import RunRecord
from storefleet.verdict.result import Verdict

DEADLINE_S = 40.0


async def played(folder: Path, script: Callable[[Run], Awaitable[None]]) -> tuple[Path, Verdict]:
    """A small lab, terminals and broker alone, with this script."""
    plan = make_plan(
        fleet=Fleet.from_options(stores=2), name="lab", rate="40/s", time_scale=60.0, broker="local",
        confirmed_external=False, port=0, without=("parm",), stage=(), instances=(), runs=folder, deadline_s=DEADLINE_S,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOREFLEET_HOME", str(folder / "home"))
        return await conduct(plan, script, Silent(), password=None, trade=True, on_ready=lambda _: None)


def left_verdict(runs: Path) -> Verdict:
    """The verdict of the one run in a folder."""
    (written,) = runs.glob("*/verdict.json")
    return msgspec.json.decode(written.read_bytes(), type=Verdict)


async def until_traded(run: Run) -> None:
    """Wait until terminals have committed something."""
    async with asyncio.timeout(DEADLINE_S):
        while not run.lab.observatory.distinct["emulator"]:  # noqa: ASYNC110 - snapshots come every second
            await asyncio.sleep(0.05)


async def test_chaos_is_killed_during_an_outage_and_the_script_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With chaos gone its fault has ended by itself; a script that fails is told in a warning, the run is judged."""

    async def script(run: Run) -> None:
        await until_traded(run)
        await run.add_fault(TERMINALS_HOP, "outage", "latency", {"latency": 20}, lease_s=60.0)
        run.lab.processes.kill("chaos-1")
        await run.remove_fault(TERMINALS_HOP, "outage")
        assert not run.faults
        raise ControlError("the script has had enough")

    folder, verdict = await played(tmp_path, script)
    assert (verdict.validity, verdict.counts["ok"]) == ("valid", verdict.sent)
    assert verdict.sent > 0
    assert "the script has had enough; the script ends here, the run is judged" in caplog.text
    record = msgspec.json.decode((folder / "plan.json").read_bytes(), type=RunRecord)
    assert [(fault.ended_by_itself, fault.end_ms > 0) for fault in record.faults] == [(True, True)]


async def test_a_run_that_breaks_off_is_unknown(tmp_path: Path) -> None:
    """Where the lab itself breaks after ready, what was recorded is judged and the command is told so, not exit 2."""

    async def script(run: Run) -> None:
        async def broken(*, drain_s: float) -> Verdict:
            raise OSError(28, f"No space left on device, {drain_s:g}")

        run.finish = broken  # type: ignore[method-assign]

    with pytest.raises(CutShort, match=r"No space left on device.*the run broke off"):
        await played(tmp_path, script)
    assert left_verdict(tmp_path).validity == "unknown"
