"""The plan: what options mean, which are refused, and what is left of the journey."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwire.errors import SettingsError
from fleetwire.identity import is_word
from storefleet import plan, quantities
from storefleet.plan import JOURNEY, STAGES
from storefleet.run_record import RunRecord, journey_of, views_not_judged, views_of
from tests.storefleet_units.plans import lab_plan


@pytest.mark.parametrize(
    ("text", "per_s"),
    [("200/s", 200.0), ("200", 200.0), ("600/min", 10.0), ("600/m", 10.0), ("3600/h", 1.0), ("0", 0.0), ("0.5/s", 0.5),
     ("1e3", 1_000.0), ("200 / s", 200.0), ("100000/s", 1e5)],
)  # fmt: skip
def test_rates(text: str, per_s: float) -> None:
    """A rate is a number of events in a second, a minute or an hour."""
    assert quantities.read_rate(text) == pytest.approx(per_s)


@pytest.mark.parametrize("text", ["", "/s", "fast", "200/day", "nan", "200/s/s", "0x10"])
def test_wrong_rates(text: str) -> None:
    """What is no rate is refused with the option and an example."""
    with pytest.raises(SettingsError, match=re.escape(f"--rate {text!r}: expected a number of events such as 200/s")):
        quantities.read_rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60.0), ("500ms", 0.5), ("1.5m", 90.0), ("2min", 120.0), ("1h", 3_600.0), ("7", 7.0), ("0", 0.0),
     ("168h", 604_800.0)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    """A duration is a number with its unit; seconds need none."""
    assert quantities.read_duration(text, "--timeout") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "soon", "1d", "nan", "1s2", "1 s 2", "²s"])
def test_wrong_durations(text: str) -> None:
    """What is no duration is refused with the option's own name."""
    with pytest.raises(SettingsError, match=re.escape(f"--deadline {text!r}: expected a time such as 60s")):
        quantities.read_duration(text, "--deadline")


@settings(deadline=None)
@given(st.text(max_size=20))
def test_any_text_as_an_option(text: str) -> None:
    """No text raises anything but a settings error that names the option."""
    readers = (
        quantities.read_rate,
        lambda given: quantities.read_duration(given, "--timeout"),
        lambda given: plan.stage_instances([given, f"parm={given}"], JOURNEY),
        lambda given: plan.stage_commands([given, f"parm={given}"], JOURNEY),
        lambda given: plan.present_stages([given]),
        plan.check_name,
    )
    for read in readers:
        try:
            read(text)
        except SettingsError as error:
            said = str(error)
        else:
            said = "--"
        assert said.startswith("--")


@pytest.mark.parametrize(
    ("without", "present"),
    [
        ([], JOURNEY),
        (["views"], ("parm", "sync_stage", "gateway", "poseidon", "olympus_dgs")),
        (["olympus-dgs"], ("parm", "sync_stage", "gateway", "poseidon", "views")),
        (["poseidon"], ("parm", "sync_stage", "gateway", "olympus_dgs")),
        (["gateway"], ("parm",)),
        (["sync_stage"], ("parm",)),
        (["parm"], ()),
        (["views", "olympus_dgs", "views"], ("parm", "sync_stage", "gateway", "poseidon")),
    ],
)
def test_what_is_left(without: list[str], present: tuple[str, ...]) -> None:
    """Without a stage goes all that has nothing to do without it; dashes and underscores are the same."""
    assert plan.present_stages(without) == present


def test_the_table_hangs_together() -> None:
    """The journey lists every stage once, and whatever lies behind a stage takes what lies behind that along."""
    assert sorted(JOURNEY) == sorted(STAGES)
    for row in STAGES.values():
        for behind in row.behind:
            assert set(STAGES[behind].behind) <= {
                *row.behind,
                *[name for name, other in STAGES.items() if other is row],
            }


def test_commands() -> None:
    """A stage of the user's own is a command line or ``external``, by either spelling of its name."""
    found = plan.stage_commands(["parm=python 'my parm.py' --x=1", "olympus-dgs = external "], JOURNEY)
    assert found == {"parm": "python 'my parm.py' --x=1", "olympus_dgs": "external"}


@pytest.mark.parametrize(
    ("given", "present", "message"),
    [
        ("parm", JOURNEY, "expected NAME=COMMAND or NAME=external"),
        ("parm=", JOURNEY, "expected NAME=COMMAND"),
        ("parm= ", JOURNEY, "expected NAME=COMMAND"),
        ("parn=x", JOURNEY, "no such stage; there are gateway, parm"),
        ("parm='x", JOURNEY, "No closing quotation"),
        ("views=x", ("parm",), "views is left out by --without"),
    ],
)
def test_wrong_commands(given: str, present: tuple[str, ...], message: str) -> None:
    """A command that names no stage, an absent one, or nothing that can be run is refused."""
    with pytest.raises(SettingsError, match=message):
        plan.stage_commands([given], present)


