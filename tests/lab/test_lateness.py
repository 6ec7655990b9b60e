"""Late is what the views' own files say came late, to the event, and the process that stood still is to blame for it."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from fleetwire.clock import now_ms
from tests.lab.command_line import CommandLine, Lab, assert_told_first, places, until

DEADLINE_MS = 2_000
STOPPED_S = 3.5
STOPPED = ("parm", "sync_stage", "gateway", "poseidon", "views", "chaos", "broker")
Key = tuple[str, int]


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in a database that somebody may be writing."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5.0)) as database:
        return database.execute(query).fetchall()


def committed_ms(lab: Lab) -> dict[Key, int]:
    """When each event was committed, or trading had begun, which ever is later."""
    phases = json.loads((lab.run_folder / "plan.json").read_text(encoding="utf-8"))["phases"]
    begun_ms = next(phase["from_ms"] for phase in phases if phase["name"] == "trading")
    query = "SELECT id, sequence, committed_at_ms FROM event JOIN source ON number = source"
    return {
        (source, sequence): max(at_ms, begun_ms)
        for source, sequence, at_ms in rows(lab.run_folder / "ledger.sqlite", query)
    }


def late(lab: Lab, file: str, deadline_ms: int = DEADLINE_MS) -> set[Key]:
    """What this file says it applied later than the deadline after its commit."""
    query = "SELECT id, sequence, applied_at_ms FROM applied JOIN source ON number = source"
    due_ms = committed_ms(lab)
    found = {(source, sequence): at_ms for source, sequence, at_ms in rows(lab.run_folder / "state" / file, query)}
    return {key for key, at_ms in found.items() if at_ms - due_ms[key] > deadline_ms}


def stand_still(lab: Lab, name: str) -> tuple[int, int]:
    """Stop a process for longer than the deadline, and wait until all has caught up; from when until when it stood."""
    process = lab.identities()[name]
    process.signal(signal.SIGSTOP)
    until(lambda: is_stopped(process.process_id), f"{name} stands still")
    from_ms = now_ms()
    time.sleep(STOPPED_S)
    until_ms = now_ms()
    process.signal(signal.SIGCONT)
    converge(lab)
    return from_ms, until_ms


def is_stopped(process_id: int) -> bool:
    """Whether the kernel says so."""
    return Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T"


def converge(lab: Lab) -> None:
    """Wait until every view holds what is committed by now."""
    lab.command_line.run("wait", "--name", lab.name, "--converged", "--timeout", "90s")


def test_a_stop_of_each_process_is_late_to_the_event(command_line: CommandLine) -> None:
    """Each process in turn stands still for longer than the deadline: counts are those of the views' own files."""
    lab = command_line.up("--deadline", f"{DEADLINE_MS}ms", stores=3, rate="60/s")
    lab.wait_for_trade()
    for stage in STOPPED:
        stand_still(lab, f"{stage}-1")
    lab.pause()
    converge(lab)  # so that no view applies anything after it was read
    verdict = lab.down(status=1)
    orders, sales = late(lab, "poseidon-1/poseidon.sqlite"), late(lab, "views-1/sales.sqlite")
    counts = {view["view"]: view["counts"].get("stale", 0) for view in verdict["views"]}
    assert (counts["orders"], counts["sales"]) == (len(orders), len(sales))
    assert verdict["counts"]["stale"] == len(orders | sales) > 0
    assert "stale" in {reason["code"] for reason in verdict["invalid"]}
    alone = {places_[0] for places_ in places(verdict, "stale") if len(places_) == 1}
    assert {"parm", "sync_stage", "gateway", "poseidon", "views"} <= alone, places(verdict, "stale")
    assert all(view["lateness_judged"] for view in verdict["views"])


def write_a_strange_document(lab: Lab) -> None:
    """A stranger's, whose name ends in a number that no event has, in the channel of the events."""
    body, headers = b'{"channels": ["transaction"]}', {"Content-Type": "application/json"}
    request = Request(f"{lab.description['gateway']}/a.0", body, headers, method="PUT")
    with build_opener(ProxyHandler({})).open(request, timeout=10.0) as answer:
        assert answer.status == 201


@pytest.mark.parametrize(
    ("without", "view", "stopped"), [("poseidon", "gateway", "sync_stage"), ("sync_stage", "canonical", "parm")]
)
def test_a_shorter_lab_judges_lateness_too(command_line: CommandLine, without: str, view: str, stopped: str) -> None:
    """A lab that ends at the gateway or at PARM says what came late there."""
    lab = command_line.up("--deadline", f"{DEADLINE_MS}ms", "--without", without, stores=3, rate="60/s")
    lab.wait_for_trade()
    if view == "gateway":
        write_a_strange_document(lab)
    from_ms, until_ms = stand_still(lab, f"{stopped}-1")
    lab.pause()
    converge(lab)
    verdict = lab.down(status=1)
    held_up = [at_ms for at_ms in committed_ms(lab).values() if from_ms <= at_ms < until_ms - DEADLINE_MS]
    account = next(account for account in verdict["views"] if account["view"] == view)
    assert account["lateness_judged"]
    assert account["counts"]["stale"] == verdict["counts"]["stale"] >= len(held_up) > 0
    assert [stopped] in places(verdict, "stale")
    keys = {f"{source}.{sequence}" for source, sequence in committed_ms(lab)}
    first = (
        f"INVALID  {lab.name}: {verdict['counts']['stale']} of .* events later than the deadline allows, at {stopped}"
    )
    assert_told_first(lab, first, f"at {stopped}: {stopped}-1 stood still for ", keys)
