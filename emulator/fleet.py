"""A fleet as a frozen value: which stores and terminals there are, and how they do business.

It comes from a TOML file (``examples/chain.toml`` documents every key) or from the same keys as options. Everything is
a pure function of the fleet: store ``n`` always has the same brand and region, a terminal always the same hardware,
and a shard is a function of (shard, shards) alone, so that processes and machines agree without talking.
A wrong setting raises SettingsError with one line: file, key, expected, found.

Time zones are fixed offsets, not names: a name would make business times depend on the time zone data of the machine
(slim images have none), and a chain must trade the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from emulator.draws import Draws
from emulator.fleet_lines import line_of, parse_toml, read_text
from emulator.selectors import LEVELS, nobody
from fleetwire.errors import SettingsError
from fleetwire.identity import Terminal
from fleetwire.plain_words import matching, tell_wrong

Kind = Literal["register", "drive_through", "kiosk", "kitchen_display"]
DialectName = Literal["taco", "burger", "pizza"]
MenuName = Literal["taco", "burger", "pizza"]
Word = Annotated[
    str, matching(r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$", "1 to 32 of a-z, 0-9 and dash, no dash at the ends")
]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
ClockSkew = Annotated[int, Meta(ge=-86_400, le=86_400)]
Weight = Annotated[int, Meta(ge=0, le=1_000_000)]
HourMinute = Annotated[str, matching(r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$", "a time of day from 00:00 to 24:00")]

KIND_LETTERS: Final[dict[Kind, str]] = {
    "register": "r",
    "drive_through": "d",
    "kiosk": "k",
    "kitchen_display": "x",
}
MAXIMUM_STORES: Final = 100_000


class Brand(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A chain of the fleet: how its terminals speak (dialect), what they sell (menu), in which currency."""

    name: Word
    dialect: DialectName
    menu: MenuName
    currency: Annotated[str, matching(r"^[A-Z]{3}$", "three capital letters such as USD")] = "USD"
    share: Annotated[int, Meta(ge=1, le=1000)] = 1
    """How many stores this brand has for every ``share`` stores of another."""


