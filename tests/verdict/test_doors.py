"""Whatever a run folder says, there is a verdict: cells, lines and values of a healthy one are overwritten at random places.

The checker itself fails at none of them: each is found at the door, named, and costs no more than it must.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwire.errors import SettingsError
from storefleet.selftest.made_run import make_run
from storefleet.verdict.result import Verdict
from storefleet.verdict.run_folder import judge_folder

EXAMPLES = 60
NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 7, 2**53, 2**62, 2**64, -(2**70), 0.5, -1e308, 1e308, "", "x", "[/x]", "\0", "é" * 300, [], {},
    [[10, 1]], [[1, 2], [2, 3]], [[0, 1]], [[1, 2**53 - 1]], {"taco.west.s0001.r01": [[10, 1]]}, ["a", "b", 1, 2],
)  # fmt: skip
CELLS: tuple[Any, ...] = (None, -1, 0, 7, 2**53, 2**62, 1.5, "", "x", "[/x]", "é" * 300, b"", b"\xff" * 8)
NEWER = "format version"

places = st.floats(0, 1, exclude_max=True)
"""Which of all the values, lines or cells that there are."""


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a healthy run whose ledger takes any value in any cell."""
    folder = tmp_path_factory.mktemp("made") / "run"
    make_run(folder, events=60, sources=6)
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite")) as ledger:
        ledger.execute("PRAGMA journal_mode = DELETE")
        for table in tables(ledger):
            ledger.executescript(
                f"CREATE TABLE loose AS SELECT * FROM {table}; DROP TABLE {table}; ALTER TABLE loose RENAME TO {table}"
            )
    assert judge_folder(folder).validity == "valid"
    return folder


