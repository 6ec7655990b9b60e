"""The verdict as JUnit XML, for a CI: one test case a class of events, a view and a budget, each with one failure at most.

Proven wrong is a failure; not known is an error, since nobody may take it for good; what was not judged is skipped. The
bodies say what ``report.txt`` says. Elements, their order and their attributes are those on which the schema of Ant's task
and that of Jenkins agree (``tests/verdict/junit.xsd``): one suite at the root, its time without a zone, in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from storefleet.verdict.clock_text import moment
from storefleet.verdict.finding_text import finding_lines
from storefleet.verdict.result import BudgetAccount, Finding, Unknown, Verdict, ViewAccount

CLASSES_JUDGED: Final = (
    "lost",
    "corrupted",
    "duplicated",
    "unexpected",
    "stale",
    "no_outcome",
    "rejected",
    "never_read",
    "recovered",
    "unread",
    "dead_letters",
    "rejected_without_letter",
    "untrue_messages",
)
"""Classes of events and reasons about messages; those about a view belong to its own case, those about budgets to theirs."""
NOT_JUDGED_WITHOUT: Final = {
    "dead_letters": ("letters_missing", "letters_unheard"),
    "rejected_without_letter": ("letters_missing", "letters_unheard"),
}
"""Class -> reasons for which nobody knows of it."""
NO_TRUTH: Final = ("ledger_missing", "ledger_unreadable", "plan_broken", "checker_failed", "nothing_sent")


class _Case(NamedTuple):
    """One test case; ``kind``: "", "failure", "error" or "skipped"."""

    group: str
    name: str
    kind: str = ""
    type: str = ""
    message: str = ""
    body: str = ""
    time_s: float = 0.0


def junit(verdict: Verdict, name: str, report: str = "") -> bytes:
    """The whole file; ``report``: what is printed, as the suite's output."""
    cases = [*_classes(verdict), *_views(verdict), *_budgets(verdict), _evidence(verdict)]
    counts = {kind: sum(case.kind == kind for case in cases) for kind in ("failure", "error", "skipped")}
    time_s = max(0, verdict.run.ended_at_ms - verdict.run.started_at_ms) / 1000 if verdict.run.started_at_ms else 0.0
    suite = Element(
        "testsuite",
        name=_xml_text(name) or "storefleet",
        timestamp=f"{moment(verdict.run.started_at_ms):%Y-%m-%dT%H:%M:%S}",
        hostname="localhost",
        tests=str(len(cases)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time=f"{time_s:.3f}",
    )
    properties = SubElement(suite, "properties")
    for key, value in _properties(verdict):
        SubElement(properties, "property", name=key, value=_xml_text(value))
    for case in cases:
        _enter(suite, case)
    SubElement(suite, "system-out").text = _xml_text(report)
    SubElement(suite, "system-err")
    indent(suite)
    return bytes(tostring(suite, encoding="utf-8", xml_declaration=True))


def _enter(suite: Element, case: _Case) -> None:
    element = SubElement(
        suite, "testcase", classname=f"storefleet.{case.group}", name=_xml_text(case.name), time=f"{case.time_s:.3f}"
    )
    if case.kind == "skipped":
        SubElement(element, "skipped", message=_xml_text(case.message))
    elif case.kind:
        detail = SubElement(element, case.kind, type=case.type, message=_xml_text(case.message))
        detail.text = _xml_text(case.body)


def _properties(verdict: Verdict) -> Iterator[tuple[str, str]]:
    yield "validity", verdict.validity
    yield "sent", str(verdict.sent)
    yield "run_folder", verdict.run.folder
    yield "seed", str(verdict.run.seed)
    yield from ((f"class.{name}", str(count)) for name, count in verdict.counts.items())
    yield from ((f"budget.{one.name}", str(one.count)) for one in verdict.budgets)


def _classes(verdict: Verdict) -> Iterator[_Case]:
    for code in CLASSES_JUDGED:
        found = [one for one in verdict.findings if one.code == code]
        wrong = next((one for one in verdict.invalid if one.code == code), None)
        if wrong is not None:
            yield _failure("class", code, f"{wrong.text} ({wrong.detail})", _bodies(verdict, found))
        elif found:  # nobody need answer for it, and it is not known to be right
            yield _Case("class", code, "error", code, found[0].what, "\n".join(_bodies(verdict, found)))
        elif why := _not_judged(verdict, code):
            yield _Case("class", code, "skipped", message=why)
        else:
            yield _Case("class", code)


def _not_judged(verdict: Verdict, code: str) -> str:
    """Why nobody knows of a class; '' where it was judged."""
    wanting = (*NO_TRUTH, *NOT_JUDGED_WITHOUT.get(code, ()))
    if unsure := next((one for one in verdict.unknown if one.code in wanting), None):
        return f"not judged: {unsure.text}"
    if code == "stale" and not any(view.read and view.lateness_judged and view.counts for view in verdict.views):
        return "not judged: nobody says when events came"
    return ""


def _views(verdict: Verdict) -> Iterator[_Case]:
    for view in verdict.views:
        found = [one for one in verdict.findings if one.view == view.view]
        time_s = (view.healed_to_converged_ms or 0) / 1000
        body = "\n".join([*_bodies(verdict, found), *_figures(view)])
        if view.validity == "invalid":
            yield _Case("view", view.view, "failure", "invalid", f"view {view.view} is wrong", body, time_s)
        elif view.validity == "unknown":
            yield _Case(
                "view", view.view, "error", "unknown", f"view {view.view} is not known to be right", body, time_s
            )
        else:
            yield _Case("view", view.view, time_s=time_s)
    for name in verdict.views_not_judged:
        yield _Case("view", name, "skipped", message="not judged: somebody else's stage makes or shows it")


def _figures(view: ViewAccount) -> Iterator[str]:
    if not view.read:
        yield "it was not read"
    counts = ", ".join(f"{name} {count:,}" for name, count in view.counts.items() if count)
    if counts:
        yield f"events: {counts}"
    if view.difference_count:
        yield f"differences: {view.difference_count:,}"


def _budgets(verdict: Verdict) -> Iterator[_Case]:
    for one in verdict.budgets:
        if one.allowed is None:
            continue
        message = f"{one.count:,} {one.words}, allowed {one.allowed:,}"
        if one.exceeded:
            yield _failure("budget", one.name, message, _of_budget(one), "over_budget")
        elif one.unsure:
            body = "\n".join(_of_budget(one))
            yield _Case("budget", one.name, "error", "budget_unsure", f"{message}, and perhaps more", body)
        else:
            yield _Case("budget", one.name)


def _of_budget(one: BudgetAccount) -> list[str]:
    return [f"{one.count:,} {one.words}, allowed {one.allowed:,}", *one.details]


def _evidence(verdict: Verdict) -> _Case:
    """Everything that is not known; of it one case, so that each class and view has only what is its own."""
    if not verdict.unknown:
        return _Case("evidence", "complete")
    body = "\n".join(map(_unsure, verdict.unknown))
    return _Case("evidence", "complete", "error", verdict.unknown[0].code, verdict.unknown[0].text, body)


def _unsure(one: Unknown) -> str:
    detail = f" ({one.detail})" if one.detail else ""
    return f"{one.code}: {one.text}{detail}; to know it: {one.would_make_it_known}"


def _failure(group: str, name: str, message: str, body: Sequence[str], code: str = "") -> _Case:
    return _Case(group, name, "failure", code or name, message, "\n".join(body))


def _bodies(verdict: Verdict, found: Sequence[Finding]) -> list[str]:
    return [line for one in found for line in finding_lines(one, faults=bool(verdict.faults))]


def _xml_text(text: str) -> str:
    """Text without the characters that XML 1.0 cannot hold (section 2.2)."""
    return "".join(character for character in text if _is_allowed(ord(character)))


def _is_allowed(code: int) -> bool:
    return code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
