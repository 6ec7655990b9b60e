"""Conducts one run: the lab comes up, the script plays, the run is judged, and whoever stops or fails, a verdict is left.

The first signal (or ``storefleet down``) ends the script, at any phase: the lab drains until every event has its outcome
or has had its deadline, and is judged. A second one ends everything at once; what was recorded by then is judged, and a
check that runs already is waited for. A lab that does not come up, or is stopped before it is ready, did not begin; it
leaves a verdict too, which is unknown, but a past run whose new lab does not come up, or is stopped before, is not judged
and can be tried again. Nothing that was started is left running.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from fleetwire.errors import FleetError
from storefleet.endings import Stops
from storefleet.keeping import keep_what_is_needed
from storefleet.lab import Lab
from storefleet.live import Display, Silent
from storefleet.log_watch import LogWatch
from storefleet.machine_watch import MachineWatch
from storefleet.past_run import PastRun
from storefleet.plan import LabPlan
from storefleet.run import Run, Script
from storefleet.run_folders import make_run_folder
from storefleet.run_record import TRADING_PHASE
from storefleet.steering import steering_handlers
from storefleet.unfinished_runs import way_on
from storefleet.verdict.result import Verdict

PICTURE_INTERVAL_S: Final = 0.25
COMPARE_INTERVAL_S: Final = 2.0
"""A picture's distances are this old at most: to compare views with the ledger costs more than to draw."""
RECORD_INTERVAL_S: Final = 5.0

_log = logging.getLogger(__name__)


class Stopped(Exception):
    """The run was stopped at once; exit status 130. The message says what is left of it."""


class CutShort(Exception):
    """The run began and broke off before its verdict was whole; exit status 3."""


async def conduct(
    plan: LabPlan,
    script: Script,
    display: Display,
    *,
    password: str | None,
    trade: bool,
    on_ready: Callable[[Lab], None],
    past: PastRun | None = None,
) -> tuple[Path, Verdict]:
    """Run a lab from start to verdict, or go on with a ``past`` run. Raises FleetError or OSError when it did not begin.

    Once it has begun: Stopped after a second signal, CutShort where the lab itself broke.
    """
    with _signals(display, plan.drain_limit_s) as stopping:
        folder = past.folder if past is not None else make_run_folder(Path(plan.runs_folder), plan.name)
        try:
            lab = Lab(plan, folder, password, past)
        except FleetError:
            with contextlib.suppress(OSError):
                folder.rmdir()  # nothing is in it: the lab did not even get its name
            raise
        with contextlib.closing(lab.journal), _left_to_go_on(lab):
            await lab.recall()
            run = Run(lab, display, stopping)
            lab.client_handlers.update(steering_handlers(lab, run.note_command))
            verdict = await _whole_life(run, script, trade=trade, on_ready=on_ready)
    return folder, verdict


@contextlib.contextmanager
def _left_to_go_on(lab: Lab) -> Iterator[None]:
    """A past run whose new lab never became ready can be tried again, and whoever ended it is told so."""
    try:
        yield
    except (FleetError, OSError, asyncio.CancelledError) as error:
        if not _can_go_on(lab):
            raise
        way = way_on(lab.run_folder)
        raise (Stopped(way) if isinstance(error, asyncio.CancelledError) else FleetError(f"{error}; {way}")) from error


def _can_go_on(lab: Lab) -> bool:
    return lab.past is not None and not lab.ready.is_set()


async def _whole_life(run: Run, script: Script, *, trade: bool, on_ready: Callable[[Lab], None]) -> Verdict:
    """The run from the start of its lab until nothing of it is left running, judged however it ended."""
    lab = run.lab
    try:
        async with lab:
            verdict = await _live(run, script, trade=trade, on_ready=on_ready)
            lab.last_work = partial(keep_what_is_needed, lab.plan, lab.run_folder, verdict, run.display)
            return verdict
    except BaseException as error:
        if _can_go_on(lab):
            raise
        run.abandon()
        if isinstance(error, FleetError | OSError) and lab.ready.is_set():
            raise CutShort(f"{error}; the run broke off: what was proven is in {lab.run_folder}") from error
        raise


