"""What happens between ready and the end of a run, as scripts that :mod:`storefleet.conductor` plays.

A script that returns ends the run as one that was meant to end: the lab drains and is judged, and nobody has interrupted
it. A plan that says how long or how many events are traded ends by itself, whichever comes first; meanwhile ``waiting``
says how far it is, and what is in the way when nothing is traded. How many it is to be is kept by the emulator, which
never trades one more, whoever dies on the way.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final

from fleetwire.errors import ControlError
from storefleet.convergence import Recovery
from storefleet.plan import TERMINALS_HOP
from storefleet.run import Run
from storefleet.run_record import TRADING_PHASE, RunRecord

LOOK_INTERVAL_S: Final = 0.1
ANSWER_TIMEOUT_S: Final = 2.0


async def demo_script(run: Run) -> None:
    """The main job: trade, lose region west for ten seconds, heal, trade on, recover."""
    run.display.say("trading; in a few seconds region west loses its network")
    run.enter("settle")
    await asyncio.sleep(8.0)
    run.enter("faults on")
    run.display.say("fault: region west is partitioned from the broker for 10 s; its tills trade on offline")
    await run.add_fault(TERMINALS_HOP, "west-outage", "partition", {"region": "west"}, lease_s=30.0)
    await asyncio.sleep(10.0)
    await run.remove_fault(TERMINALS_HOP, "west-outage")
    run.enter("faults off")
    run.display.say("healed; waiting until every view agrees with the tills again")
    recovery = await run.wait_recovery(run.lab.plan.deadline_s)
    run.display.say(f"converged after healing: {_times(recovery)}")
    await asyncio.sleep(4.0)


async def trading_script(run: Run) -> None:
    """Trade until somebody stops the run, or what its plan sets is over."""
    await _trade_until(run, _trading_ends_s(run))


async def resumed_script(run: Run) -> None:
    """After the lab was gone: every view answers for the time it takes to catch up; then trade on."""
    ends_s = _trading_ends_s(run)
    recovery = await run.wait_recovery(run.lab.plan.deadline_s)
    run.display.say(f"converged after the lab was back: {_times(recovery)}")
    await _trade_until(run, ends_s)


def _trading_ends_s(run: Run) -> float:
    """When the plan's time is over, of which earlier labs of the run have had their part; monotonic seconds."""
    planned_s = run.lab.plan.trade_for_s
    return math.inf if planned_s is None else time.monotonic() + planned_s - traded_before_s(run.record)


def traded_before_s(record: RunRecord) -> float:
    """How long earlier labs of this run have traded, seconds."""
    ended = (phase for phase in record.phases if phase.name == TRADING_PHASE and phase.until_ms)
    return sum(phase.until_ms - phase.from_ms for phase in ended) / 1000


async def _trade_until(run: Run, ends_s: float) -> None:
    """Until so many events are traded as the plan has, or it is so late."""
    far: str | None = ""
    try:
        while (left_s := ends_s - time.monotonic()) > 0:
            far = await _how_far(run)
            if far is None:
                break
            run.waiting = ", ".join(part for part in (far, _time_left(left_s)) if part)
            await asyncio.sleep(min(LOOK_INTERVAL_S, left_s))
    finally:
        run.waiting = ""
    over = f"the time to trade is over{f', {far}' if far else ''}" if far is not None else "all events are traded"
    run.display.say(f"{over}: the lab drains and is judged")


def _time_left(left_s: float) -> str:
    return "" if left_s == math.inf else f"{left_s:.0f} s of trading left"


async def _how_far(run: Run) -> str | None:
    """How many events of the plan's are traded, in words, with what keeps the others back; empty: it sets no number;
    None: all are."""
    wanted = run.lab.plan.trade_events
    if wanted is None:
        return ""
    try:
        (traded,) = await run.lab.stage_call("emulator", "traded", timeout_s=ANSWER_TIMEOUT_S)
    except ControlError:
        return f"{wanted:,} events are to be traded; the terminals do not answer"
    if traded["events"] >= wanted:
        return None
    far = f"{traded['events']:,} of {wanted:,} events are traded"
    if not traded["selling"]:
        return f"{far}; every store is closed (storefleet trade --open)"
    return far if traded["offered"] else f"{far}; nothing is offered (storefleet trade --rate)"


def _times(recovery: Recovery) -> str:
    times = (f"{view} {at_ms - recovery.healed_ms} ms" for view, at_ms in recovery.converged_ms.items())
    return ", ".join(times) or "no view yet"