def test_instances() -> None:
    """Who shares work may be several; of an absent stage nothing is kept."""
    assert plan.stage_instances(["parm=16", "sync-stage=1"], JOURNEY) == {"parm": 16, "sync_stage": 1}
    assert plan.stage_instances(["sync_stage=2"], ("parm",)) == {}


@pytest.mark.parametrize("number", ["", "0", "17", "-1", "1.0", " 1", "²", "٣", "9" * 5_000])
def test_wrong_instances(number: str) -> None:
    """Other numbers than 1 to 16 are refused, whatever they are written in."""
    with pytest.raises(SettingsError, match="expected a number from 1 to 16"):
        plan.stage_instances([f"parm={number}"], JOURNEY)


def test_who_cannot_be_several() -> None:
    """A stage that does not share its work is refused with those that do."""
    with pytest.raises(SettingsError, match="only parm, sync_stage share their work"):
        plan.stage_instances(["views=2"], JOURNEY)


@pytest.mark.parametrize(
    ("stages", "answers"),
    [(JOURNEY, "poseidon"), (("parm", "sync_stage", "gateway"), "sync_stage"), (("parm",), "parm"), ((), "broker")],
)
def test_who_answers_outcomes(stages: tuple[str, ...], answers: str) -> None:
    """The last stage present answers outcomes; with none the broker's word counts."""
    assert lab_plan(stages=stages).outcome_stage == answers


def test_what_a_plan_says() -> None:
    """A plan's topics, broker and instance counts follow from its fields."""
    found = lab_plan(name="mine", instances={"parm": 3})
    assert found.topic_root == "storefleet/mine"
    assert not found.external_broker
    assert lab_plan(broker="mqtt://other").external_broker
    assert (found.instance_count("parm"), found.instance_count("views")) == (3, 1)
    assert plan.brand_pairs({"taco": "nested", "bagel": "compact"}) == "taco=nested,bagel=compact"


def test_names() -> None:
    """A new name is a word that no other lab has; a name that is none is refused."""
    names = {plan.new_name() for _ in range(50)}
    assert len(names) == 50
    assert all(is_word(plan.check_name(name)) for name in names)
    for name in ("", "a/b", "A", "-a", "a" * 33, "a\n"):
        with pytest.raises(SettingsError, match="--name"):
            plan.check_name(name)


def test_the_runs_folder(tmp_path: Path) -> None:
    """The folder for runs is made and left empty; where nothing can be written, the error says so."""
    assert [*plan.check_runs_folder(tmp_path / "a" / "b").iterdir()] == []
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot write run folders into .*/file/runs: .*; use --runs DIR"):
        plan.check_runs_folder(tmp_path / "file" / "runs")


def steps_and_views(**changes: object) -> tuple[list[str], list[str]]:
    """Names of the steps and views of a plan."""
    found = lab_plan(**changes)
    return [step.step for step in journey_of(found)], [view.view for view in views_of(found)]


def test_the_journey_of_a_plan() -> None:
    """Steps and views are those of what is present: the broker's word is a view where nobody is behind it."""
    whole = ["emulator", "broker-raw", "parm", "broker-canonical", "sync_stage", "gateway", "poseidon", "views"]
    assert steps_and_views() == (
        whole,
        ["gateway", "orders", "tills", "sales", "store_board", "device_inventory", "olympus_dgs"],
    )
    assert steps_and_views(stages=("parm",)) == (whole[:4], ["canonical"])
    assert steps_and_views(stages=()) == (whole[:2], ["raw"])
    assert steps_and_views(stages=plan.present_stages(["olympus_dgs"]))[1] == [
        "gateway",
        "orders",
        "tills",
        "sales",
        "store_board",
    ]


def test_the_users_own_stage() -> None:
    """A stage of the user's own is foreign, and what cannot be read or shown because of it is no view."""
    own = lab_plan(commands={"parm": "external"})
    assert {step.step: step.foreign for step in journey_of(own)}["parm"]
    assert [view.view for view in views_of(own)] == ["gateway", "orders", "tills", "sales"]
    assert views_not_judged(own) == ["store_board", "device_inventory", "olympus_dgs"]
    assert steps_and_views(commands={"poseidon": "external"})[1] == [
        "gateway",
        "sales",
        "store_board",
        "device_inventory",
        "olympus_dgs",
    ]
    assert steps_and_views(stages=plan.present_stages(["views"]))[1] == ["gateway", "orders", "tills", "olympus_dgs"]


def test_phases_follow_each_other() -> None:
    """A phase ends where the next begins; the last one ends once."""
    record = RunRecord(lab=lab_plan())
    record.close_phase(5)
    record.enter("settle", 10)
    record.enter("faults on", 20)
    record.close_phase(30)
    record.close_phase(40)
    spans = [(phase.name, phase.from_ms, phase.until_ms) for phase in record.phases]
    assert spans == [("settle", 10, 20), ("faults on", 20, 30)]


def test_a_plan_is_a_value() -> None:
    """Two plans of the same fields are equal, and none can be changed."""
    assert lab_plan() == lab_plan()
    with pytest.raises(AttributeError, match="immutable"):
        lab_plan().name = "other"
