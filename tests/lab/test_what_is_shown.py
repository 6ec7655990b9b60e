"""What people are shown is what is judged: receipts, drawers, references, registers and documents spoiled behind a lab's
back, where the journals stay as they were."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from storefleet.plan import STAGES
from storefleet.run import Run
from tests.lab.command_line import REPOSITORY, CommandLine, Lab
from tests.lab.faulty_consumers import DOUBLED, ZX81
from tests.resilience.laboratory import DEADLINE_S, plan_of, play, until, until_traded

EFFECT_BYTES = 8
HALF, QUARTER = "(source + sequence) % 2 = 0", "(source + sequence) % 4 = 1"
GHOST = "ghost.west.s9999"
DAY = 3
"""Place of the business day in a till's register."""


def query(file: Path, statement: str, *values: object) -> list[Any]:
    """Rows of a database that is in use."""
    with closing(sqlite3.connect(file, timeout=5.0)) as database:
        return database.execute(statement, values).fetchall()


def spoil(file: Path, statement: str, *values: object) -> None:
    """Change a stage's own database behind its back; something must be changed."""
    with closing(sqlite3.connect(file, timeout=5.0, isolation_level=None)) as database:
        assert database.execute(statement, values).rowcount > 0, statement


def keys(file: Path, table: str, condition: str) -> set[str]:
    """Keys of the events that have such a row."""
    statement = f"SELECT id || '.' || sequence FROM {table} JOIN source ON number = source WHERE {condition}"
    return {key for (key,) in query(file, statement)}


def spoil_poseidon(file: Path) -> dict[str, set[str]]:
    """Half of the receipts deleted, amounts raised, movements doubled, references turned: the keys, by what was done."""
    done = {
        "deleted": keys(file, "receipt", HALF),
        "raised": keys(file, "receipt", QUARTER),
        "doubled": keys(file, "till_movement", "cents <> 0"),
        "turned": keys(file, "reference", "true"),
    }
    assert all(done.values())
    spoil(file, f"DELETE FROM receipt WHERE {HALF}")
    spoil(file, f"UPDATE receipt SET grand_cents = grand_cents + 100 WHERE {QUARTER}")
    spoil(file, "UPDATE till_movement SET cents = 2 * cents WHERE cents <> 0")
    spoil(file, "UPDATE reference SET referred_key = 'taco.north.s0001.r01.1'")
    return done


def spoil_registers(state: Path) -> dict[str, set[str]]:
    """By view the registers that are shown otherwise than they are; what the witness was told stays."""
    board, inventory = state / "views-1" / "store_board.sqlite", state / "views-1" / "device_inventory.sqlite"
    olympus = state / "olympus_dgs-1" / "olympus_dgs.sqlite"
    store = query(board, "SELECT min(name) FROM register")[0][0]
    one, two, three = (row[0] for row in query(inventory, "SELECT name FROM register ORDER BY name LIMIT 3"))
    spoil(
        board, """UPDATE register SET body = CAST(replace(body, '"OPEN"', '"OFFLINE"') AS BLOB) WHERE name = ?""", store
    )
    change = "INSERT INTO register SELECT ?, major, minor, generation, value, CAST(replace(body, name, ?) AS BLOB)"
    spoil(inventory, f"{change} FROM register WHERE name = ?", ZX81, ZX81, one)
    spoil(inventory, "UPDATE register SET body = x'7b' WHERE name = ?", two)
    spoil(inventory, "DELETE FROM register WHERE name = ?", three)
    spoil(olympus, "UPDATE device SET body = CAST(replace(body, ?, ?) AS BLOB)", '"online":true', '"online":false')
    terminals = {row[0] for row in query(olympus, "SELECT terminal FROM device")}
    return {"store_board": {store}, "device_inventory": {ZX81, two, three}, "olympus_dgs": terminals}


def spoil_documents(lab: Lab, chosen: list[str]) -> None:
    """Source or sequence inside these documents is another one; the content is the same."""
    for place, key in enumerate(chosen):
        url = f"{lab.description['gateway']}/{key}"
        document = httpx.get(url, trust_env=False).raise_for_status().json()
        revision = document.pop("_rev")
        document.update({"source": ZX81} if place % 2 else {"sequence": document["sequence"] + 1})
        httpx.put(url, params={"rev": revision}, json=document, trust_env=False).raise_for_status()


