"""``junit.xml``: valid by the common rules, read by a reader of others, and with the figures of the report."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
import xmlschema
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase

from storefleet.selftest.ground import Ground, Impossible
from storefleet.selftest.made_run import make_run
from storefleet.selftest.plants import PLANTS
from storefleet.verdict.check import check
from storefleet.verdict.history import History
from storefleet.verdict.junit import CLASSES_JUDGED, junit
from storefleet.verdict.result import RunAccount, Verdict
from storefleet.verdict.run_folder import read_run
from storefleet.verdict.table import plain_text
from tests.verdict.test_budgets import healed
from tests.verdict.test_findings import dearer, first_lines, foreign, held_up, never_answered, run
from tests.verdict.world import SOURCES, START_MS, healthy, view

ONE = SOURCES[0]
RULES = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


def written(verdict: Verdict, name: str = "lab") -> Element:
    """The file's root, once it has been found valid."""
    content = junit(verdict, name, plain_text(verdict, name))
    RULES.validate(BytesIO(content))
    return fromstring(content)


def read(verdict: Verdict) -> dict[str, Any]:
    """Test case -> its result as junitparser reads it; None for one that passed."""
    suites = JUnitXml.fromstring(junit(verdict, "lab", plain_text(verdict, "lab")))
    cases: list[TestCase] = [case for suite in suites for case in suite]
    assert all(len(case.result) <= 1 for case in cases)
    found = {f"{case.classname}.{case.name}": case.result[0] if case.result else None for case in cases}
    assert len(found) == len(cases)
    return found


def test_a_valid_run() -> None:
    """A case for each class, view and given budget, and one for the evidence; when it began, and how long it took."""
    history = run(healed(7))
    history.allow = {"healed": 7, "restarts": 0}
    verdict = check(history)
    suite = written(verdict)
    names = [f"{case.get('classname')}.{case.get('name')}" for case in suite.iter("testcase")]
    assert names == [
        *(f"storefleet.class.{name}" for name in CLASSES_JUDGED),
        *(f"storefleet.view.{one.view}" for one in verdict.views),
        "storefleet.budget.healed",
        "storefleet.budget.restarts",
        "storefleet.evidence.complete",
    ]
    assert [suite.get(name) for name in ("name", "tests", "failures", "errors", "skipped", "time", "timestamp")] == [
        "lab", str(len(names)), "0", "0", "1", "50.000", "2023-11-14T22:13:20",
    ]  # fmt: skip
    (skipped,) = suite.iter("skipped")
    assert skipped.get("message") == "not judged: nobody says when events came"
    sales = next(case for case in suite.iter("testcase") if case.get("name") == "sales")
    assert sales.get("time") == "2.000", "how long it took to agree"
    assert suite.findtext("system-out") == plain_text(verdict, "lab")


def test_what_is_wrong_is_a_failure_with_its_keys() -> None:
    """The case of its class has the lines of the report; each view that lacks them is a failure, too."""
    history = run(foreign(healthy(), "parm"))
    never_answered(history, range(4, 6), after="broker-raw")
    found = read(check(history))
    failure = found["storefleet.class.no_outcome"]
    assert isinstance(failure, Failure)
    assert failure.type == "no_outcome"
    lines = first_lines(history, 8)[2:]
    assert [line for line in failure.text.splitlines() if line][: len(lines)] == lines
    wrong = {name for name, result in found.items() if isinstance(result, Failure)}
    assert wrong == {
        "storefleet.class.no_outcome",
        *(f"storefleet.view.{name}" for name in ("gateway", "orders", "sales")),
    }


def test_budgets() -> None:
    """Exceeded is a failure with its particulars, perhaps exceeded an error; budgets that nobody gave have no case."""
    history = run(healed(7))
    history.allow = {"healed": 6, "resent": 7}
    history.restarts = None
    history.allow["restarts"] = 0
    verdict = check(history)
    found = read(verdict)
    assert isinstance(found["storefleet.budget.healed"], Failure)
    assert f"{ONE}.1" in found["storefleet.budget.healed"].text
    assert found["storefleet.budget.healed"].message == "7 events healed, allowed 6"
    assert found["storefleet.budget.resent"] is None
    assert isinstance(found["storefleet.budget.restarts"], Error)
    assert "storefleet.budget.guests" not in found
    written(verdict)


