"""How much of what heals by itself a run may show and still be valid: one row a budget, each with what it counts.

A run in which everything arrived in the end may have lost events on the way, restarted stages, or filed dead letters.
Without budgets that is told and harms nobody; a budget (``--allow healed=0``, ``[allow]`` in a fleet's file,
``LabPlan.allow``) makes more than so many invalid. A count that may be too small and is within its budget is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from fleetwire.errors import SettingsError
from fleetwire.nearest_word import nearest
from storefleet.verdict.result import BudgetAccount, Invalid, Unknown, Verdict, invalid, unknown

LARGEST_BUDGET: Final = 1_000_000_000
DETAILS_SHOWN: Final = 10
"""Particulars of one budget, in words; of more, how many there are."""
KEYS_SHOWN: Final = 5


class Count(NamedTuple):
    """How many by what is known, how many there may be at most (None: nobody knows), and the particulars."""

    known: int | None
    at_most: int | None
    details: Sequence[str] = ()


class Budget(NamedTuple):
    """``words``: of one and of several."""

    words: tuple[str, str]
    measure: Callable[[Verdict], Count]


def _healed(verdict: Verdict) -> Count:
    healed = [account for account in verdict.places if account.what == "healed"]
    count = sum(account.count for account in healed)
    details = [f"{account.count:,} {_at(account.places)}: {_keys(account.keys, account.count)}" for account in healed]
    return Count(count, count + verdict.resent_not_known, details)


def _restarts(verdict: Verdict) -> Count:
    if verdict.restarts is None:
        return Count(None, None)
    details = [f"{name}: {_first(exits)}" for name, exits in sorted(verdict.restarts.items()) if exits]
    count = sum(map(len, verdict.restarts.values()))
    return Count(count, count, details)


def _resent(verdict: Verdict) -> Count:
    details = [f"{verdict.resent_needlessly:,} of them had arrived already"] if verdict.resent_needlessly else []
    if verdict.resent_not_known:
        details.append(f"whether {verdict.resent_not_known:,} had been lost, a stage that died cannot say any more")
    return Count(verdict.resent, verdict.resent, details)


def _repeats(verdict: Verdict) -> Count:
    details = [f"{count:,} at {stage}" for stage, count in verdict.duplicates_absorbed.items()]
    count = sum(verdict.duplicates_absorbed.values())
    return Count(count, count, details)


def _dead_letters(verdict: Verdict) -> Count:
    return _letters(verdict.dead_letters, at_least=verdict.dead_letters_at_least)


def _guests(verdict: Verdict) -> Count:
    return _letters(verdict.guests, at_least=verdict.dead_letters_at_least)


def _letters(counts: Mapping[str, Mapping[str, int]], *, at_least: bool) -> Count:
    details = [f"{stage} {reason} {count:,}" for stage, reasons in counts.items() for reason, count in reasons.items()]
    count = sum(sum(reasons.values()) for reasons in counts.values())
    return Count(count, None if at_least else count, details)


BUDGETS: Final[dict[str, Budget]] = {
    "healed": Budget(("event healed", "events healed"), _healed),
    "restarts": Budget(("restart", "restarts"), _restarts),
    "resent": Budget(("event sent again", "events sent again"), _resent),
    "repeats": Budget(("repeat absorbed", "repeats absorbed"), _repeats),
    "dead-letters": Budget(("dead letter", "dead letters"), _dead_letters),
    "guests": Budget(("dead letter of a guest", "dead letters of guests"), _guests),
}
"""Name, as in ``--allow`` -> what it counts."""


def read_budgets(texts: Iterable[str], option: str = "--allow") -> dict[str, int]:
    """Read ``healed=0,restarts=2``, given once or several times; the last word on a name counts. Raises SettingsError."""
    pairs = [pair.strip() for text in texts for pair in text.split(",")]
    return check_budgets(dict(_pair(pair, option) for pair in pairs), option)


def _pair(text: str, option: str) -> tuple[str, int]:
    name, separator, number = text.partition("=")
    if not separator or not _is_number(number.strip()) or len(number) > len(str(LARGEST_BUDGET)):
        raise SettingsError(f"{option} {text!r}: expected NAME=NUMBER, such as healed=0; names: {', '.join(BUDGETS)}")
    return name.strip(), int(number)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def check_budgets(values: Mapping[str, object], option: str = "allow") -> dict[str, int]:
    """Budgets by name, as a TOML table or a program has them; raises SettingsError. Underscores stand for dashes, too."""
    result = {}
    for given, number in values.items():
        name = given.replace("_", "-")
        if name not in BUDGETS:
            near = nearest(name, BUDGETS)
            hint = f"; did you mean {near!r}?" if near else ""
            raise SettingsError(f"{option} {given[:80]!r}: no such budget; there are {', '.join(BUDGETS)}{hint}")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= LARGEST_BUDGET:
            raise SettingsError(f"{option} {name}={number!r}: expected a whole number from 0 to {LARGEST_BUDGET:,}")
        result[name] = number
    return result


def account_budgets(verdict: Verdict, allowed: Mapping[str, int]) -> list[BudgetAccount]:
    """Every row for a verdict whose figures are complete."""
    accounts = []
    for name, row in BUDGETS.items():
        count = row.measure(verdict)
        limit = allowed.get(name)
        accounts.append(
            BudgetAccount(
                name=name,
                words=row.words[count.known != 1],
                count=count.known or 0,
                allowed=limit,
                known=count.known is not None and count.at_most == count.known,
                exceeded=limit is not None and count.known is not None and count.known > limit,
                unsure=limit is not None and not _within(count, limit),
                details=_shortened(count.details),
            )
        )
    return accounts


def _within(count: Count, limit: int) -> bool:
    """Whether it is known either way."""
    surely_over = count.known is not None and count.known > limit
    return surely_over or (count.at_most is not None and count.at_most <= limit)


def judge_budgets(accounts: Sequence[BudgetAccount]) -> tuple[list[Invalid], list[Unknown]]:
    """What speaks against a run, and what is not known, by the budgets that were given."""
    over = [
        invalid("over_budget", f"{one.name}: {one.count:,}, allowed {one.allowed:,}")
        for one in accounts
        if one.exceeded
    ]
    unsure = [
        unknown("budget_unsure", f"{one.name}: at least {one.count:,}, allowed {one.allowed:,}")
        for one in accounts
        if one.unsure
    ]
    return over, unsure


def _at(places: Sequence[str]) -> str:
    return f"at {places[0]}" if len(places) == 1 else f"between {places[0]} and {places[-1]}"


def _keys(keys: Sequence[str], count: int) -> str:
    more = f" and {count - KEYS_SHOWN:,} more" if count > KEYS_SHOWN else ""
    return f"{', '.join(keys[:KEYS_SHOWN])}{more}"


def _first(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - KEYS_SHOWN:,} more" if len(texts) > KEYS_SHOWN else ""
    return f"{', '.join(texts[:KEYS_SHOWN])}{more}"


def _shortened(details: Sequence[str]) -> list[str]:
    rest = len(details) - DETAILS_SHOWN
    return [*details] if rest <= 0 else [*details[:DETAILS_SHOWN], f"and {rest:,} more, see verdict.json"]