def tables(ledger: sqlite3.Connection) -> list[str]:
    """The tables that hold anything."""
    names = [name for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return [name for name in names if ledger.execute(f"SELECT count(*) FROM {name}").fetchone()[0]]


@contextlib.contextmanager
def copy_of(healthy: Path) -> Iterator[Path]:
    """A copy that may be spoiled."""
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        shutil.copytree(healthy, folder, ignore=shutil.ignore_patterns("verdict.json", "junit.xml", "report.txt"))
        yield folder


def values_of(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    yield path
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in inner:
        yield from values_of(value, (*path, name))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with another value at a path."""
    if not path:
        return value
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return document


def judged(folder: Path) -> Verdict | None:
    """The verdict as it is written; None where the folder is none that this storefleet reads, which is said in one line."""
    refusal = ""
    try:
        verdict = judge_folder(folder)
    except SettingsError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        assert any(word in refusal for word in (NEWER, "has format", "plan.json cannot be read")), refusal
        return None
    written = msgspec.json.decode((folder / "verdict.json").read_bytes(), type=Verdict)
    assert written == verdict
    assert (folder / "report.txt").stat().st_size
    assert (folder / "junit.xml").stat().st_size
    assert "checker_failed" not in [reason.code for reason in verdict.unknown], verdict.unknown
    return verdict


@settings(max_examples=EXAMPLES)
@given(place=places, value=st.sampled_from(NASTY), name=st.sampled_from(["plan.json", "reads.json"]))
def test_any_value_of_a_file(healthy: Path, name: str, place: float, value: Any) -> None:
    """Whatever stands anywhere in the plan or the reads."""
    with copy_of(healthy) as folder:
        document = json.loads((folder / name).read_bytes())
        paths = list(values_of(document))
        path = paths[int(place * len(paths))]
        (folder / name).write_text(json.dumps(replaced(document, path, value)), encoding="utf-8")
        assert judged(folder) is not None or not path or path[-1] in {"format", "version"}


@settings(max_examples=EXAMPLES)
@given(line=places, place=places, value=st.sampled_from(NASTY), cut=st.booleans())
def test_any_line_of_the_witnesses(healthy: Path, line: float, place: float, value: Any, cut: bool) -> None:
    """Whatever stands anywhere in a line, or where it breaks off; only a header of a newer version is refused."""
    with copy_of(healthy) as folder:
        lines = (folder / "witnesses.jsonl").read_bytes().splitlines()
        number = int(line * len(lines))
        document = json.loads(lines[number])
        paths = list(values_of(document))
        path = paths[int(place * len(paths))]
        if cut:
            lines[number] = lines[number][: int(place * len(lines[number]))]
        else:
            lines[number] = json.dumps(replaced(document, path, value)).encode()
        (folder / "witnesses.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        assert judged(folder) is not None or (number, path) == (0, ("version",))


@settings(max_examples=EXAMPLES)
@given(table=places, column=places, row=places, value=st.sampled_from(CELLS))
def test_any_cell_of_the_ledger(healthy: Path, table: float, column: float, row: float, value: Any) -> None:
    """Whatever stands in any cell; only a newer version is refused."""
    with copy_of(healthy) as folder:
        with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as ledger:
            names = tables(ledger)
            name = names[int(table * len(names))]
            columns = [one[1] for one in ledger.execute(f"PRAGMA table_info({name})")]
            rows = [one for (one,) in ledger.execute(f"SELECT rowid FROM {name}")]
            where = f"{columns[int(column * len(columns))]} = ? WHERE rowid = ?"
            ledger.execute(f"UPDATE {name} SET {where}", (value, rows[int(row * len(rows))]))
        assert judged(folder) is not None or name == "meta"


@settings(max_examples=EXAMPLES // 2)
@given(place=places)
def test_an_interval_turned_round_is_never_valid(healthy: Path, place: float) -> None:
    """In a final read; what was turned round is named."""
    with copy_of(healthy) as folder:
        reads = json.loads((folder / "reads.json").read_bytes())
        paths = [path for path in values_of(reads) if path[-2:-1] == ("intervals",)]
        path = paths[int(place * len(paths))]
        (folder / "reads.json").write_text(json.dumps(replaced(reads, path, [10, 1])), encoding="utf-8")
        verdict = judged(folder)
        assert verdict is not None
        assert verdict.validity == "unknown"
        assert "read_broken" in [reason.code for reason in verdict.unknown]


def test_an_outcome_turned_round_is_never_valid(healthy: Path) -> None:
    """The ledger is not believed."""
    with copy_of(healthy) as folder:
        with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as ledger:
            ledger.execute("UPDATE outcome SET first = last, last = first WHERE source = 1")
        verdict = judged(folder)
        assert verdict is not None
        assert [reason.code for reason in verdict.unknown] == ["ledger_unreadable"]


def test_a_report_turned_round_is_skipped(healthy: Path) -> None:
    """What no witness can have written counts among the lines that say nothing."""
    with copy_of(healthy) as folder:
        content = (folder / "witnesses.jsonl").read_text(encoding="utf-8")
        (folder / "witnesses.jsonl").write_text(content.replace("[[1,10]]", "[[10,1]]"), encoding="utf-8")
        verdict = judged(folder)
        assert verdict is not None
        assert verdict.broken_lines > 0


def test_witnesses_of_another_run(healthy: Path) -> None:
    """They are named, and nothing in them is believed; without a header only its bytes are missed."""
    with copy_of(healthy) as folder:
        plan = json.loads((folder / "plan.json").read_bytes())
        plan["name"] = "another"
        del (
            plan["seal"],
            plan["sealed_at_end"],
        )  # as an older storefleet writes it: what the seal says is tested elsewhere
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        verdict = judged(folder)
        assert verdict is not None
        assert [reason.code for reason in verdict.unknown] == ["witnesses_of_another_run"]
        _, _, rest = (folder / "witnesses.jsonl").read_bytes().partition(b"\n")
        (folder / "witnesses.jsonl").write_bytes(rest)
        assert [reason.code for reason in judge_folder(folder).unknown] == ["evidence_missing"]


def test_witnesses_of_a_newer_version(healthy: Path) -> None:
    """They are refused in one line, like the other files."""
    with copy_of(healthy) as folder:
        content = (folder / "witnesses.jsonl").read_bytes()
        (folder / "witnesses.jsonl").write_bytes(content.replace(b'"version":1', b'"version":2', 1))
        with pytest.raises(SettingsError, match="format version 2"):
            judge_folder(folder)
