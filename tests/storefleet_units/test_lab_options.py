"""From options to a plan: what fits, what is read, and what is refused before anything starts."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from emulator.fleet import Fleet
from fleetwire.errors import SettingsError
from storefleet import lab_options
from storefleet.lab_options import (
    MAXIMUM_BROKER_OPTION,
    MAXIMUM_FLEET_FILE_BYTES,
    PASSWORD_VARIABLE,
    UNLIMITED_DESCRIPTORS,
    business_start_s,
    check_broker,
    check_broker_options,
    descriptor_limit,
    make_plan,
    read_allow,
    read_fleet,
    require_descriptors,
    take_password,
    terminals_that_fit,
)
from storefleet.plan import JOURNEY, LabPlan

ELSEWHERE = "mqtt://broker.example:1883"


def plan(tmp_path: Path, **changes: object) -> LabPlan:
    """A plan of two stores as the command line makes it, with changes."""
    options: dict[str, object] = {
        "fleet": Fleet.from_options(stores=2), "name": None, "rate": "200/s", "time_scale": 60.0, "broker": "local",
        "confirmed_external": False, "port": 0, "without": (), "stage": (), "instances": (), "runs": tmp_path / "runs",
    }  # fmt: skip
    return make_plan(**{**options, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limit", "bare", "fits"), [(20_000, False, 9_900), (20_000, True, 19_800), (200, False, 0), (10, True, 0)]
)
def test_what_fits(limit: int, bare: bool, fits: int) -> None:
    """A terminal takes two descriptors of the hop proxy, one over a bare hop, beside what a process needs itself."""
    assert terminals_that_fit(limit, bare_hops=bare) == fits


def test_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hard limit counts; without one a number that every system takes; too many terminals are told what fits."""
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 1_000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.append(given))
    require_descriptors(400)
    assert limits == [(1_000, 1_000)]
    advice = r"401 terminals need 1,002 descriptors .* 400 terminals fit; .*'ulimit -Hn 1002'"
    with pytest.raises(SettingsError, match=advice):
        require_descriptors(401)
    require_descriptors(800, bare_hops=True)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, resource.RLIM_INFINITY))
    assert descriptor_limit() == UNLIMITED_DESCRIPTORS