def delete_document(lab: Lab, document: str) -> None:
    """The gateway gives it out no more."""
    url = f"{lab.description['gateway']}/{document}"
    revision = httpx.get(url, trust_env=False).raise_for_status().json()["_rev"]
    httpx.delete(url, params={"rev": revision}, trust_env=False).raise_for_status()


def shown_otherwise(lab: Lab, reads: Any) -> set[str]:
    """Keys of the events of which Poseidon shows another effect than the ledger has; counted here by hand."""
    must = "SELECT id, sequence, effect FROM event JOIN source ON number = source"
    effects = {(source, sequence): effect for source, sequence, effect in query(lab.run_folder / "ledger.sqlite", must)}
    result = set()
    for source, read in reads["views"]["orders"]["events"].items():
        shown = base64.b64decode(read["effects"])
        numbers = chain.from_iterable(range(first, last + 1) for first, last in read["intervals"])
        for place, number in enumerate(numbers):
            if (source, number) not in effects:  # nobody sent it
                continue
            if shown[place * EFFECT_BYTES : (place + 1) * EFFECT_BYTES] != effects[source, number]:
                result.add(f"{source}.{number}")
    return result


def differing(read: Any) -> set[str]:
    """Registers that are not as they should be."""
    found, expected = read["registers"], read["registers_expected"]
    return {name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)}


def test_what_is_shown_is_judged(command_line: CommandLine) -> None:
    """Journals and what witnesses were told stay right, and all that people see is wrong: every bit of it is found."""
    lab = command_line.up("--deadline", "6s", rate="0/s")
    lab.burst(500)
    command_line.run("wait", "--name", lab.name, "--converged", "--timeout", "90s")
    poseidon = lab.run_folder / "state" / "poseidon-1" / "poseidon.sqlite"
    documents = sorted(keys(poseidon, "applied", "sequence = 7"))[:4]
    spoil_documents(lab, documents)
    days = "SELECT DISTINCT id, business_day_date FROM receipt JOIN source ON number = source"
    robbed = query(poseidon, f"{days} WHERE {HALF}")
    spoiled = spoil_poseidon(poseidon)
    spoil(poseidon, "INSERT INTO applied VALUES (1, 0, x'0000000000000000', 1)")
    spoil(
        lab.run_folder / "state" / "views-1" / "sales.sqlite", "INSERT INTO sales VALUES (?, '1999-01-01', 0, 0)", GHOST
    )
    registers = spoil_registers(lab.run_folder / "state")
    last = max(registers["olympus_dgs"])
    for view, document in (("store_board", f"status:{last.rpartition('.')[0]}"), ("olympus_dgs", f"device:{last}")):
        delete_document(lab, document)
        registers[view].add(document)
    verdict = lab.down(status=1)
    reads = json.loads((lab.run_folder / "reads.json").read_text(encoding="utf-8"))
    views = {view["view"]: view for view in verdict["views"]}

    assert shown_otherwise(lab, reads) == set().union(*spoiled.values())
    assert views["orders"]["counts"]["corrupted"] == len(set().union(*spoiled.values()))
    assert {"corrupted", "registers_differ"} <= {reason["code"] for reason in verdict["invalid"]}
    assert views["gateway"]["counts"]["corrupted"] == len(documents) == 4
    fields = {
        one["name"]: {field["path"] for field in one["fields"]} for one in verdict["classes"]["corrupted"]["examples"]
    }
    assert {key: fields[key] for key in documents} == {
        key: {"source"} if place % 2 else {"sequence"} for place, key in enumerate(documents)
    }
    for view, names in registers.items():
        read = reads["views"][view]
        shown = {name for name in differing(read) if not name.startswith("row ")}  # a damaged row has no name any more
        assert (view, shown) == (view, names)
        assert (view, views[view]["validity"]) == (view, "invalid"), "it had its whole deadline"
        assert read["registers_changed_ms"].keys() == read["registers_expected"].keys()
    assert views["orders"]["counts"]["unexpected"] == 1, "a row that no event can have hides none of the others"
    (ghost,) = views["sales"]["differences"]
    assert (ghost["name"], ghost["expected"], ghost["found"]) == (f"{GHOST} 1999-01-01", "absent", "0 for 0 cents")
    assert_tills(reads["views"]["tills"], spoiled["deleted"] | spoiled["raised"], robbed, views["tills"])
    assert {skip["reason"] for skip in reads["views"]["orders"]["skips"]} == {"no_key"}
    assert all(read["asked_at_ms"] <= read["at_ms"] for read in reads["views"].values())


