"""``wait --converged``, ``status`` and ``down`` go by what views hold now, by content: not by what they once had.

What a view holds is read here from its own SQLite file, and what was committed from the ledger.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.lab.command_line import SHORT_DRAIN, CommandLine, Lab, until

BURST = 1_000
TILLS = 9
VIEW_FILES = {"orders": "poseidon-1/poseidon.sqlite", "sales": "views-1/sales.sqlite"}
STAGE_OF = {"orders": "poseidon-1", "sales": "views-1"}


def file_of(lab: Lab, view: str) -> Path:
    """A view's own file."""
    return lab.run_folder / "state" / VIEW_FILES[view]


def count(file: Path, table: str) -> int:
    """Rows of a table; 0 while there is no such file or table yet."""
    if not file.exists():
        return 0
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20.0)) as database:
        try:
            return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def traded(command_line: CommandLine, *options: object) -> Lab:
    """A lab that has traded BURST events, trades no more, and has converged."""
    lab = command_line.up(*options, rate="0/s")
    lab.burst(BURST)
    converged(lab)
    return lab


def converged(lab: Lab) -> None:
    """``wait --converged`` must answer in time, and then every view of events holds what was committed."""
    lab.command_line.run("wait", "--name", lab.name, "--converged", "--timeout", "100s")
    held = {view: count(file_of(lab, view), "applied") for view in VIEW_FILES}
    assert held == dict.fromkeys(VIEW_FILES, BURST)


@contextmanager
def gateway_standing_still(lab: Lab) -> Iterator[None]:
    """Meanwhile no view gets anything: one that begins anew holds nothing."""
    gateway = lab.identities()["gateway-1"]
    gateway.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        gateway.signal(signal.SIGCONT)


def spoil(lab: Lab, view: str, *statements: str) -> None:
    """Change a view's file behind the back of its process, which is killed before it does anything more; until the next
    one is ready."""
    process = lab.identities()[STAGE_OF[view]]
    process.signal(signal.SIGSTOP)
    file = file_of(lab, view)
    if not statements:
        for one in file.parent.glob(f"{file.name}*"):
            one.unlink()
    else:
        with closing(sqlite3.connect(file, timeout=20.0, isolation_level=None)) as database:
            for statement in statements:
                database.execute(statement)
    lab.kill(STAGE_OF[view], until_it_is="ready")


def alter_at_the_gateway(lab: Lab, key: str) -> None:
    """Store a document once more, with one cent more."""
    url = f"{lab.description['gateway']}/{key}"
    document: dict[str, Any] = httpx.get(url, trust_env=False).raise_for_status().json()
    document["data"] = {**document["data"], "note": "another content"}
    httpx.put(url, content=json.dumps(document), trust_env=False).raise_for_status()


def test_convergence_is_what_views_hold_now(command_line: CommandLine) -> None:
    """A rebuild, a lost file: waited for. Altered, lost and invented events: not converged, and said of which view."""
    lab = traded(command_line, "--drain", SHORT_DRAIN)
    everything = f"sales lacks {BURST:,} events"
    with gateway_standing_still(lab):
        command_line.run("rebuild", "--name", lab.name, "sales")
        lab.until_refused(everything)
    converged(lab)
    with gateway_standing_still(lab):
        spoil(lab, "sales")
        lab.until_refused(everything)
        assert lab.status()["picture"]["distances"]["sales"] == BURST
    converged(lab)

    spoil(lab, "orders", "UPDATE applied SET hash = zeroblob(8) WHERE sequence = 3")
    one = "source = (SELECT min(number) FROM source)"
    spoil(
        lab,
        "sales",
        f"DELETE FROM applied WHERE sequence = 2 AND {one}",
        "INSERT INTO applied SELECT min(number), 900000, zeroblob(8), 0 FROM source",
    )
    with closing(sqlite3.connect(f"file:{lab.run_folder / 'ledger.sqlite'}?mode=ro", uri=True)) as ledger:
        (till,) = ledger.execute("SELECT id FROM source WHERE number = 1").fetchone()
    alter_at_the_gateway(lab, f"{till}.1")
    lab.until_refused(
        rf"orders: other content in {TILLS} sources\b",
        r"sales lacks 1 event, holds 1 event that it must not\b",
        r"gateway: other content in 1 source\b",
    )
    distances = lab.status()["picture"]["distances"]
    assert (distances["orders"], distances["sales"]) == (TILLS, 2)
    lab.down(status=1)


def phases(lab: Lab) -> list[str]:
    """The phases that the run has come to."""
    plan = json.loads((lab.run_folder / "plan.json").read_text(encoding="utf-8"))
    return [phase["name"] for phase in plan["phases"]]


def test_a_view_that_is_rebuilt_at_the_end_is_waited_for(command_line: CommandLine) -> None:
    """The run ends at once after a rebuild: what the view holds by then is not what is judged, and nothing is lost."""
    lab = traded(command_line)
    verdicts: list[dict[str, Any]] = []
    ending = threading.Thread(target=lambda: verdicts.append(lab.down(status=None)))
    try:
        with gateway_standing_still(lab):
            command_line.run("rebuild", "--name", lab.name, "sales")
            ending.start()
            until(lambda: "wait for recovery" in phases(lab), "the run ends")
            for _ in range(20):
                assert "final reads" not in phases(lab), "the run waits for the view"
                time.sleep(0.1)
    finally:
        if ending.ident is not None:
            ending.join()
    (verdict,) = verdicts
    assert (verdict["validity"], verdict["counts"]["ok"]) == ("valid", verdict["sent"])
    assert verdict["sent"] == BURST