def test_a_plan(tmp_path: Path) -> None:
    """Options become a plan whose business day begins when the stores open; the folder for runs is there."""
    found = plan(
        tmp_path, name="mine", rate="600/min", without=["views"], instances=["parm=2"], stage=["parm=external"]
    )
    assert (found.name, found.rate_per_s, found.stores, found.terminals) == ("mine", 10.0, 2, 6)
    assert found.stages == tuple(stage for stage in JOURNEY if stage != "views")
    assert (found.commands, found.instances) == ({"parm": "external"}, {"parm": 2})
    assert found.business_start_s == business_start_s(Fleet.from_options(stores=2))
    assert (tmp_path / "runs").is_dir()
    assert plan(tmp_path).name != plan(tmp_path).name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_scale": 0.0}, "--time-scale 0: expected 0.01 to 100000"),
        ({"time_scale": float("nan")}, "--time-scale nan: expected"),
        ({"name": "A b"}, "--name 'A b'"),
        ({"broker": ELSEWHERE}, "is not ours: the lab would put load on it; say --yes-external"),
        ({"fleet": Fleet.from_options(stores=2, malformed=0.1), "without": ["parm"]}, "--malformed needs PARM"),
        ({"broker": "mqtts://b.example", "confirmed_external": True, "port": 1}, "over mqtts no hop listens"),
    ],
    ids=str,
)
def test_wrong_plans(tmp_path: Path, changes: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be is refused with the option that says so."""
    monkeypatch.setattr(lab_options, "require_free", lambda *_: None)
    with pytest.raises(SettingsError, match=message):
        plan(tmp_path, **changes)


def test_the_first_business_day() -> None:
    """Business time begins at the opening of the fleet's first business day."""
    fleet = Fleet.from_options(stores=2, first_business_day="2026-11-22", opens="07:30")
    assert business_start_s(fleet) == 1_795_305_600 + 7.5 * 3_600


def test_a_fleet_file(tmp_path: Path) -> None:
    """A fleet comes from a file, and an option that was given goes before what the file says."""
    file = tmp_path / "fleet.toml"
    file.write_text("stores = 7\nseed = 3\n")
    assert (read_fleet(file, {"stores": None}).stores, read_fleet(file, {"stores": 9}).stores) == (7, 9)
    assert read_fleet(file, {"stores": 9}).seed == 3
    assert read_fleet(None, {"stores": 5, "seed": None}) == Fleet.from_options(stores=5)


def test_wrong_fleet_files(tmp_path: Path) -> None:
    """A fleet file that is missing, a folder or far too large is refused before it is read."""
    large = tmp_path / "large.toml"
    with large.open("wb") as file:
        file.truncate(MAXIMUM_FLEET_FILE_BYTES + 1)
    for path, message in (
        (tmp_path / "missing", "no such file"),
        (tmp_path, "no ordinary file"),
        (large, "is larger than"),
    ):
        with pytest.raises(SettingsError, match=message):
            read_fleet(path, {})


def test_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is taken out of the environment, so that no child inherits it; a private file goes before it."""
    monkeypatch.setenv(PASSWORD_VARIABLE, "from outside")
    assert take_password(None) == "from outside"
    assert PASSWORD_VARIABLE not in os.environ
    assert take_password(None) is None
    file = tmp_path / "password"
    with pytest.raises(SettingsError, match="no such file; make one that only you may read"):
        take_password(file)
    file.touch(mode=0o600)
    file.write_text("from a file\n")
    monkeypatch.setenv(PASSWORD_VARIABLE, "from outside")
    assert take_password(file) == "from a file"
    assert PASSWORD_VARIABLE not in os.environ
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="readable by others"):
        take_password(file)


def test_broker_options() -> None:
    """Lines for our own broker are single, printable and short, and only ours takes any."""
    assert check_broker_options([" max_queued_messages 20 "], "local") == ("max_queued_messages 20",)
    assert check_broker_options([], ELSEWHERE) == ()
    for option in ("", " ", "a\nb", "a\0", "x" * (MAXIMUM_BROKER_OPTION + 1)):
        with pytest.raises(SettingsError, match=r"expected one line of mosquitto\.conf"):
            check_broker_options([option], "local")
    with pytest.raises(SettingsError, match="only our own broker can be configured"):
        check_broker_options(["max_queued_messages 20"], ELSEWHERE)


def test_somebody_elses_broker() -> None:
    """Somebody else's broker is taken only with the user's word for it."""
    check_broker(ELSEWHERE, confirmed=True)
    with pytest.raises(SettingsError, match="say --yes-external if that is meant"):
        check_broker(ELSEWHERE, confirmed=False)


def test_budgets_come_from_a_file_an_option_and_a_program(tmp_path: Path) -> None:
    """The option goes before the file, name by name; the fleet is what the rest of the file says; the plan keeps them."""
    file = tmp_path / "fleet.toml"
    file.write_text("stores = 3\n[allow]\nhealed = 5\ndead-letters = 7\n", encoding="utf-8")
    allow = read_allow(file, ["healed=0,restarts=1"])
    assert allow == {"healed": 0, "dead-letters": 7, "restarts": 1}
    assert read_fleet(file, {}).stores == 3
    assert plan(tmp_path, allow=allow).allow == allow
    assert read_allow(None, []) == {}
    with pytest.raises(SettingsError, match="no such budget"):
        plan(tmp_path, allow={"sorrows": 1})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("allow = 3", "allow is a table"),
        ("[allow]\nsorrows = 3", "no such budget; there are healed"),
        ("[allow]\nhealed = -3", "whole number"),
        ('[allow]\nhealed = "none"', "whole number"),
    ],
)
def test_budgets_that_a_file_cannot_have(tmp_path: Path, text: str, words: str) -> None:
    """One line that names the file."""
    file = tmp_path / "fleet.toml"
    file.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=words) as error:
        read_allow(file, [])
    assert str(file) in str(error.value)
