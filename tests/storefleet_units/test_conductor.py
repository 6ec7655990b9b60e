"""A past run whose new lab does not become ready, for whatever reason, is not judged and can be tried again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
from pathlib import Path

import msgspec
import pytest

from fleetwire.errors import FleetError
from storefleet import home
from storefleet.conductor import Stopped, conduct
from storefleet.lab import Lab
from storefleet.live import Silent
from storefleet.observatory import Observatory
from storefleet.past_run import open_past_run
from storefleet.plan import TERMINALS_HOP, LabPlan
from storefleet.run_record import RunRecord
from storefleet.scripts import trading_script
from tests.storefleet_units.plans import lab_plan

DEADLINE_S = 60.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folder of a lab that died while it traded."""
    monkeypatch.setenv("STOREFLEET_HOME", str(tmp_path / "home"))
    found = tmp_path / "run"
    found.mkdir()
    write_record(found, lab_plan())
    (found / "ledger.sqlite").touch()
    return found


def write_record(folder: Path, plan: LabPlan) -> None:
    """``plan.json`` of a run that has traded."""
    record = RunRecord(lab=plan, started_at_ms=1_000)
    record.enter("starting", 1_000)
    record.enter("trading", 2_000)
    (folder / "plan.json").write_bytes(msgspec.json.encode(record))


async def resume(folder: Path) -> None:
    """Go on with the run, as the command does."""
    past = open_past_run(folder)
    plan = past.record.lab
    await conduct(plan, trading_script, Silent(), password=None, trade=True, on_ready=lambda _: None, past=past)


def assert_can_be_tried_again(folder: Path) -> None:
    """Nothing has been judged, and nobody has the run."""
    assert not any((folder / name).exists() for name in ("reads.json", "verdict.json"))
    open_past_run(folder).journal.close()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_before_ready(folder: Path, monkeypatch: pytest.MonkeyPatch, first: signal.Signals) -> None:
    """One signal while the lab starts: the run is left as one that can go on, and a line says how."""

    async def stand_still(_: Lab, *, trade: bool) -> None:
        os.kill(os.getpid(), first)
        await asyncio.Event().wait()
        del trade

    monkeypatch.setattr(Lab, "start", stand_still)
    with pytest.raises(FleetError, match=f"stopped before .* can go on: storefleet up --resume {folder}") as stopped:
        await resume(folder)
    assert len(str(stopped.value).splitlines()) == 1
    assert_can_be_tried_again(folder)
    assert home.lab_names() == []


async def test_two_signals_before_ready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one ends at once; that neither judges the run."""

    async def stand_still(_: Lab, *, trade: bool) -> None:
        send_both_signals()
        await asyncio.Event().wait()
        del trade

    monkeypatch.setattr(Lab, "start", stand_still)
    with pytest.raises(Stopped, match="its run can go on: storefleet up --resume"):
        await resume(folder)
    assert_can_be_tried_again(folder)


async def test_stopped_at_once_while_it_reads_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While what a long run has recorded is read again signals are heard; stopped then, nothing is left."""
    told = threading.Event()

    def read_long(_: Observatory) -> None:
        send_both_signals()
        assert told.wait(DEADLINE_S)

    def say(_: Silent, text: str) -> None:
        if text.startswith("stopping at once"):
            told.set()

    monkeypatch.setattr(Observatory, "recall", read_long)
    monkeypatch.setattr(Silent, "say", say)
    with pytest.raises(Stopped, match="its run can go on: storefleet up --resume"):
        await resume(folder)
    assert_can_be_tried_again(folder)
    assert home.lab_names() == []


def send_both_signals() -> None:
    """Two of one kind may arrive as one."""
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)


async def test_the_port_that_a_user_has_chosen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of --port although the lab died before it had written down where anything listens."""
    reserved: list[int] = []

    async def reserve(lab: Lab, *, trade: bool) -> None:
        assert trade
        reserved.append(lab._ports.reserve(TERMINALS_HOP))
        raise FleetError("enough")

    monkeypatch.setattr(Lab, "start", reserve)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    write_record(folder, lab_plan(port=port))
    with pytest.raises(FleetError, match="enough; its run can go on"):
        await resume(folder)
    assert reserved == [port]


@pytest.mark.parametrize("reached", [True, False])
async def test_somebody_elses_broker_is_down(folder: Path, reached: bool) -> None:
    """The lab stays written down where the one before it has reached the broker, for clean; the run can go on."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"mqtt://127.0.0.1:{unheard.getsockname()[1]}"
        write_record(folder, lab_plan(broker=url))
        before = json.dumps({"broker": {"kind": "external", "url": url}, "topic_root": "fleet"})
        if reached:
            (folder / "lab.json").write_text(before, encoding="utf-8")
        with pytest.raises(FleetError, match=r"check --broker.*its run can go on: storefleet up --resume"):
            await resume(folder)
    assert_can_be_tried_again(folder)
    assert home.lab_names() == ["lab-one"] * reached
    if reached:
        assert (home.lab_folder("lab-one") / "lab.json").read_text(encoding="utf-8") == before