def assert_tills(read: Any, changed: set[str], robbed: list[tuple[str, str]], account: Any) -> None:
    """Orders that a client gets otherwise or not at all, and tills that lack receipts of the day that they show."""
    wrong = differing(read)
    orders = {name for name in read["registers_expected"] if name.count(".") == 4}
    tills = read["registers_expected"].keys() - orders
    assert len(orders) > 50
    assert orders & changed
    assert orders & changed <= wrong
    poorer = {till for till in tills if (till, read["registers_expected"][till][DAY]) in robbed}
    assert poorer
    assert poorer <= wrong
    assert (account["validity"], account["difference_count"]) == ("invalid", len(wrong))


def assert_asked_otherwise(by_path: dict[str, set[str]], reads: Any) -> None:
    """Each part, each till, each field that a client gets otherwise than listed, and nothing else."""
    tills = {name for name in reads["tills"]["registers_expected"] if name.count(".") == 3 and name[:1] != "/"}
    assert by_path["tills"] == {f"/registers/{name}" for name in tills}
    brands = {name.partition(".")[0] for name in tills}
    assert {path for path in by_path["device_inventory"] if "region" not in path} == {
        f"/views/device-inventory?brand={brand}" for brand in brands
    }
    assert "/_changes?channels=status" in by_path["store_board"]
    assert any(path.startswith("/views/store-board?region=") for path in by_path["store_board"])
    assert not by_path["olympus_dgs"]
    assert any(name.startswith("/views/sales?region=") for name, *_ in reads["sales"]["totals"])


async def test_what_is_held_twice_or_shown_otherwise_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Poseidon that keeps a fact twice and views that answer other rows than they hold: nothing else is wrong."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for stage in ("poseidon", "views"):
        monkeypatch.setitem(STAGES, stage, STAGES[stage]._replace(module="tests.lab.faulty_consumers"))
    plan = plan_of(tmp_path, fleet={"stores": 3, "kinds": ["register"]}, rate="60/s")

    async def script(run: Run) -> None:
        await until_traded(run, 150)
        assert await run.drain(DEADLINE_S)
        events = query(run.ledger_file, "SELECT count(*) FROM event")
        sales = run.lab.run_folder / "state" / "views-1" / "sales.sqlite"
        await until(lambda: query(sales, "SELECT count(*) FROM applied") == events, "sales has all events")

    # The views never agree: to wait for them longer would prove nothing more.
    played = await play(tmp_path, plan, script, drain_s=3.0)
    verdict = played.verdict
    poseidon = played.folder / "state" / "poseidon-1" / "poseidon.sqlite"
    twice = "GROUP BY source, sequence HAVING count(*) = 2"
    doubled = {
        key
        for table in ("receipt", "reference", "control", "till_movement")
        for key in keys(poseidon, table, f"sequence = {DOUBLED} {twice}")
    }
    assert len(doubled) == 9
    assert verdict.counts["duplicated"] == len(doubled)
    assert {example.name for example in verdict.classes["duplicated"].examples} == doubled
    assert verdict.counts["ok"] == verdict.sent - len(doubled)
    reads = json.loads((played.folder / "reads.json").read_text(encoding="utf-8"))["views"]
    wrong = {view: differing(read) for view, read in reads.items() if read["registers"] is not None}
    first_store = min(name for name in reads["store_board"]["registers_expected"] if name[:1] != "/")
    by_path = {view: {name for name in names if name[:1] == "/"} for view, names in wrong.items()}
    wrong = {view: names - by_path[view] for view, names in wrong.items()}
    assert wrong.pop("tills")  # money that was paid in twice
    assert wrong == {"store_board": {first_store}, "device_inventory": {ZX81}, "olympus_dgs": set()}
    assert_asked_otherwise(by_path, reads)
    assert {"duplicated", "registers_differ", "totals_differ"} <= {reason.code for reason in verdict.invalid}
    (sales,) = (view for view in verdict.views if view.view == "sales")
    totals = reads["sales"]["totals"]
    assert sales.difference_count == sum(name[:1] == "/" for name, *_ in totals) + 2
    assert len([day for _, day, *_ in totals if "listed again" in day]) == 1
