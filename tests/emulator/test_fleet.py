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

WRONG = {
    "unknown key": ("storez = 3", r"storez: expected no such key, found it; known keys: seed, stores"),
    "unknown nested key": ("[mix]\nsales = 3", r"mix.sales: expected no such key, .* sale, returned"),
    "wrong type": ('stores = "many"', r"stores: expected int, found 'many'"),
    "zero stores": ("stores = 0", r"stores: expected int >= 1, found 0"),
    "unknown dialect": (
        '[[brands]]\nname = "taco"\ndialect = "klingon"\nmenu = "taco"',
        r"brands\[0\].dialect: .*found 'klingon'",
    ),
    "missing key": ('[[brands]]\nname = "taco"\nmenu = "taco"', r"brands\[0\].*dialect"),
    "bad word": ('[[regions]]\nname = "We st"\nutc_offset = "-08:00"', r"regions\[0\].name: expected .*'We st'"),
    "bad offset": ('[[regions]]\nname = "west"\nutc_offset = "PST"', r"utc_offset: expected .*'PST'"),
    "closes before it opens": ('closes = "09:00"', r"closes: expected a time after opens \(10:00\), found '09:00'"),
    "no such day": ('first_business_day = "2026-02-30"', r"first_business_day: expected a date, found '2026-02-30'"),
    "kitchen first": ('kinds = ["kitchen_display"]', r"kinds: expected register or drive_through first"),
    "a name twice": (
        '[[regions]]\nname = "west"\nutc_offset = "-08:00"\n[[regions]]\nname = "west"\nutc_offset = "-07:00"',
        r"regions: expected every name once, found 'west' 2 times",
    ),
    "no TOML": ("stores = = 3", r"Invalid value"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_told_so_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    """Every mistake names the file, the key, what was expected and what was found, in one line."""
    file = tmp_path / "fleet.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=message) as caught:
        Fleet.from_toml(file)
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
