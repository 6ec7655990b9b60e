"""Budgets: what may be in a valid run, how it is counted, and what exceeding it does."""

from __future__ import annotations

import pytest

from fleetwire.errors import SettingsError
from fleetwire.intervals import IntervalSet
from storefleet.verdict.budgets import BUDGETS, DETAILS_SHOWN, check_budgets, read_budgets
from storefleet.verdict.check import check
from storefleet.verdict.history import History
from storefleet.verdict.letter_file import Letter, Letters
from storefleet.verdict.result import BudgetAccount, Verdict
from storefleet.verdict.table import plain_text
from tests.verdict.world import SOURCES, healthy, stage

ONE = SOURCES[0]


def healed(events: int = 1) -> History:
    """A run in which so many events were lost inside PARM and made good by a re-send."""
    history = healthy()
    assert history.ledger is not None
    history.restarts = {}
    history.ledger.sources[ONE].attempts = dict.fromkeys(range(1, events + 1), 2)
    for step in ("broker-canonical", "sync_stage", "gateway", "poseidon", "views"):
        stage(history, step).first_taken_on_retry = {ONE: IntervalSet([(1, events)])}
    return history


def budget(verdict: Verdict, name: str) -> BudgetAccount:
    """The account of one budget."""
    return next(one for one in verdict.budgets if one.name == name)


def codes(verdict: Verdict) -> tuple[list[str], list[str]]:
    """Codes of what is wrong, and of what is not known."""
    return [entry.code for entry in verdict.invalid], [entry.code for entry in verdict.unknown]


def letters(count: int, source: str = ONE) -> Letters:
    """So many letters of PARM about one source."""
    return Letters(
        heard=[
            Letter(at_ms=1, stage="parm", reason="schema", source=source, sequence=number) for number in range(count)
        ]
    )


def test_a_run_without_budgets_is_valid_and_says_what_healed() -> None:
    """In its first line, with its place and its keys."""
    verdict = check(healed(7))
    assert verdict.validity == "valid"
    account = budget(verdict, "healed")
    assert (account.count, account.allowed, account.known, account.exceeded) == (7, None, True, False)
    lines = plain_text(verdict, "run").splitlines()
    place = account.details[0].partition(":")[0].removeprefix("7 ")
    assert lines[0].startswith("VALID, with 7 events healed")
    assert account.details == [f"7 {place}: {', '.join(f'{ONE}.{number}' for number in range(1, 6))} and 2 more"]
    assert f"  {ONE}.1" in lines[:12]
    assert any(line.endswith(f"storefleet trace {ONE}.1 --run RUN") for line in lines[:10])


@pytest.mark.parametrize(("allowed", "expected"), [(7, []), (6, ["over_budget"]), (0, ["over_budget"])])
def test_more_than_the_budget_is_invalid(allowed: int, expected: list[str]) -> None:
    """Exactly as many as allowed are allowed."""
    history = healed(7)
    history.allow = {"healed": allowed}
    verdict = check(history)
    assert codes(verdict) == (expected, [])
    assert budget(verdict, "healed").exceeded == bool(expected)
    assert [one.code for one in verdict.findings] == (expected or ["healed"])
    if expected:
        assert verdict.invalid[0].detail == f"healed: 7, allowed {allowed}"


def test_each_budget_counts_its_own() -> None:
    """One row each: events, restarts of all processes, re-sends, repeats of all stages, letters, letters of guests."""
    history = healed(3)
    history.restarts = {"parm-1": ["signal SIGKILL", "exit status 2"], "views-1": ["signal SIGKILL"], "gateway-1": []}
    stage(history, "parm").duplicates_absorbed = 4
    stage(history, "sync_stage").duplicates_absorbed = 1
    history.letters = letters(2, "nobody.nowhere.s1.r1")
    verdict = check(history)
    counts = {one.name: one.count for one in verdict.budgets}
    assert counts == {"healed": 3, "restarts": 3, "resent": 3, "repeats": 5, "dead-letters": 2, "guests": 2}
    assert counts.keys() == BUDGETS.keys()
    assert budget(verdict, "restarts").details == [
        "parm-1: signal SIGKILL, exit status 2",
        "views-1: signal SIGKILL",
    ]
    assert budget(verdict, "repeats").details == ["4 at parm", "1 at sync_stage"]
    assert plain_text(verdict).startswith("VALID, with 3 events healed at ") or "restarts" in plain_text(verdict)
    for name in BUDGETS:
        history.allow = {name: counts[name] - 1}
        assert codes(check(history)) == (["over_budget"], []), name
        history.allow = {name: counts[name]}
        assert codes(check(history)) == ([], []), name


def test_a_count_that_may_be_too_small_is_unknown_within_its_budget() -> None:
    """And invalid beyond it, whatever else there may have been."""
    history = healthy()
    history.letters = letters(2, "nobody.nowhere.s1.r1")
    history.letters.complete = False
    history.allow = {"guests": 2}
    assert codes(check(history)) == ([], ["budget_unsure"])
    history.allow = {"guests": 1}
    assert codes(check(history)) == (["over_budget"], [])
    history = healthy()
    history.allow = {"restarts": 3}
    assert codes(check(history)) == ([], ["budget_unsure"]), "nobody counted them"


def test_many_particulars_are_cut_short() -> None:
    """The report has room for some; verdict.json has all restarts."""
    history = healthy()
    history.restarts = {f"parm-{number}": ["signal SIGKILL"] for number in range(1, DETAILS_SHOWN + 4)}
    details = budget(check(history), "restarts").details
    assert len(details) == DETAILS_SHOWN + 1
    assert details[-1] == "and 3 more, see verdict.json"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {}),
        (["healed=0"], {"healed": 0}),
        (["healed=0,restarts=2", "dead-letters=10"], {"healed": 0, "restarts": 2, "dead-letters": 10}),
        (["healed=0", "healed=3"], {"healed": 3}),
        ([" guests = 1 "], {"guests": 1}),
        (["dead_letters=4"], {"dead-letters": 4}),
    ],
)
def test_reading(texts: list[str], expected: dict[str, int]) -> None:
    """Separated by commas, or given again; the last word counts."""
    assert read_budgets(texts) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("healed", "NAME=NUMBER"),
        ("healed=", "NAME=NUMBER"),
        ("healed=-1", "NAME=NUMBER"),
        ("healed=1.5", "NAME=NUMBER"),
        ("healed=many", "NAME=NUMBER"),
        ("healed=99999999999999", "NAME=NUMBER"),
        ("", "NAME=NUMBER"),
        ("heeled=0", "no such budget; there are healed, restarts"),
    ],
)
def test_what_is_no_budget(text: str, words: str) -> None:
    """One line with what there is."""
    with pytest.raises(SettingsError, match=words) as error:
        read_budgets([text])
    assert "--allow" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [True, -1, 1.0, "1", None, 10**12])
def test_values_of_a_table(value: object) -> None:
    """A TOML table holds whole numbers."""
    with pytest.raises(SettingsError, match="whole number"):
        check_budgets({"healed": value})
