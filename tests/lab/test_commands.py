"""A detached lab as a user handles it: wait, status, trace, tail, down; and several labs beside each other."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from storefleet.lab import JOURNEY_TIMEOUT_S
from tests.lab.command_line import CommandLine, Lab, read_verdict, until


def test_a_detached_lab_answers_every_command(command_line: CommandLine) -> None:
    """From up to down, each command does what it says and ends with the exit status it should."""
    lab = command_line.up()
    command_line.run("wait", "--ready")
    lab.wait_for_trade()
    converged = command_line.json("wait", "--converged", "--timeout", "90s")
    assert set(converged) == {"gateway", "orders", "sales", "store_board", "device_inventory", "olympus_dgs"}
    status = lab.status()
    assert status["ready"]
    assert {line["stage"] for line in status["picture"]["stages"] if line["total"]} >= {"emulator", "parm", "poseidon"}
    assert "PARM" in command_line.run("status").stdout
    trace = command_line.json("trace", "--last")
    assert "poseidon-1" in trace["steps"]
    assert trace["key"] in command_line.run("trace", trace["key"]).stdout
    until(
        lambda: all(row["sighting"] for row in command_line.json("trace", trace["key"])["rows"]), "it came everywhere"
    )
    assert "applied, told " in command_line.run("trace", "--last").stdout
    assert "no terminal of this run" in command_line.run("trace", "taco.west.s9999.r01.1", status=3).stderr
    assert_traced_while_stages_stand_still(lab)
    assert len(command_line.run("tail", "--count", 5).stdout.splitlines()) == 5
    letters = [json.loads(line) for line in command_line.run("tail", "--count", 3, "--json").stdout.splitlines()]
    assert all(letter["topic"].startswith(f"{lab.description['topic_root']}/") for letter in letters)
    live = command_line.run("log").stdout.splitlines()
    assert live[0] == f"run folder: {lab.run_folder}"
    assert any(line.endswith("lab                phase: trading") for line in live), live
    assert [one["kind"] for one in lab.status()["happenings"][:2]] == ["start", "phase"]
    assert lab.down()["validity"] == "valid"
    command_line.until_nothing_is_left(within_s=20.0)
    assert "no lab" in command_line.run("status", status=2).stderr
    past = command_line.run("log").stdout.splitlines()
    assert set(live[1:]) <= set(past), "a log is only written on"
    assert past[-1].endswith("lab                phase: check")
    assert "give either" in command_line.run("log", lab.run_folder, "--name", "lab", status=2).stderr


def assert_traced_while_stages_stand_still(lab: Lab) -> None:
    """Stages that do not answer are waited for together, and their rows are there by what they reported."""
    ((source, sequence),) = lab.ledger("SELECT id, sequence FROM event JOIN source ON number = source LIMIT 1")
    stopped = [lab.identities()[name] for name in ("parm-1", "poseidon-1", "views-1", "olympus_dgs-1")]
    begun_s = time.monotonic()
    lab.command_line.json("trace", f"{source}.{sequence}", "--name", lab.name)
    unhindered_s = time.monotonic() - begun_s
    for process in stopped:
        process.signal(signal.SIGSTOP)
    try:
        begun_s = time.monotonic()
        trace = lab.command_line.json("trace", f"{source}.{sequence}", "--name", lab.name)
        took_s = time.monotonic() - begun_s
    finally:
        for process in stopped:
            process.signal(signal.SIGCONT)
    assert took_s - unhindered_s < 3 * JOURNEY_TIMEOUT_S, "one after another they take four times as long"
    assert trace["steps"].keys() == {"emulator-1", "sync_stage-1"}
    evidence = {row["step"]: row["sighting"]["evidence"] for row in trace["rows"]}
    assert [evidence[step] for step in ("emulator", "parm", "poseidon", "views")] == ["ledger", *["witness"] * 3]


def test_labs_beside_each_other_share_nothing(command_line: CommandLine) -> None:
    """Three labs started at once have no port, folder or topic in common, and each ends on its own."""
    with ThreadPoolExecutor() as pool:
        labs = list(pool.map(lambda name: command_line.up(name=name, rate="20/s"), ("one", "two", "three")))
    ports = [port for lab in labs for port in ports_of(lab)]
    assert len(ports) == len(set(ports))
    assert len({lab.run_folder for lab in labs}) == len({lab.description["topic_root"] for lab in labs}) == 3
    assert "--name" in command_line.run("status", status=2).stderr
    one, two, three = labs
    one.wait_for_trade()
    assert one.down()["validity"] == "valid"
    assert two.status()["ready"]
    two.wait_for_trade()
    with ThreadPoolExecutor() as pool:
        verdicts = list(pool.map(Lab.down, (two, three)))
    assert [verdict["validity"] for verdict in verdicts] == ["valid", "valid"]


def ports_of(lab: Lab) -> set[str]:
    """Every address that a lab listens on, as its lab.json says."""
    description = lab.description
    urls = [description["broker"]["url"], description["gateway"]]
    urls += [hop["listen"] for hop in description["hops"].values()]
    urls += [url for endpoints in description["http"].values() for url in endpoints.values()]
    return {url.partition("://")[2].partition("/")[0] or url for url in urls}


def test_two_labs_of_one_name_are_refused(command_line: CommandLine) -> None:
    """The second ``up`` of a name does not begin, says why in one line, and leaves the first alone."""
    lab = command_line.up()
    again = command_line.run("up", "--name", "lab", "--runs", command_line.runs, status=2)
    assert "a lab named lab exists" in again.stderr
    assert len(again.stderr.splitlines()) == 1
    assert lab.status()["ready"]
    lab.wait_for_trade()
    lab.down()
    assert command_line.run_folders() == [lab.run_folder]


def test_the_same_seed_makes_the_same_events(command_line: CommandLine) -> None:
    """Two runs of one seed have the same hashes under the same keys, as far as both went."""
    ledgers = []
    for name in ("one", "two"):
        lab = command_line.up("--seed", 7, name=name)
        lab.wait_for_trade(total=60)
        lab.down()
        ledgers.append(hashes(lab.run_folder))
    common = ledgers[0].keys() & ledgers[1].keys()
    assert len(common) >= 50
    assert {key: ledgers[0][key] for key in common} == {key: ledgers[1][key] for key in common}


def hashes(folder: Path) -> dict[tuple[str, int], bytes]:
    """Content hash by key, from a run's ledger."""
    with sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True) as ledger:
        rows = ledger.execute("SELECT id, sequence, hash FROM event JOIN source ON number = source")
        return {(source, sequence): digest for source, sequence, digest in rows}


def test_down_gives_the_status_of_the_verdict(command_line: CommandLine) -> None:
    """A lab in which nothing was sent ends unknown, and down with 3."""
    lab = command_line.up(rate="0/s")
    assert lab.down(status=3)["validity"] == "unknown"
    assert read_verdict(lab.run_folder)["unknown"][0]["code"] == "nothing_sent"
