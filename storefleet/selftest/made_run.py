"""Makes the folder of a healthy run of any size without running a lab, as real ones look: for measuring the checker.

Terminals trade in turns at an even rate; every stage reports once a second, with the sources that changed, and once
more in full when it stops. Same arguments, same facts.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from fleetwire import ledger_format
from fleetwire.content import HASH_BYTES
from fleetwire.errors import SettingsError
from fleetwire.identity import Terminal
from fleetwire.packed_times import packed_times
from fleetwire.witness import Snapshot, ViewRead
from storefleet.verdict.journey import JOURNEY, JourneyStep
from storefleet.verdict.letter_file import LETTERS_FILE_NAME, End, Header
from storefleet.verdict.run_format import (
    PLAN_FILE_NAME,
    READS_FILE_NAME,
    WITNESSES_FILE_NAME,
    FinalRead,
    Phase,
    Plan,
    Reads,
    WitnessesHeader,
)
from storefleet.verdict.sealing import sealed
from storefleet.verdict.witnesses_header import header_line

RUN_NAME: Final = "made"
START_MS: Final = 1_767_600_000_000
EVENTS_PER_S: Final = 2_500
TERMINALS_PER_STORE: Final = 3
EVENTS_PER_DAY: Final = 60
APPLIED_AFTER_MS: Final = 40
BRANDS: Final = ("taco", "burger", "pizza")
REGIONS: Final = ("north", "south", "east", "west")
TYPES: Final = ("transaction.retail",) * 8 + ("transaction.control", "transaction.void")


def make_run(folder: Path, *, events: int, sources: int) -> None:
    """Write the folder; raises SettingsError when it is there already or cannot be made."""
    if events < sources or sources < 1:
        raise SettingsError(f"a run of {events} events and {sources} sources: every source needs one event at least")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise SettingsError(f"cannot make the run folder {folder}: {error.strerror}; name a new one") from error
    names = [source_name(number) for number in range(sources)]
    end_ms = START_MS + events * 1000 // EVENTS_PER_S + 1000
    _write_ledger(folder / ledger_format.LEDGER_FILE_NAME, names, events)
    with (folder / WITNESSES_FILE_NAME).open("wb") as file:
        file.write(header_line(WitnessesHeader(run=RUN_NAME, started_at_ms=START_MS)))
        for snapshot in _snapshots(names, events):
            file.write(msgspec.json.encode(snapshot) + b"\n")
    _write_letters(folder / LETTERS_FILE_NAME, end_ms)
    reads = _reads(names, events, end_ms)
    reads.told_until_row, reads.witnessed_bytes = sources, (folder / WITNESSES_FILE_NAME).stat().st_size
    _write(folder / READS_FILE_NAME, reads)
    (folder / PLAN_FILE_NAME).write_bytes(sealed(folder, msgspec.json.encode(_plan(end_ms))))


def source_name(number: int) -> str:
    """The terminal with this number from 0."""
    store, terminal = divmod(number, TERMINALS_PER_STORE)
    brand, region = BRANDS[store % len(BRANDS)], REGIONS[store % len(REGIONS)]
    return f"{brand}.{region}.s{store + 1:04d}.r{terminal + 1:02d}"


def _write(path: Path, value: object) -> None:
    path.write_bytes(msgspec.json.encode(value))


def _write_letters(path: Path, end_ms: int) -> None:
    """A lab has listened from the start to the end, and there was none."""
    lines = (Header(begun_at_ms=START_MS), End(end_at_ms=end_ms))
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def _steps() -> list[JourneyStep]:
    """As a lab records it: its gateway has no witness, but is read by value."""
    return [msgspec.structs.replace(step, witnessed=step.witnessed and step.step != "gateway") for step in JOURNEY]


def _plan(end_ms: int) -> Plan:
    phases = [Phase(name="trading", from_ms=START_MS, until_ms=end_ms)]
    return Plan(
        name=RUN_NAME,
        letters=True,
        steps=_steps(),
        started_at_ms=START_MS,
        phases=phases,
        sealed_at_end=True,
    )


def _count(number: int, events: int, sources: int) -> int:
    """How many events this source has: turns are taken in order."""
    return events // sources + (number < events % sources)


def _content(name: str, sequence: int) -> bytes:
    return blake2b(f"{name}.{sequence}".encode(), digest_size=HASH_BYTES).digest()


def _type(sequence: int) -> str:
    return TYPES[sequence % len(TYPES)]


def _day(sequence: int) -> str:
    return f"2026-01-{1 + sequence // EVENTS_PER_DAY % 28:02d}"


def _amount_cents(sequence: int) -> int:
    return {"transaction.retail": 100 + sequence % 900, "transaction.void": -100}.get(_type(sequence), 0)


def _write_ledger(path: Path, names: list[str], events: int) -> None:
    sources = len(names)
    with closing(sqlite3.connect(path)) as database:
        for pragma in ledger_format.PRAGMAS:
            database.execute(pragma)
        database.executescript(ledger_format.DDL)
        database.executemany(ledger_format.INSERT_META, ledger_format.META_ROWS)
        database.executemany(ledger_format.INSERT_SOURCE, enumerate(names, start=1))
        database.executemany(ledger_format.INSERT_TRADED_EVENT, (_event(names, turn) for turn in range(events)))
        told = (
            (number + 1, 1, _count(number, events, sources), "applied", "poseidon", "", START_MS)
            for number in range(sources)
        )
        database.executemany(ledger_format.INSERT_OUTCOME, told)
        registers = ((number + 1, 1, "birth", 1, 0, START_MS) for number in range(sources))
        database.executemany(ledger_format.PUT_REGISTER, registers)
        database.commit()


def _event(names: list[str], turn: int) -> tuple[object, ...]:
    number, sequence = turn % len(names), turn // len(names) + 1
    content = _content(names[number], sequence)
    at_ms = START_MS + turn * 1000 // EVENTS_PER_S
    action = {"transaction.retail": "SALE", "transaction.void": "VOID"}.get(_type(sequence), "NO_SALE")
    refers_to = sequence - 1 if action == "VOID" else 0
    return (
        number + 1, sequence, _type(sequence), content, _day(sequence), _amount_cents(sequence), at_ms, "", 1,
        _effect(content), action, refers_to, 0, "",
    )  # fmt: skip


def _committed_ms(number: int, sequence: int, sources: int) -> int:
    return START_MS + ((sequence - 1) * sources + number) * 1000 // EVENTS_PER_S


def _effect(content: bytes) -> bytes:
    """What a view shows of an event of this content."""
    return content[::-1]


def _snapshots(names: list[str], events: int) -> Iterator[Snapshot]:
    stages = list(dict.fromkeys(step.stage for step in _steps() if step.witnessed))
    sources = len(names)
    done = 0
    for second in range(1, -(-events // EVENTS_PER_S) + 1):
        upto = min(events, second * EVENTS_PER_S)
        turns = range(max(done, upto - sources), upto)
        sets = {names[turn % sources]: [(1, turn // sources + 1)] for turn in turns}
        yield from (_snapshot(stage, second, upto, sets) for stage in stages)
        done = upto
    whole = {name: [(1, _count(number, events, sources))] for number, name in enumerate(names)}
    yield from (_snapshot(stage, second + 1, events, whole) for stage in stages)


def _snapshot(stage: str, second: int, total: int, sets: dict[str, list[tuple[int, int]]]) -> Snapshot:
    return Snapshot(
        stage=stage,
        instance=1,
        incarnation=1,
        at_ms=START_MS + second * 1000,
        number=second,
        taken=sets,
        handed_on=sets,
        counters={"taken_total": total, "handed_on_total": total},
    )


def _reads(names: list[str], events: int, end_ms: int) -> Reads:
    held: dict[str, ViewRead] = {}
    totals: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for number, name in enumerate(names):
        count = _count(number, events, len(names))
        numbers = range(1, count + 1)
        hashes = [_content(name, each) for each in numbers]
        times_ms = [_committed_ms(number, each, len(names)) + APPLIED_AFTER_MS for each in numbers]
        held[name] = ViewRead(
            intervals=[(1, count)],
            hashes=b"".join(hashes),
            effects=b"".join(map(_effect, hashes)),
            applied_at_ms=packed_times(times_ms),
        )
        for sequence in numbers:
            if _type(sequence) != "transaction.control":
                total = totals[Terminal.parse(name).store_id, _day(sequence)]
                total[0] += 1
                total[1] += _amount_cents(sequence)
    reads = Reads()
    plain = {name: msgspec.structs.replace(read, effects=b"") for name, read in held.items()}
    for view, events_read in (("gateway", plain), ("orders", held), ("sales", plain)):
        reads.views[view] = _final_read(end_ms, events=events_read)
    rows = sorted(totals.items())
    reads.views["sales"].totals = [(store, day, count, cents) for (store, day), (count, cents) in rows]
    for view, registers in _registers(names, events).items():
        reads.views[view] = _final_read(end_ms, registers=dict(registers), registers_expected=registers)
        if view != "tills":
            reads.views[view].registers_changed_ms = dict.fromkeys(registers, START_MS)
    return reads


def _final_read(end_ms: int, **content: Any) -> FinalRead:
    return FinalRead(
        at_ms=end_ms,
        asked_at_ms=end_ms,
        begun_at_ms=START_MS,
        healed_at_ms=START_MS,
        converged_at_ms=START_MS,
        **content,
    )


def _registers(names: list[str], events: int) -> dict[str, dict[str, object]]:
    """By view, as a lab has them."""
    sizes = Counter(Terminal.parse(name).store_id for name in names)
    devices: dict[str, object] = {
        name: [True, "birth", 1, 0, "register", f"R{number:010d}", "Counter 15", "8.5.0", "12.0"]
        for number, name in enumerate(names)
    }
    tills: dict[str, object] = {
        name: [_count(number, events, len(names)), "", 0, _day(_count(number, events, len(names))), 0, 0, 0, 0]
        for number, name in enumerate(names)
    }
    return {
        "tills": tills,
        "store_board": {store: ["OPEN", size, size] for store, size in sizes.items()},
        "device_inventory": devices,
        "olympus_dgs": devices,
    }
