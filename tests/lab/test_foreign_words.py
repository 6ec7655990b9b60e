"""Whoever speaks for a stage without being it is refused, counted, and changes nothing in the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetwire.control import Channel, Params, connect
from fleetwire.errors import ControlError
from fleetwire.settings import read_address
from storefleet.plan import STAGES
from storefleet.run import Run
from tests.lab.command_line import REPOSITORY, read_verdict
from tests.lab.lying_stages import LIES, TILL
from tests.resilience.laboratory import kill, plan_of, play, until, until_traded

FLEET = {"stores": 3}


async def hold_nothing(_: Params) -> dict[str, Any]:
    """A final read by which Poseidon holds no event."""
    return {"views": {"orders": {"sources": {}}}}


async def join(run: Run, **words: object) -> tuple[Channel, asyncio.Task[None]]:
    """Whatever a client with control.json may get by saying this; it stays connected if it is let in."""
    control = json.loads((run.lab.folder / "control.json").read_text(encoding="utf-8"))
    channel = await connect(read_address(control["address"], "CONTROL"), {"final_read": hold_nothing})
    reading = asyncio.create_task(channel.run())
    with contextlib.suppress(ControlError):
        await channel.call("hello", {"token": control["token"], **words})
    return channel, reading


def numbers(value: object) -> Iterator[int]:
    """Every whole number in a JSON value, such as the ends of intervals."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)


async def test_a_client_that_speaks_for_a_stage_changes_nothing(tmp_path: Path) -> None:
    """It joins as Poseidon, newer and beside it, has lost everything and taken what nobody sent: the run is valid."""
    joined: list[tuple[Channel, asyncio.Task[None]]] = []

    async def script(run: Run) -> None:
        await until_traded(run, 100)
        for instance in (1, 2):
            name = {"stage": "poseidon", "instance": instance, "incarnation": 99}
            joined.append(await join(run, **name, process_id=1))
            lie = {**name, "at_ms": 1_767_600_000_000, "taken": {TILL: [[1, 9_000_000]]}}
            joined[-1][0].notify("snapshot", lie)
        joined.append(await join(run))
        with pytest.raises(ControlError, match="no method 'snapshot' here"):
            await joined[-1][0].call("snapshot", {"stage": "views", "instance": 1, "incarnation": 1, "at_ms": 1})
        await kill(run, "poseidon-1")  # the real one comes back by its own credential
        await until(lambda: any(member.incarnation == 2 for member in run.lab.control.stage("poseidon")), "it is back")

    played = await play(tmp_path, plan_of(tmp_path, fleet=FLEET, rate="60/s"), script)
    for channel, reading in joined:
        channel.close()
        await reading
    played.assert_valid()
    assert read_verdict(played.folder)["refused_reports"] == {"client": 3}
    assert "Reports that were refused at the door: client 3." in (played.folder / "report.txt").read_text()


async def test_a_stage_that_says_what_cannot_be_leaves_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The views report ``[[10, 1]]``, and in the names of others: all of it is refused, the truth beside it is judged."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setitem(STAGES, "views", STAGES["views"]._replace(module="tests.lab.lying_stages"))
    played = await play(tmp_path, plan_of(tmp_path, fleet=FLEET, rate="60/s"), lambda run: until_traded(run, 100))
    assert TILL in played.run.lab.observatory.events["emulator"], "the lie is about a till that trades"
    played.assert_valid()
    refused = read_verdict(played.folder)["refused_reports"]
    assert refused.keys() == {"views-1"}
    assert refused["views-1"] >= LIES
    assert refused["views-1"] % LIES == 0
    for file in ("witnesses.jsonl", "plan.json"):
        lines = (played.folder / file).read_text(encoding="utf-8").splitlines()
        assert not any(9_000_000 in numbers(json.loads(line)) for line in lines)
