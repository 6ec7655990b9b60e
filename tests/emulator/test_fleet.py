"""The fleet as a value: what it contains by default, how it is cut into shards, and what a wrong file is told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from emulator.fleet import Fleet
from fleetwire.errors import SettingsError

EXAMPLE = Path(__file__).parents[2] / "examples" / "chain.toml"


def test_default_fleet_is_even() -> None:
    """200 stores spread evenly over four regions and three brands, three terminals each."""
    plans = Fleet.from_options().terminals()
    assert len(plans) == 600
    assert set(Counter(plan.region.name for plan in plans).values()) == {150}
    pairs = Counter((plan.brand.name, plan.region.name) for plan in plans)
    assert len(pairs) == 12
    assert max(pairs.values()) - min(pairs.values()) == 3
    assert plans[0].id == "taco.north.s0001.r01"


def test_the_example_is_the_default() -> None:
    """The documented example names every key with its default value."""
    assert Fleet.from_toml(EXAMPLE) == Fleet.from_options()


def test_shares() -> None:
    """A brand with three shares has three stores for every one of the other."""
    brands = [
        {"name": "big", "dialect": "taco", "menu": "taco", "share": 3},
        {"name": "small", "dialect": "pizza", "menu": "pizza"},
    ]
    plans = Fleet.from_options(brands=brands, stores=80, terminals_per_store=1).terminals()
    assert Counter(plan.brand.name for plan in plans) == {"big": 60, "small": 20}


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_shards_are_a_partition(shards: int) -> None:
    """The shards together are the fleet, no terminal twice, no store in two shards."""
    fleet = Fleet.from_options(stores=50)
    parts = [fleet.terminals(shard=shard, shards=shards) for shard in range(shards)]
    assert sorted(plan.id for part in parts for plan in part) == sorted(plan.id for plan in fleet.terminals())
    stores = [store for part in parts for store in {plan.terminal.store_id for plan in part}]
    assert len(stores) == len(set(stores)) == 50


def test_kinds_take_turns() -> None:
    """The kinds follow each other within a store and are numbered on their own."""
    plans = Fleet.from_options(stores=1, terminals_per_store=6).terminals()
    assert [plan.terminal.terminal for plan in plans] == ["r01", "d01", "k01", "x01", "r02", "d02"]


def test_hardware_is_recorded() -> None:
    """A terminal's serial number, model and versions are what they were when this test was written."""
    plan = Fleet.from_options(seed=7).terminals()[1]
    assert (plan.id, plan.serial_number, plan.model, plan.app_version, plan.os_version) == HARDWARE


HARDWARE = ("taco.north.s0001.d01", "D5913052364", "Lane 10", "8.5.0", "11.2")

REGION = '[[regions]]\nname = "west"\nutc_offset = "-08:00"\n'
WRONG = {
    "unknown key": ("stroes = 3", "line 1: unknown key 'stroes'; did you mean 'stores'?"),
    "a key like none": ("seed = 1\ncolour = 3", "line 2: unknown key 'colour'; known keys: seed, stores, "),
    "unknown nested key": ("[mix]\nsales = 3", "line 2: mix: unknown key 'sales'; did you mean 'sale'?"),
    "wrong type": ('stores = "ten"', "line 1: stores = 'ten': expected a whole number from 1 to 100,000"),
    "half a store": ("stores = 1.5", "stores = 1.5: expected a whole number from 1 to 100,000"),
    "zero stores": ("stores = 0", "stores = 0: expected a whole number from 1 to 100,000"),
    "no share": ("malformed = nan", "malformed = nan: expected a number from 0 to 1"),
    "unknown dialect": (
        '[[brands]]\nname = "taco"\ndialect = "sushi"\nmenu = "taco"',
        "line 3: brands[0]: dialect 'sushi': expected taco, burger or pizza",
    ),
    "misspelt kind": ('kinds = ["register", "kioks"]', "kinds[1] 'kioks': expected register, drive_through, kiosk or "),
    "missing key": ('[[brands]]\nname = "taco"\nmenu = "taco"', "line 1: brands[0]: the key 'dialect' is missing"),
    "no brands": ("brands = 3", "brands = 3: expected a list"),
    "bad word": (
        '[[regions]]\nname = "We st"\nutc_offset = "-08:00"',
        "regions[0]: name = 'We st': expected 1 to 32 of a-z, 0-9 and dash",
    ),
    "bad offset": (
        REGION + '[[regions]]\nname = "east"\nutc_offset = "PST"',
        "line 6: regions[1]: utc_offset = 'PST': expected an offset from",
    ),
    "closes before it opens": ('closes = "09:00"', "closes = '09:00': expected a time after opens (10:00)"),
    "no time": ('opens = "25:00"', "opens = '25:00': expected a time of day"),
    "no such day": ('first_business_day = "2026-02-30"', "first_business_day = '2026-02-30': there is no such date"),
    "kitchen first": ('kinds = ["kitchen_display"]', "'kitchen_display': expected register or drive_through first"),
    "a name twice": (REGION + REGION, "line 5: regions[1].name = 'west': expected every name once"),
    "a skew of a misspelt region": (
        'clock_skews_s = { "taco.wset.*.r01" = 3 }',
        "clock_skews_s: 'taco.wset.*.r01' fits nobody: no region 'wset'; did you mean 'west'?",
    ),
    "a skew of a misspelt brand": (
        '[clock_skews_s]\n"tacos.*.*.*" = 3',
        "line 2: clock_skews_s: 'tacos.*.*.*' fits nob",
    ),
    "a skew of a terminal that no store has": (
        '[clock_skews_s]\n"*.*.*.r09" = 3',
        "no terminal 'r09'; did you mean 'r01'?",
    ),
    "a skew of levels that do not meet": ('[clock_skews_s]\n"*.west.s0001.*" = 3', "no store of *.west is 's0001'"),
    "a skew of no terminal": (
        '[clock_skews_s]\n"taco" = 3',
        "'taco' fits nobody: expected brand.region.store.terminal",
    ),
    "too large a skew": (
        '[clock_skews_s]\n"*" = 1\n"*.r01" = 90000',
        "*.r01 = 90000: expected a whole number from -86400",
    ),
    "no TOML": ("seed = 1\nstores = = 3", "line 2, column 10: expected a value"),
    "a key twice": ("stores = 3\nstores = 4\n", "line 2, column 11: this key is there already: stores = 4"),
    "open end": ("stores = 3\nkinds = [", "line 2: expected a value"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_told_so_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    """Every mistake names the file, the key, what was expected and what was found, in one line."""
    file = tmp_path / "fleet.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Fleet.from_toml(file)
    assert message in str(caught.value)
    assert not any(mark in str(caught.value) for mark in ("`", "regex", "^", "$"))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    """A file that is not there is a SettingsError with its path."""
    with pytest.raises(SettingsError, match=r"nothing\.toml"):
        Fleet.from_toml(tmp_path / "nothing.toml")


def test_a_wrong_shard() -> None:
    """A shard outside of its count is refused."""
    with pytest.raises(SettingsError, match="numbered from 0 to 3"):
        Fleet.from_options().terminals(shard=4, shards=4)