class Region(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the country: its offset from UTC and its sales tax in basis points (825 = 8.25 %)."""

    name: Word
    utc_offset: Annotated[
        str, matching(r"^[+-](0\d|1[0-4]):[0-5]\d$", "an offset from -14:59 to +14:59 such as -06:00")
    ]
    tax_basis_points: Annotated[int, Meta(ge=0, le=5000)] = 800

    @property
    def offset_ms(self) -> int:
        """Local time minus UTC, in milliseconds."""
        minutes = int(self.utc_offset[1:3]) * 60 + int(self.utc_offset[4:6])
        return (-minutes if self.utc_offset[0] == "-" else minutes) * 60_000


class Mix(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often each thing happens while a till trades: whole weights."""

    sale: Weight = 820
    returned: Weight = 40
    void: Weight = 30
    no_sale: Weight = 30
    pickup: Weight = 20
    paid_in: Weight = 15
    paid_out: Weight = 15
    alert: Weight = 30


class TerminalPlan(Struct, frozen=True):
    """One terminal as it stands in its store; hardware is drawn on demand, so that a plan stays small."""

    terminal: Terminal
    kind: Kind
    position: int
    """Place in its store, from 0; the first terminal opens and closes the store's business day."""
    brand: Brand
    region: Region
    seed: int
    clock_skew_s: int = 0
    """How far its own clock is ahead of the true time."""

    @property
    def id(self) -> str:
        """The terminal's id, e.g. ``taco.west.s0042.r01``."""
        return self.terminal.id

    @property
    def serial_number(self) -> str:
        """The maker's number on the terminal's back."""
        return f"{KIND_LETTERS[self.kind].upper()}{Draws(self.seed, self.id, 'serial').digits(10)}"

    @property
    def model(self) -> str:
        """The hardware model."""
        return Draws(self.seed, self.id, "model").pick(MODELS[self.kind])

    @property
    def app_version(self) -> str:
        """Version of the point-of-sale application; a chain rolls it out store by store."""
        return Draws(self.seed, self.terminal.store_id, "application").pick(APP_VERSIONS)

    @property
    def os_version(self) -> str:
        """Version of the operating system, the same for a model."""
        return Draws(self.seed, self.model, "system").pick(OS_VERSIONS)


MODELS: Final[dict[Kind, tuple[str, ...]]] = {
    "register": ("Counter 15", "Counter 15 Pro", "Counter 17"),
    "drive_through": ("Lane 8", "Lane 10"),
    "kiosk": ("Pillar 22", "Pillar 27"),
    "kitchen_display": ("Pass 19",),
}
APP_VERSIONS: Final = ("8.4.2", "8.4.3", "8.5.0")
OS_VERSIONS: Final = ("11.2", "11.4", "12.0")

DEFAULT_BRANDS: Final = (
    Brand(name="taco", dialect="taco", menu="taco"),
    Brand(name="burger", dialect="burger", menu="burger"),
    Brand(name="pizza", dialect="pizza", menu="pizza"),
)
DEFAULT_REGIONS: Final = (
    Region(name="north", utc_offset="-06:00", tax_basis_points=688),
    Region(name="south", utc_offset="-06:00", tax_basis_points=825),
    Region(name="east", utc_offset="-05:00", tax_basis_points=888),
    Region(name="west", utc_offset="-08:00", tax_basis_points=950),
)


def read_toml(path: Path) -> dict[str, Any]:
    """All that a fleet file says, unchecked; raises SettingsError for what is no TOML."""
    where = f"fleet file {path}"
    return parse_toml(read_text(path, where), where)


class Fleet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole fleet; build it with :meth:`from_toml` or :meth:`from_options`, which check it."""

    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 1
    stores: Annotated[int, Meta(ge=1, le=MAXIMUM_STORES)] = 200
    terminals_per_store: Annotated[int, Meta(ge=1, le=99)] = 3
    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1, max_length=99)] = get_args(Kind)
    keep_alive_s: Annotated[int, Meta(ge=1, le=65_535)] = 5
    heartbeat_interval_s: Annotated[int, Meta(ge=1, le=86_400)] = 900
    first_business_day: Annotated[str, matching(r"^20\d\d-\d\d-\d\d$", "a date such as 2026-01-05")] = "2026-01-05"
    opens: HourMinute = "10:00"
    closes: HourMinute = "22:00"
    events_per_day: Annotated[int, Meta(ge=1, le=10_000)] = 60
    malformed: Share = 0.0
    repeated: Share = 0.0
    conflicting: Share = 0.0
    clock_skews_s: Annotated[dict[str, ClockSkew], Meta(max_length=100)] = {}
    """Terminal id, or a glob -> seconds by which these terminals' clocks are ahead; the first that fits counts."""
    mix: Mix = Mix()
    brands: Annotated[tuple[Brand, ...], Meta(min_length=1, max_length=64)] = DEFAULT_BRANDS
    regions: Annotated[tuple[Region, ...], Meta(min_length=1, max_length=64)] = DEFAULT_REGIONS

    @classmethod
    def from_toml(cls, path: Path) -> Fleet:
        """Read a fleet file; raises SettingsError."""
        return cls.from_values(read_toml(path), path)

    @classmethod
    def from_values(cls, values: Mapping[str, object], path: Path) -> Fleet:
        """The fleet of what a fleet file says; raises SettingsError that names the file."""
        return _checked(dict(values), f"fleet file {path}", path)

    @classmethod
    def from_options(cls, **options: object) -> Fleet:
        """The default fleet with some keys changed, named as in the file; raises SettingsError."""
        return _checked(options, "fleet options")

    @property
    def dialects(self) -> dict[str, str]:
        """Dialect by brand, for PARM."""
        return {brand.name: brand.dialect for brand in self.brands}

    @property
    def size(self) -> int:
        """How many terminals the whole fleet has."""
        return self.stores * self.terminals_per_store

    def terminals(self, *, shard: int = 0, shards: int = 1) -> Sequence[TerminalPlan]:
        """The terminals of one shard, store by store; a store is never split between shards."""
        if not 0 <= shard < shards:
            raise SettingsError(f"shard {shard} of {shards}: shards are numbered from 0 to {shards - 1}")
        turns = _brand_turns(self.brands)
        plans: list[TerminalPlan] = []
        for store in range(shard, self.stores, shards):
            plans += self._store(store, turns)
        return plans

    def _store(self, store: int, turns: Sequence[Brand]) -> list[TerminalPlan]:
        region = self.regions[store % len(self.regions)]
        brand = turns[store // len(self.regions) % len(turns)]
        word = f"s{store + 1:04d}"
        counts = dict.fromkeys(self.kinds, 0)
        plans = []
        for position in range(self.terminals_per_store):
            kind = self.kinds[position % len(self.kinds)]
            counts[kind] += 1
            terminal = Terminal(brand.name, region.name, word, f"{KIND_LETTERS[kind]}{counts[kind]:02d}")
            skew_s = self._clock_skew_s(terminal.id)
            plans.append(TerminalPlan(terminal, kind, position, brand, region, self.seed, skew_s))
        return plans

    def _clock_skew_s(self, terminal_id: str) -> int:
        fitting = (skew_s for glob, skew_s in self.clock_skews_s.items() if fnmatchcase(terminal_id, glob))
        return next(fitting, 0)


def _brand_turns(brands: Sequence[Brand]) -> list[Brand]:
    """Smooth weighted round robin: one turn of all shares, with every brand spread as evenly as can be."""
    total = sum(brand.share for brand in brands)
    credit = [0] * len(brands)
    turns = []
    for _ in range(total):
        credit = [have + brand.share for have, brand in zip(credit, brands, strict=True)]
        chosen = credit.index(max(credit))
        credit[chosen] -= total
        turns.append(brands[chosen])
    return turns


def _checked(values: dict[str, Any], where: str, file: Path | None = None) -> Fleet:
    """The fleet of these values; ``file``: where the lines are that an error names."""
    try:
        fleet = msgspec.convert(values, Fleet)
    except msgspec.ValidationError as error:
        path, said = tell_wrong(error, values, Fleet)
        raise SettingsError(f"{_place(where, file, path)}: {said}") from error
    for path, said in _contradictions(fleet):
        raise SettingsError(f"{_place(where, file, path)}: {said}")
    return fleet


def _contradictions(fleet: Fleet) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What each value may be, and all of them together may not: where, and what is wrong."""
    if fleet.opens >= fleet.closes:
        yield ("closes",), f"closes = {fleet.closes!r}: expected a time after opens ({fleet.opens})"
    if fleet.kinds[0] not in ("register", "drive_through"):
        yield ("kinds",), f"kinds[0] {fleet.kinds[0]!r}: expected register or drive_through first"
    try:
        date.fromisoformat(fleet.first_business_day)
    except ValueError:
        yield ("first_business_day",), f"first_business_day = {fleet.first_business_day!r}: there is no such date"
    for key, parts in (("brands", fleet.brands), ("regions", fleet.regions)):
        names = [part.name for part in parts]
        for place, name in enumerate(names):
            if name in names[:place]:
                yield (key, place, "name"), f"{key}[{place}].name = {name!r}: expected every name once"
    yield from _skews_of_nobody(fleet)


def _skews_of_nobody(fleet: Fleet) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """A clock skew that fits no terminal would be ignored in silence."""
    if not fleet.clock_skews_s:
        return
    ids = [plan.id for plan in fleet.terminals()]
    for glob in fleet.clock_skews_s:
        if not any(fnmatchcase(one, glob) for one in ids):
            levels = glob.split(".")
            why = nobody(glob, ids, levels) if len(levels) == len(LEVELS) else None
            why = (
                why
                or f"{glob!r:.80} fits nobody: expected brand.region.store.terminal, such as {ids[0]} or *.west.*.r01"
            )
            yield ("clock_skews_s", glob), f"clock_skews_s: {why}"


def _place(where: str, file: Path | None, path: tuple[str | int, ...]) -> str:
    line = line_of(read_text(file, where), path) if file is not None and path else None
    return f"{where}, line {line}" if line else where
