"""Losses behind an acknowledgement, planted live into one run: each has its hop, whether a re-send healed it or not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from emulator.fleet import Fleet
from fleetwire.identity import Terminal
from fleetwire.topics import Topics
from storefleet.plan import STAGES, LabPlan
from storefleet.run import Run
from storefleet.verdict.result import Verdict
from tests.lab.command_line import REPOSITORY
from tests.lab.faulty_stages import LOSSES
from tests.resilience.laboratory import DEADLINE_S, plan_of, play, until

FLEET = {"stores": 3}
HEALED = {
    3: "parm > parm-broker > broker > sync-broker",
    5: "sync_stage > sync-gateway > gateway > poseidon-gateway",
    7: "sync_stage > sync-gateway > gateway > poseidon-gateway",
}
NEVER_READ = {
    4: "parm",
    6: "sync_stage",
    8: "gateway",  # which has it by word
}
"""Number of the event -> where the verdict has to say that it was lost."""
UNREAD = "broker > parm-broker"
UNSENT = "emulator > terminals-broker > broker > parm-broker"
"""The same for a terminal whose events the broker acknowledges and keeps to itself: what is on the wire, and the rest."""


def write_access_list(file: Path, plan: LabPlan, unread: str) -> None:
    """Mosquitto takes what this terminal sends, acknowledges it, and gives it to nobody."""
    topics = Topics(plan.topic_root)
    terminals = [Terminal.parse(terminal.id) for terminal in Fleet.from_options(**FLEET).terminals()]
    readable = [topics.terminal("transaction", one) for one in terminals if one.id != unread]
    readable += [topics.all_of("terminal", kind) for kind in ("state", "heartbeat", "ask")]
    readable += [f"{topics.root}/{plane}/#" for plane in ("canonical", "command", "host", "dead-letter")]
    rules = ["topic write #", "topic read $SYS/#", *(f"topic read {topic}" for topic in readable)]
    file.write_text("\n".join([*rules, ""]), encoding="ascii")


def ask(run: Run, query: str, *values: object) -> list[tuple[object, ...]]:
    """The rows that the ledger has for this."""
    with closing(sqlite3.connect(f"file:{run.ledger_file}?mode=ro", uri=True)) as ledger:
        return ledger.execute(query, values).fetchall()


def resolved(run: Run, sequence: int) -> int:
    """How many terminals have the outcome of their event of this number."""
    return len(ask(run, "SELECT DISTINCT source FROM outcome WHERE first <= ? AND last >= ?", sequence, sequence))


def unresolved(run: Run, unread: str) -> set[int]:
    """The numbers that any terminal but one has no outcome for."""
    query = "SELECT DISTINCT sequence FROM outbox JOIN source ON number = source WHERE id <> ?"
    return {int(str(sequence)) for (sequence,) in ask(run, query, unread)}


def addresses(verdict: Verdict, what: str) -> dict[str, int]:
    """How many of a class at which address."""
    return {" > ".join(account.places): account.count for account in verdict.places if account.what == what}


async def test_each_loss_behind_an_acknowledgement_has_its_hop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PARM, the sync stage and the broker acknowledge and drop: once, which heals, or each time, which does not."""
    access_list = tmp_path / "access"
    # Mosquitto that is started by root becomes somebody who may not read the list.
    options = (f"acl_file {access_list}", "user root")
    plan = plan_of(tmp_path, fleet=FLEET, rate="60/s", broker_options=options)
    terminals = [terminal.id for terminal in Fleet.from_options(**FLEET).terminals()]
    unread = terminals[-1]
    write_access_list(access_list, plan, unread)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for stage in ("parm", "sync_stage"):
        monkeypatch.setitem(STAGES, stage, STAGES[stage]._replace(module="tests.lab.faulty_stages"))
    victims = len(terminals) - 1

    async def script(run: Run) -> None:
        for sequence in (*HEALED, max(LOSSES) + 1):
            await until(
                lambda sequence=sequence: resolved(run, sequence) == victims, f"every event {sequence} has its outcome"
            )
        await run.lab.stage_call("emulator", "pause_trading", timeout_s=DEADLINE_S)
        await until(lambda: unresolved(run, unread) == {*NEVER_READ}, "all others have their outcome")

    played = await play(tmp_path, plan, script, drain_s=1.0)
    verdict = played.verdict
    healed = addresses(verdict, "healed")
    never_read = addresses(verdict, "never_read")
    expected = {address: victims * list(HEALED.values()).count(address) for address in HEALED.values()}
    assert healed.items() >= expected.items(), verdict.places  # a slow machine may heal more, elsewhere
    of_unread = never_read.pop(UNREAD) + never_read.pop(UNSENT, 0)
    assert never_read == dict.fromkeys(NEVER_READ.values(), victims), verdict.places
    assert verdict.counts["never_read"] == of_unread + victims * len(NEVER_READ)
    assert verdict.counts["ok"] == verdict.sent - verdict.counts["never_read"]
    assert (verdict.invalid, [reason.code for reason in verdict.unknown]) == ([], ["unresolved"])
