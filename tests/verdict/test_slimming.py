"""A slimmed run folder is judged, traced and told as the whole one was; what anybody else took away makes it unknown."""

from __future__ import annotations

import gzip
import hashlib
import json
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from fleetwire.errors import SettingsError, StorageError
from fleetwire.witness import Step
from storefleet.past_run import open_past_run
from storefleet.process_journal import JOURNAL_FILE_NAME
from storefleet.recorded_journey import recorded_journey
from storefleet.run_record import RunRecord
from storefleet.selftest.made_run import START_MS, make_run, source_name
from storefleet.verdict.letter_file import Letter
from storefleet.verdict.log_file import Happening, LogHeader
from storefleet.verdict.run_folder import judge, judge_folder
from storefleet.verdict.sealing import sealed
from storefleet.verdict.slimming import slim
from tests.storefleet_units.plans import lab_plan
from tests.verdict.told_run import REMADE, told

EVENTS, SOURCES = 240, 6
STATE = {
    "state/gateway-1/gateway.sqlite": b"documents " * 5_000,
    "state/gateway-1/gateway.sqlite-wal": b"",
    "state/views-1/sales/sales.sqlite": b"totals",
}
OTHERS = {
    "logs/parm-1.log": b"started\n",
    "lab.json": b"{}\n",
    JOURNAL_FILE_NAME: b"",
    "mosquitto.conf": b"listener 0\n",
}
PACKED = ["witnesses.jsonl", "journeys.json", "reads.json", "letters.jsonl"]
KEYS = [f"{source_name(number)}.{sequence}" for number in range(SOURCES) for sequence in (1, 17, 40)]
KEYS_ASKED = [*KEYS, f"{source_name(0)}.9999", "taco.west.s9999.r09.1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a valid run as a lab leaves it, judged; its outbox was long, and its ledger has a write-ahead log."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    make_run(folder, events=EVENTS, sources=SOURCES)
    for name, content in {**STATE, **OTHERS}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    steps = {key: Step(taken_ms=START_MS + 5, handed_on_ms=START_MS + 9, attempt=1, did="stored") for key in KEYS[::2]}
    (folder / "journeys.json").write_bytes(msgspec.json.encode({"parm-1": steps, "sync_stage-1": steps}))
    log = (LogHeader(run="made", started_at_ms=START_MS), Happening(at_ms=START_MS, kind="phase", text="trading"))
    (folder / "log.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in log))
    with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as ledger:
        ledger.execute("PRAGMA wal_autocheckpoint = 0")
        for number in range(400):
            row = (1, number, 1, "", "", "", "", bytes(900))
            ledger.execute("INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        ledger.execute("DELETE FROM outbox")
        reseal(folder)
        for name in ("ledger.sqlite", "ledger.sqlite-wal"):  # as a process leaves it that was killed
            shutil.copy(folder / name, folder / f"{name}.left")
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        (folder / f"{name}.left").replace(folder / name)
    assert judge_folder(folder).validity == "valid"
    return folder


def reseal(folder: Path) -> None:
    """The run was left as its folder is now, by a lab that could go on."""
    values = json.loads((folder / "plan.json").read_bytes())
    del values["seal"]
    record = msgspec.convert({**values, "restarts": {}, "lab": msgspec.to_builtins(lab_plan())}, RunRecord)
    (folder / "plan.json").write_bytes(sealed(folder, msgspec.json.encode(record)))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that may be slimmed or spoiled."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def slimmed(folder: Path) -> Path:
    """The same, slimmed."""
    assert slim(folder) is not None
    return folder


def files(folder: Path) -> set[str]:
    """All files below it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def unknown(folder: Path) -> str:
    """Why the verdict is unknown; it accuses nobody."""
    verdict, _ = judge(folder)
    assert (verdict.validity, verdict.invalid) == ("unknown", [])
    return "\n".join(f"{reason.code}: {reason.detail}" for reason in verdict.unknown)


def test_nothing_that_anybody_can_ask_is_answered_otherwise(whole: Path, slimmed: Path) -> None:
    """Verdict to the byte, also with budgets, report with spans, journeys of known and unknown events, the log."""
    before, after = told(whole, KEYS_ASKED), told(slimmed, KEYS_ASKED)
    for what, said in before.items():
        assert after[what] == said, what
    rows = recorded_journey(slimmed, KEYS[0]).rows
    assert {row.sighting.evidence for row in rows if row.sighting is not None} >= {"ledger", "journey", "read"}


def test_what_is_left_and_what_is_named(whole: Path, slimmed: Path) -> None:
    """State is gone, named with its size and hash; evidence is packed; everything else lies there as it was."""
    seal = json.loads((slimmed / "plan.json").read_bytes())["seal"]["slimmed"]
    assert seal["dropped"] == {
        name: {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in STATE.items()
    }
    assert seal["packed"] == PACKED
    assert set(seal["kept"]) == {*OTHERS, "journeys.json"}
    left = {f"{name}.gz" for name in PACKED} | {*OTHERS, *REMADE} | {"plan.json", "ledger.sqlite", "log.jsonl"}
    assert files(slimmed) == left
    assert not (slimmed / "state").exists()
    assert all((slimmed / name).read_bytes() == content for name, content in OTHERS.items())
    for name in PACKED:
        assert gzip.decompress((slimmed / f"{name}.gz").read_bytes()) == (whole / name).read_bytes()


def test_the_ledger_has_its_rows_and_no_room_besides(whole: Path, slimmed: Path) -> None:
    """What the outbox and the write-ahead log took is given back; every table says what it said."""
    assert (whole / "ledger.sqlite-wal").stat().st_size > 300_000
    assert (slimmed / "ledger.sqlite").stat().st_size < 80_000
    with (
        closing(sqlite3.connect(f"file:{whole / 'ledger.sqlite'}?mode=ro", uri=True)) as before,
        closing(sqlite3.connect(f"file:{slimmed / 'ledger.sqlite'}?mode=ro", uri=True)) as after,
    ):
        tables = [name for (name,) in before.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert {"event", "outcome", "meta", "source", "register"} <= set(tables)
        for table in tables:
            assert (
                after.execute(f"SELECT * FROM {table}").fetchall()
                == before.execute(f"SELECT * FROM {table}").fetchall()
            )


LEFT = sorted({f"{name}.gz" for name in PACKED} | {*OTHERS} | {"ledger.sqlite", "log.jsonl"})


@pytest.mark.parametrize("name", LEFT)
def test_a_file_that_anybody_else_took_away_makes_it_unknown(slimmed: Path, name: str) -> None:
    """Whichever it is, it is named."""
    (slimmed / name).unlink()
    assert name.removesuffix(".gz") in unknown(slimmed)


@pytest.mark.parametrize("name", LEFT)
def test_a_file_that_anybody_altered_makes_it_unknown(slimmed: Path, name: str) -> None:
    """A byte more at its end; of a database, a row less."""
    path = slimmed / name
    if name == "ledger.sqlite":
        with closing(sqlite3.connect(path, isolation_level=None)) as ledger:
            assert ledger.execute("DELETE FROM outcome WHERE source = 2").rowcount == 1
    elif name.endswith(".gz"):
        content = gzip.decompress(path.read_bytes()) + b"\n"
        path.unlink()
        path.with_suffix("").write_bytes(content)
    else:
        path.write_bytes(path.read_bytes() + b"\n")
    assert f"{name.removesuffix('.gz')} is not" in unknown(slimmed)


@pytest.mark.parametrize("name", [f"{name}.gz" for name in PACKED])
def test_a_packed_file_that_is_damaged_makes_it_unknown(slimmed: Path, name: str) -> None:
    """One bit of it; the checker reads what it can and says what it cannot."""
    path = slimmed / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = unknown(slimmed)
    assert f"seal_broken: {name.removesuffix('.gz')} cannot be read to its end" in found
    assert "checker_failed" not in found


def test_whoever_unpacks_a_file_or_brings_back_what_was_dropped_breaks_nothing(whole: Path, slimmed: Path) -> None:
    """As long as it is the same: something else under a dropped name is told."""
    for name in PACKED:
        subprocess.run(["gunzip", slimmed / f"{name}.gz"], check=True)
    for name in STATE:
        (slimmed / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole / name, slimmed / name)
    assert judge(slimmed)[0].validity == "valid"
    (slimmed / min(STATE)).write_bytes(b"D" + STATE[min(STATE)][1:])
    assert f"{min(STATE)} is not the one that was dropped when the run was slimmed" in unknown(slimmed)


def test_the_seal_says_what_it_says_of_the_slimming(slimmed: Path) -> None:
    """A plan that claims to be whole again misses its files, and one of a newer kind is refused."""
    plan = json.loads((slimmed / "plan.json").read_bytes())
    (slimmed / "plan.json").write_text(json.dumps({**plan, "version": 1}), encoding="utf-8")
    assert "plan.json is not the one that this run left: version" in unknown(slimmed)
    (slimmed / "plan.json").write_text(json.dumps({**plan, "version": 3}), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"format version 3; this storefleet reads up to 2"):
        judge(slimmed)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "logs/../../outside", "a\0b"])
def test_a_plan_reaches_nothing_outside_its_folder(slimmed: Path, name: str) -> None:
    """A folder that somebody has sent names files elsewhere: they are not looked at."""
    (slimmed.parent / "outside").write_bytes(b"x")
    plan = json.loads((slimmed / "plan.json").read_bytes())
    mark = {"size_bytes": 1, "sha256": hashlib.sha256(b"other").hexdigest()}
    plan["seal"]["slimmed"]["dropped"] = {name: mark}
    (slimmed / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    assert judge(slimmed)[0].validity == "valid"
    plan["seal"]["slimmed"]["kept"] = {name: {"size_bytes": 1, "digest": "0" * 32}}
    (slimmed / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    assert "is gone: 1 bytes" in unknown(slimmed)


@pytest.mark.parametrize("missing", [(), ("verdict.json",), ("verdict.json", "reads.json.gz")])
def test_a_slimmed_run_does_not_go_on(slimmed: Path, missing: tuple[str, ...]) -> None:
    """Its stages' state is gone: it has ended, also where its verdict was removed, and is judged again."""
    for name in missing:
        (slimmed / name).unlink()
    with pytest.raises(SettingsError, match="has ended; its verdict stands"):
        open_past_run(slimmed)


def test_a_second_slimming_does_nothing(slimmed: Path) -> None:
    """Nor does one of a run without a seal."""
    before = {name: (slimmed / name).read_bytes() for name in files(slimmed)}
    assert slim(slimmed) is None
    plan = json.loads((slimmed / "plan.json").read_bytes())
    assert {name: (slimmed / name).read_bytes() for name in files(slimmed)} == before
    (slimmed / "plan.json").write_text(json.dumps({**plan, "seal": None}), encoding="utf-8")
    assert slim(slimmed) is None


def test_what_is_not_ours_stays(folder: Path, tmp_path: Path) -> None:
    """State of somebody else's stage, and whatever lies behind a link."""
    (folder / "state" / "parm-1").mkdir()
    (folder / "state" / "parm-1" / "theirs.db").write_bytes(b"theirs")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_bytes(b"kept")
    (folder / "state" / "gateway-2").symlink_to(elsewhere)
    (folder / "state" / "views-1" / "link").symlink_to(elsewhere / "kept")
    found = slim(folder, foreign={"parm"})
    assert found is not None
    assert set(found.dropped) == set(STATE)
    assert (folder / "state" / "parm-1" / "theirs.db").read_bytes() == b"theirs"
    assert (folder / "state" / "gateway-2" / "kept").read_bytes() == b"kept"
    assert (folder / "state" / "views-1" / "link").is_symlink()
    (folder / "state" / "parm-1" / "theirs.db").write_bytes(b"theirs goes on")
    assert judge(folder)[0].validity == "valid"


CHILD = """
import os, signal, sys
from pathlib import Path
from storefleet.verdict.slimming import slim

folder, die_at = Path(sys.argv[1]), int(sys.argv[2])
steps = 0

def look(event, arguments):
    global steps
    if event not in ("open", "os.rename", "os.remove", "os.rmdir", "sqlite3.connect"):
        return
    if not str(arguments[0]).startswith((str(folder), "file:" + str(folder))):
        return
    steps += 1
    if steps == die_at:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(look)
slim(folder)
print(steps)
"""


def in_child(folder: Path, die_at: int) -> subprocess.CompletedProcess[str]:
    """Slim in a process that is killed when it is about to touch its so-many-th file; 0: never."""
    command = [sys.executable, "-c", CHILD, str(folder), str(die_at)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_death_at_any_step_leaves_a_folder_that_is_judged_right(whole: Path, tmp_path: Path) -> None:
    """kill -9 before every file that is opened, renamed or removed: told as before, and slimmed by who tries again."""
    before = told(whole, KEYS_ASKED)
    alive = in_child(Path(shutil.copytree(whole, tmp_path / "alive")), 0)
    assert alive.returncode == 0, alive.stderr
    steps = int(alive.stdout)
    assert steps > 30
    was_whole = 0
    for step in range(1, steps + 1):
        copy = Path(shutil.copytree(whole, tmp_path / f"died-{step}"))
        assert in_child(copy, step).returncode == -signal.SIGKILL, step
        assert told(copy, KEYS_ASKED) == before, step
        was_whole += slim(copy) is not None
        assert told(copy, KEYS_ASKED) == before, step
        shutil.rmtree(copy)
    assert 0 < was_whole < steps, "some died before the plan said so, and some after"


@pytest.mark.parametrize("limit", [0, 100, 1_000, 5_000, 40_000])
def test_what_cannot_be_written_leaves_the_folder_whole(whole: Path, folder: Path, limit: int) -> None:
    """The system refuses files beyond a size, as a full disk does: one line says so, and no copy is left."""
    before, there = told(folder, KEYS_ASKED), files(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StorageError) as refused:
            slim(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert str(refused.value).startswith(f"{folder} stays whole, it could not be slimmed: ")
    assert "\n" not in str(refused.value)
    assert files(folder) - {"ledger.sqlite-shm", "ledger.sqlite-wal"} == there - {
        "ledger.sqlite-shm",
        "ledger.sqlite-wal",
    }
    assert told(folder, KEYS_ASKED) == before == told(whole, KEYS_ASKED)


def test_a_ledger_that_somebody_reads_keeps_the_folder_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks into it meanwhile is not disturbed."""
    monkeypatch.setattr("storefleet.verdict.slimming.BUSY_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM event").fetchone() == (EVENTS,)
        with pytest.raises(StorageError, match="stays whole"):
            slim(folder)
    assert not any(name.endswith((".gz", ".new")) for name in files(folder))
    assert judge(folder)[0].validity == "valid"


SPOILED: dict[str, Callable[[Path], object]] = {
    "witnesses": lambda folder: (folder / "witnesses.jsonl").write_bytes(b"{}\n"),
    "reads": lambda folder: (folder / "reads.json").write_bytes(b"{}"),
    "letters": lambda folder: (folder / "letters.jsonl").write_bytes(
        msgspec.json.encode(Letter(at_ms=1, stage="parm", reason="schema", source="unknown"))
    ),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_not_as_its_run_left_it_is_not_slimmed(folder: Path, what: str) -> None:
    """Nothing is dropped for which the seal does not speak."""
    SPOILED[what](folder)
    there = files(folder)
    with pytest.raises(StorageError, match="is not as its run left it"):
        slim(folder)
    assert files(folder) == there