async def _live(run: Run, script: Script, *, trade: bool, on_ready: Callable[[Lab], None]) -> Verdict:
    run.enter("starting")
    painter = asyncio.create_task(_paint(run), name="run.display")
    keeper = asyncio.create_task(_keep_record(run), name="run.record")
    watch = MachineWatch(
        run.lab.observatory, run.clock.now_ms, run.lab.run_folder, run.record.machine, note=run.lab.log.note
    )
    run.record.machine = watch.record
    watching = asyncio.create_task(watch.run(), name="run.machine")
    looking = asyncio.create_task(run.stopped.run(), name="run.stopped_processes")
    logging_changes = asyncio.create_task(LogWatch(run).run(), name="run.log_watch")
    try:
        try:
            await _until_stopped(run, _begin(run, script, trade=trade, on_ready=on_ready))
        except (FleetError, OSError) as error:
            if not run.lab.ready.is_set():
                await _undo_start(run.lab)
                raise
            _log.warning("%s; the script ends here, the run is judged", error)
        if _can_go_on(run.lab):
            raise FleetError("stopped before the lab was ready")
        verdict = await run.finish(drain_s=run.lab.plan.drain_limit_s)
    finally:
        painter.cancel()
        keeper.cancel()
        watching.cancel()
        looking.cancel()
        logging_changes.cancel()
        run.display.close()
    await _tidy_broker(run.lab)
    if not run.lab.ready.is_set():
        raise FleetError(f"stopped before the lab was ready; nothing was traded; its logs: {run.lab.run_folder}/logs")
    return verdict


async def _begin(run: Run, script: Script, *, trade: bool, on_ready: Callable[[Lab], None]) -> None:
    await run.lab.start(trade=trade)
    on_ready(run.lab)
    run.enter(TRADING_PHASE)
    await script(run)


async def _until_stopped(run: Run, work: Awaitable[None]) -> None:
    """Run the work until it is done or somebody asks the run to stop; its own failures pass through."""
    task = asyncio.ensure_future(work)
    stop = asyncio.create_task(run.stopping.wait(), name="run.stopping")
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        run.interrupted = not task.done()
    finally:
        stop.cancel()
        task.cancel()
        await asyncio.wait({task})
    if not run.interrupted:
        await task
    elif not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("while stopping: %s", error)


async def _paint(run: Run) -> None:
    while not isinstance(run.display, Silent):
        run.display.show(run.picture(maximum_age_s=COMPARE_INTERVAL_S))
        await asyncio.sleep(PICTURE_INTERVAL_S)


async def _keep_record(run: Run) -> None:
    """What a lab that goes on with this run finds is RECORD_INTERVAL_S old at most."""
    while True:
        await asyncio.sleep(RECORD_INTERVAL_S)
        run.keep_record()


async def _undo_start(lab: Lab) -> None:
    """A lab that did not come up leaves nothing on somebody else's broker; a past run's does not end with it."""
    if lab.past is None and not lab.tidy:
        await lab.stop_stages()
        await _tidy_broker(lab)


async def _tidy_broker(lab: Lab) -> None:
    """On somebody else's broker nothing of ours stays behind."""
    if not lab.plan.external_broker:
        return
    from storefleet.observer import clear_retained, end_sessions

    username = lab.username or None
    try:
        await end_sessions(lab.broker_endpoint, lab.plan.stage_client_ids, username=username, password=lab.password)
        await clear_retained(
            lab.broker_endpoint,
            lab.plan.topic_root,
            client_id=f"{lab.plan.name}.clear",
            username=username,
            password=lab.password,
        )
        lab.tidy = True
    except FleetError as error:
        _log.warning("sessions or retained messages of the lab stay on the broker: %s; run: storefleet clean", error)


@contextlib.contextmanager
def _signals(display: Display, drain_s: float) -> Iterator[asyncio.Event]:
    """The first signal sets the event, the second cancels the caller."""
    loop = asyncio.get_running_loop()
    conductor = asyncio.current_task()
    assert conductor is not None
    stopping = asyncio.Event()

    def drain() -> None:
        stopping.set()
        display.say(
            f"stopping: what was traded drains for at most {drain_s:.0f} s, then the run is read and judged "
            "(Ctrl-C again ends at once)"
        )

    def end_at_once() -> None:
        display.say("stopping at once")
        conductor.cancel("stopped at once")

    def hear(count: int) -> None:
        loop.call_soon_threadsafe(drain if count == 1 else end_at_once)

    with Stops(hear):
        try:
            yield stopping
        except asyncio.CancelledError:
            raise Stopped("what was proven by then is in the run folder") from None
