"""The table of all anomalies: a new one is one function, and one row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from storefleet.selftest import plants_of_events as events
from storefleet.selftest import plants_of_letters as letters
from storefleet.selftest import plants_of_runs as runs
from storefleet.selftest.findings import Findings
from storefleet.selftest.ground import Ground
from storefleet.selftest.plants_of_runs import Whole

Plant = Callable[[Ground], "Findings | Whole"]

PLANTS: Final[dict[str, Plant]] = {
    "lost on the way": events.lost_on_the_way,
    "lost: deleted from a store": events.deleted_from_a_store,
    "lost: a view forgets a store": events.store_forgotten,
    "never read": events.never_read,
    "no_outcome: swallowed": events.swallowed,
    "recovered": events.recovered,
    "duplicated": events.duplicated,
    "unexpected: invented on the way": events.invented_on_the_way,
    "unexpected: of no terminal": events.invented_source,
    "unexpected: rejected, yet there": events.rejected_but_there,
    "unexpected: malformed, yet applied": events.malformed_but_applied,
    "rejected though well-formed": events.rejected_well_formed,
    "rejected for another reason": events.rejected_for_another_reason,
    "rejected_without_letter": events.rejected_without_letter,
    "corrupted in one view": events.altered_in_one_view,
    "corrupted on the way": events.altered_on_the_way,
    "corrupted: a second content under a key": letters.second_content,
    "corrupted: shown otherwise than held": events.shown_otherwise,
    "stale": events.late_on_the_way,
    "stale: held up by who stood still": events.held_up,
    "stale: came after the reads": events.came_after_the_reads,
    "a view rebuilt": events.rebuilt,
    "healed by a re-send": events.healed,
    "healed, or not: nobody knows": events.healed_or_not,
    "register altered": runs.register_altered,
    "register missing": runs.register_missing,
    "register invented": runs.register_invented,
    "total off by cents": runs.cents_differ,
    "total off by a transaction": runs.count_differs,
    "total invented": runs.total_invented,
    "late view": runs.late_view,
    "dead_letters: unexplained": letters.unexplained,
    "dead_letters: without a key": letters.without_key,
    "dead_letters: another content than planted": letters.other_content_than_planted,
    "letters of a planted conflict": letters.planted_conflict,
    "a guest's letter": letters.of_a_guest,
    "letters that may be missing": letters.letters_missed,
    "untrue_messages": letters.untrue_messages,
    "unknown: letters_unheard": letters.letters_unheard,
    "unknown: letters_missing": lambda ground: runs.noted("letters_missing", ground),
    "unknown: machine_stalled": runs.machine_stalled,
    "unknown: no_final_read": runs.no_final_read,
    "unknown: heard_in_part": runs.heard_in_part,
    "unknown: read_broken": runs.read_broken,
    "unknown: times_contradict": runs.times_contradict,
    "unknown: not_healed": runs.not_healed,
    "unknown: read_too_soon": runs.read_too_soon,
    "unknown: registers_unknown": runs.registers_unknown,
    "unknown: convergence_unmeasured": runs.convergence_unmeasured,
    "unknown: stage_dead": runs.stage_dead,
    "unknown: witness_full": runs.witness_full,
    "somebody else's stage dead": runs.foreign_stage_dead,
    "unknown: aborted": runs.aborted,
    "unknown: unresolved": events.never_read,
    "unresolved in a run without end": runs.unresolved_but_endless,
    "unknown: ledger_gaps": runs.ledger_gaps,
    "unknown: ledger_contradicts": runs.ledger_contradicts,
    "unknown: evidence_missing, hashes": runs.hashes_missing,
    "unknown: evidence_missing, effects": runs.effects_missing,
    "unknown: evidence_missing, totals": runs.totals_missing,
    "unknown: evidence_missing, registers": runs.registers_and_truth_missing,
    "unknown: evidence_missing, reports": runs.reports_missing,
    "unknown: seal_broken": lambda ground: runs.noted("seal_broken", ground),
    "unknown: never_sealed": lambda ground: runs.noted("never_sealed", ground),
    "unknown: witnesses_missing": runs.witnesses_missing,
    "unknown: witnesses_of_another_run": runs.witnesses_of_another_run,
    "unknown: plan_broken": runs.plan_broken,
    "unknown: ledger_missing": runs.ledger_missing,
    "unknown: ledger_unreadable": runs.ledger_unreadable,
    "unknown: nothing_sent": runs.nothing_sent,
    "unknown: checker_failed": runs.checker_failed,
    "over_budget": runs.over_budget,
    "unknown: budget_unsure": runs.budget_unsure,
}
"""Name -> how to plant it; what the function returns must be reported, and nothing else."""
