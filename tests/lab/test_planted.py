"""Planted by real means into a live lab, each wrong is found by the verdict, with its class and its hop."""

from __future__ import annotations

import json
import shlex
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import pytest

from fleetwire.identity import Terminal
from fleetwire.topics import Topics
from tests.lab.command_line import REPOSITORY, SHORT_DRAIN, CommandLine, Lab, assert_told_first, until
from tests.lab.test_lateness import late

FLEET = REPOSITORY / "examples" / "one_brand.toml"
BURST = 90
DEADLINE_MS = 6_000
"""Of the lab whose PARM delays."""


def source_of(lab: Lab) -> str:
    """A terminal that has traded, and whose first events have an outcome."""
    with closing(sqlite3.connect(f"file:{lab.run_folder / 'ledger.sqlite'}?mode=ro", uri=True)) as ledger:
        rows = ledger.execute("SELECT id, max(last) FROM outcome JOIN source ON number = source GROUP BY id")
        return max((last, source) for source, last in rows.fetchall())[1]


def edit(file: Path, statement: str, *values: object, rows: int = 1) -> None:
    """Change so many rows of a stage's own database behind its back."""
    with closing(sqlite3.connect(file, timeout=5.0, isolation_level=None)) as database:
        assert database.execute(statement, values).rowcount == rows