def test_what_is_not_known_is_an_error_and_what_was_not_judged_is_skipped() -> None:
    """A view without a read is not known; classes of which nobody could know are skipped, with the reason."""
    history = run(healthy())
    view(history, "sales").read = None
    verdict = check(history)
    verdict.views_not_judged = ["espresso"]
    found = read(verdict)
    assert isinstance(found["storefleet.view.sales"], Error)
    assert isinstance(found["storefleet.evidence.complete"], Error)
    assert "no_final_read: a view was not read at the end (sales)" in found["storefleet.evidence.complete"].text
    assert isinstance(found["storefleet.view.espresso"], Skipped)
    history.ledger = None
    found = read(check(history))
    classes = {name: result for name, result in found.items() if name.startswith("storefleet.class.")}
    assert all(isinstance(result, Skipped) for result in classes.values())
    assert {result.message for result in classes.values()} == {"not judged: there is no ledger"}


@pytest.mark.parametrize("name", ["", "a  b\n", "\x00\x1f", "\ud800\ufffe", "<&>\"'", "läb"])
def test_names_that_xml_cannot_hold(name: str) -> None:
    """Whatever a lab is called, and whatever a stranger writes, the file can be read."""
    verdict = check(dearer(run(healthy())))
    verdict.run = RunAccount(name=name, folder=name, started_at_ms=START_MS)
    written(verdict, name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A large healthy run of a few terminals."""
    folder = tmp_path_factory.mktemp("made") / "run"
    make_run(folder, events=3_000, sources=30)
    history, _ = read_run(folder)
    return history


@pytest.mark.parametrize("plant", PLANTS)
def test_whatever_is_wrong_is_found_told_and_valid(made: History, plant: str) -> None:
    """Every anomaly of the self-test: each reason has its finding, what is told is in every file, and the file is valid."""
    ground = Ground(made)
    try:
        PLANTS[plant](ground)
        verdict = check(made)
    except Impossible as error:
        pytest.skip(f"this run has no room for it: {error}")
    finally:
        ground.undo()
    codes = {wrong.code for wrong in verdict.invalid}
    assert codes <= {finding.code for finding in verdict.findings}
    assert bool(codes) == (verdict.validity == "invalid")
    suite = written(verdict)
    failures = {failure.get("type") for failure in suite.iter("failure")} - {"invalid"}
    assert failures == codes - {"late", "registers_differ", "totals_differ"}
    report = suite.findtext("system-out") or ""
    assert report == plain_text(verdict, "lab")
    for finding in verdict.findings:
        assert all(key.name in report for key in finding.keys)
        assert f"  next    {finding.next_command}" in report.splitlines()


def test_the_figures_are_the_same_everywhere() -> None:
    """In the values, in the report, and in the file for a CI."""
    verdict = check(held_up(run(healthy())))
    suite = written(verdict)
    properties = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert properties["sent"] == str(verdict.sent)
    assert {name: properties[f"class.{name}"] for name in verdict.counts} == {
        name: str(count) for name, count in verdict.counts.items()
    }
    assert properties["validity"] == verdict.validity
    report = plain_text(verdict, "lab")
    assert report.startswith(verdict.validity.upper())
    for name, count in verdict.counts.items():
        if count:
            assert f"{count:>8,}   {name}" in report


def test_what_nobody_need_answer_for_is_an_error() -> None:
    """Events without an outcome in a run that was cut short: not proven wrong, and not right either."""
    history = run(healthy())
    history.aborted = True
    never_answered(history, range(9, 11), after="broker-raw")
    history.told_until_ms = None
    found = read(check(history))
    error = found["storefleet.class.never_read"]
    assert isinstance(error, Error)
    assert error.message == "2 of 30 events without an outcome, or not in every view yet"
    assert f"{ONE}.9" in error.text
    assert found["storefleet.class.no_outcome"] is None
