"""What the lab finds out for its log by looking: files that the disk refuses, what the broker drops, who is gone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storefleet.log_watch import LogWatch
from storefleet.verdict.log_file import LOG_FILE_NAME, read_log
from tests.storefleet_units.test_observatory import snapshot
from tests.storefleet_units.test_run import AnsweringLab, run_of


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    """A lab that only answers."""
    found = AnsweringLab(tmp_path)
    yield found
    found.observatory.close()


def told(lab: AnsweringLab) -> list[tuple[str, str, str]]:
    """Kind, who and text of all in the log."""
    return [(one.kind, one.who, one.text) for one in read_log(lab.run_folder / LOG_FILE_NAME)]


async def test_files_that_the_disk_refuses(lab: AnsweringLab) -> None:
    """Each is in trouble from the first look at which it is refused until one at which it is not."""
    lab.observatory.troubles._note = lab.log.note
    run = run_of(lab)
    watch = LogWatch(run)
    watch.look()
    run.refusals["plan.json"] = "No space left on device"
    lab.observatory.refusal = "Read-only file system"
    watch.look()
    watch.look()
    assert [(one.who, one.code) for one in lab.observatory.troubles.all()] == [
        ("witnesses.jsonl", "file_unwritable"),
        ("plan.json", "disk_full"),
    ]
    run.refusals.clear()
    watch.look()
    assert [(kind, who) for kind, who, _ in told(lab)] == [
        ("trouble_on", "witnesses.jsonl"),
        ("trouble_on", "plan.json"),
        ("trouble_off", "plan.json"),
    ]


async def test_what_the_broker_drops(lab: AnsweringLab) -> None:
    """The first time, and each time that it is twice as much: few lines however many messages."""
    counts = SimpleNamespace(dropped=0)
    lab.broker_watch = SimpleNamespace(account=lambda: counts)  # type: ignore[assignment]
    watch = LogWatch(run_of(lab))
    for counts.dropped in (0, 3, 5, 6, 11, 12, 12):
        watch.look()
    assert told(lab) == [
        ("heard_in_part", "broker-1", f"the broker has dropped {count} messages by now") for count in (3, 6, 12)
    ]


async def test_who_is_gone_has_no_troubles(lab: AnsweringLab) -> None:
    """What was wrong with a process ends with it."""
    watch = LogWatch(run_of(lab))
    for stage in ("gateway", "views"):
        lab.observatory.receive(snapshot(stage, troubles={"disk_full": "no room"}))
    lab.control.members["views", 1] = None
    watch.look()
    assert [one.who for one in lab.observatory.troubles.all()] == ["views-1"]


async def test_views_are_looked_at_while_the_lab_works(lab: AnsweringLab) -> None:
    """Registers that stay wrong are told, by the run's clock; not before it is ready, nor once its stages end."""
    run, now_ms = run_of(lab), [10_000]
    run.clock = SimpleNamespace(now_ms=lambda: now_ms[0])  # type: ignore[assignment]
    watch = LogWatch(run)
    lab.observatory.registers["store_board"]["taco.west.s0009"] = "OPEN"
    for now_ms[0], ready, phase in (
        (10_000, False, "starting"),
        (15_000, True, "trading"),
        (17_000, True, "trading"),
        (18_000, True, "stop"),
    ):
        lab.ready.set() if ready else lab.ready.clear()
        run.phase = phase
        if phase == "stop":
            lab.observatory.registers["store_board"].clear()
        watch.look()
    assert told(lab) == [("view_behind", "store_board", "1 off the truth, for 2.0 s")]