def skips(file: Path) -> list[tuple[str, int]]:
    """What Poseidon could not use, and whether it has told of it."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5.0)) as database:
        return database.execute("SELECT id, told FROM skipped").fetchall()


def delete_document(lab: Lab, key: str) -> None:
    """Delete a transaction at the gateway, by its own HTTP."""
    url = f"{lab.description['gateway']}/{key}"
    revision = httpx.get(url, trust_env=False).raise_for_status().json()["_rev"]
    httpx.delete(url, params={"rev": revision}, trust_env=False).raise_for_status()


async def publish_phantom(lab: Lab, source: str, sequence: int) -> None:
    """A well-formed canonical event that no till sent, straight to the broker."""
    event: dict[str, Any] = {
        "key": f"{source}.{sequence}", "type": "transaction.control", "source": source, "sequence": sequence,
        "time": "2026-01-05T18:00:00.000Z", "business_day_date": "2026-01-05",
        "data": {"control_type": "NO_SALE", "operator_id": "op1", "till_id": "t1", "reason_code": ""},
    }  # fmt: skip
    host, _, port = lab.description["broker"]["address"].rpartition(":")
    topic = Topics(lab.description["topic_root"]).canonical("transaction", Terminal.parse(source))
    async with aiomqtt.Client(host, int(port), protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.publish(topic, json.dumps(event), qos=1)


def by_name(verdict: dict[str, Any], what: str) -> dict[str, tuple[str, list[str]]]:
    """Examples of a class: key -> (view that shows it, places to blame)."""
    return {one["name"]: (one["view"], one["places"]) for one in verdict["classes"][what]["examples"]}


async def test_wrongs_behind_the_broker_are_found_with_their_places(command_line: CommandLine) -> None:
    """Two losses, a phantom and a doubled total, planted in one run, have the class and the place that is theirs."""
    lab = command_line.up("--drain", SHORT_DRAIN, rate="0/s")
    lab.burst(150)
    command_line.run("wait", "--name", lab.name, "--converged", "--timeout", "90s")
    source = source_of(lab)
    await publish_phantom(lab, source, 9_000)
    until(lambda: journey(lab, f"{source}.9000"), "the phantom has come to the end")
    delete_document(lab, f"{source}.1")
    state = lab.run_folder / "state"
    poseidon = state / "poseidon-1" / "poseidon.sqlite"
    until(lambda: skips(poseidon) == [(f"{source}.1", 1)], "Poseidon has told what it could not use")
    mine = "source = (SELECT number FROM source WHERE id = ?)"
    edit(poseidon, f"DELETE FROM applied WHERE sequence = 2 AND {mine}", source)
    store = source.rpartition(".")[0]
    one_day = "store = ? AND business_day_date = (SELECT max(business_day_date) FROM sales WHERE store = ?)"
    sales = state / "views-1" / "sales.sqlite"
    edit(sales, f"UPDATE sales SET transactions = transactions + 1 WHERE {one_day}", store, store)
    verdict = lab.down(status=1)
    assert by_name(verdict, "lost") == {
        f"{source}.1": ("gateway", ["gateway"]),
        f"{source}.2": ("orders", ["poseidon"]),
    }
    ((view, places),) = by_name(verdict, "unexpected").values()
    assert (view, places[-1], verdict["invented"]) == ("gateway", "sync-broker", 1)
    assert {reason["code"] for reason in verdict["invalid"]} == {"lost", "unexpected", "totals_differ", "dead_letters"}
    deleted = {(one["key"], one["stage"], one["reason"]) for one in verdict["letters"]}
    assert deleted == {(f"{source}.1", "poseidon", "key_conflict")}
    assert verdict["counts"]["ok"] == verdict["sent"] - 2


def test_a_view_that_forgets_a_store_is_named(command_line: CommandLine) -> None:
    """What the sales view forgets is lost there and nowhere else, event by event, and its totals tell too."""
    lab = command_line.up("--drain", SHORT_DRAIN, rate="0/s")
    lab.burst(150)
    command_line.run("wait", "--name", lab.name, "--converged", "--timeout", "90s")
    sales = lab.run_folder / "state" / "views-1" / "sales.sqlite"
    connection = sqlite3.connect(sales)
    (store,) = connection.execute("SELECT store FROM sales ORDER BY store LIMIT 1").fetchone()
    forgotten = connection.execute(
        "SELECT count(*) FROM applied JOIN source ON source.number = applied.source WHERE id LIKE ?", (f"{store}.%",)
    ).fetchone()[0]
    days = connection.execute("SELECT count(*) FROM sales WHERE store = ?", (store,)).fetchone()[0]
    connection.close()
    of_store = "source IN (SELECT number FROM source WHERE id LIKE ?)"
    edit(sales, f"DELETE FROM applied WHERE {of_store}", f"{store}.%", rows=forgotten)
    edit(sales, "DELETE FROM sales WHERE store = ?", store, rows=days)
    verdict = lab.down(status=1)
    assert verdict["classes"]["lost"]["count"] == forgotten > 0
    for name, (view, places) in by_name(verdict, "lost").items():
        assert (name.startswith(store), view, places) == (True, "sales", ["views"])
    told = f"INVALID  {lab.name}: {forgotten} of 150 events missing, although acknowledged as applied, at views"
    assert_told_first(lab, told, "at views", {*by_name(verdict, "lost")})
    assert verdict["counts"]["ok"] == verdict["sent"] - forgotten


def journey(lab: Lab, key: str) -> bool:
    """Whether Poseidon remembers the event."""
    return "poseidon-1" in lab.command_line.json("trace", key, "--name", lab.name)["steps"]


@pytest.mark.parametrize(
    ("fault", "what", "number", "said", "since"),
    [
        ("alter", "corrupted", 4, "altered on the way", "sent"),
        ("twice", "unexpected", 5_004, "present, although never sent", "seen"),
    ],
)
def test_wrongs_in_parm_are_blamed_on_its_span(
    command_line: CommandLine, fault: str, what: str, number: int, said: str, since: str
) -> None:
    """A foreign PARM that alters or invents is found in the span that it stands in: it has no witness."""
    lab = faulty_lab(command_line, fault, "--drain", SHORT_DRAIN)
    lab.burst(BURST)
    lab.until_unresolved()
    verdict = lab.down(status=1)
    found = {f"{source}.{number}" for source in terminals(lab)}
    assert len(found) == 9
    assert by_name(verdict, what).keys() == found
    assert_only(verdict, what, len(found))
    assert_blamed_on_parm(verdict, what, found)
    told = f"INVALID  {lab.name}: 9 .*event.* {said}.*, suspect: parm "
    assert_told_first(lab, told, "suspect: parm (yours)", found, since=since)


def test_what_parm_sends_twice_is_told(command_line: CommandLine) -> None:
    """It is absorbed, so that nothing is wrong: the first lines say how much, where, since when, and whose it may be."""
    lab = faulty_lab(command_line, "repeat")
    lab.burst(BURST)
    lab.until_unresolved()
    verdict = lab.down()
    assert (verdict["validity"], verdict["duplicates_absorbed"]) == ("valid", {"sync_stage": 9})
    assert_told_first(
        lab, f"VALID, with 9 repeats absorbed  {lab.name}: ", "suspect: parm (yours)", set(), since="absorbed"
    )


def test_delays_in_parm_are_blamed_on_its_span(command_line: CommandLine) -> None:
    """One that delays, too: late is what the views' own files say, each terminal's victim is among it."""
    lab = faulty_lab(command_line, "delay", "--deadline", f"{DEADLINE_MS}ms")
    lab.burst(BURST)
    lab.until_unresolved()
    verdict = lab.down(status=1)
    found = late(lab, "poseidon-1/poseidon.sqlite", DEADLINE_MS) | late(lab, "views-1/sales.sqlite", DEADLINE_MS)
    victims = {(source, 4) for source in terminals(lab)}
    assert len(victims) == 9
    assert victims <= found
    assert by_name(verdict, "stale").keys() <= {f"{source}.{number}" for source, number in found}
    assert_only(verdict, "stale", len(found))
    assert_blamed_on_parm(verdict, "stale", {f"{source}.{number}" for source, number in victims})


def assert_only(verdict: dict[str, Any], what: str, count: int) -> None:
    """So many events are wrong in this way, and no other makes the run invalid."""
    assert verdict["validity"] == "invalid"
    assert {reason["code"] for reason in verdict["invalid"]} & verdict["classes"].keys() == {what}
    assert verdict["classes"][what]["count"] == count


def assert_blamed_on_parm(verdict: dict[str, Any], what: str, victims: set[str]) -> None:
    """It happened between the terminals and the gateway, with PARM in between."""
    blamed = {name: places for name, (_, places) in by_name(verdict, what).items() if name in victims}
    assert blamed
    for places in blamed.values():
        assert "parm" in places
        assert places[-1] in {"sync-broker", "gateway"}


def test_a_parm_that_forgets_after_its_acknowledgement_is_healed(command_line: CommandLine) -> None:
    """What is dropped behind an acknowledgement is sent again by the terminal, and accounted as healed."""
    lab = faulty_lab(command_line, "drop_once")
    lab.burst(BURST)
    lab.until_unresolved()
    verdict = lab.down()
    healed = [account for account in verdict["places"] if account["what"] == "healed"]
    assert (verdict["validity"], sum(account["count"] for account in healed)) == ("valid", 9)
    assert all("parm" in account["places"] for account in healed)
    keys = {key for account in healed for key in account["keys"]}
    assert_told_first(
        lab, f"VALID, with 9 events healed, suspect: parm .yours.  {lab.name}: ", "suspect: parm (yours)", keys
    )


def faulty_lab(command_line: CommandLine, fault: str, *options: object) -> Lab:
    """A lab of nine terminals with one brand, whose PARM has a fault; without a rate of its own."""
    fleet = command_line.folder / "fleet.toml"
    fleet.write_text(FLEET.read_text(encoding="utf-8").replace("stores = 8", "stores = 3"), encoding="utf-8")
    command = shlex.join([sys.executable, str(Path(__file__).with_name("faulty_parm.py")), fault])
    return command_line.up("--fleet", fleet, "--stage", f"parm={command}", *options, rate="0/s")


def terminals(lab: Lab) -> set[str]:
    """Every terminal of the lab."""
    return {source for (source,) in lab.ledger("SELECT id FROM source")}
