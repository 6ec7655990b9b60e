"""Which revision may follow which: Sync Gateway's conflict-free mode as a pure function.

A document has one branch that counts, `Head`. A revision is taken when it is the first, when it follows the current
one, or when the current one is a tombstone and it begins a new branch. Everything else is a conflict.
Source: Sync Gateway 3.3.7, db/crud.go, with `allow_conflicts` false. One difference: of two tombstones on separate
branches the later one is current here, there the one with the greater revision id.
"""

import msgspec

from consumers.gateway.database import Edit
from consumers.gateway.document_text import REVISIONS_KEPT
from consumers.gateway.errors import Refusal
from fleetwire.revisions import generation_of, revision_id_of_canonical

EXISTS = "Document exists"
CONFLICT = "Document revision conflict"


class Head(msgspec.Struct, frozen=True, gc=False):
    """Where a document stands: its revision, the ones before it (newest first), and those of branches left behind."""

    revision: str
    deleted: bool
    ancestors: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()

    def knows(self, revision: str) -> bool:
        """Whether this revision has been stored before (of each branch the 50 latest are remembered)."""
        return revision == self.revision or revision in self.ancestors or revision in self.retired


def follow(head: Head | None, edit: Edit) -> Head | None:
    """Where the document stands after the edit; None when nothing changes. Raises Refusal 409."""
    if edit.history:
        return _graft(head, edit)
    return _append(head, edit)


def _append(head: Head | None, edit: Edit) -> Head:
    if head is None:
        if edit.parent:
            raise Refusal(409, CONFLICT)
        return Head(revision_id_of_canonical(1, "", edit.canonical), edit.deleted)
    if not edit.parent and not head.deleted:
        raise Refusal(409, EXISTS)
    if edit.parent and edit.parent != head.revision:
        raise Refusal(409, CONFLICT)
    generation = generation_of(head.revision) + 1
    revision = revision_id_of_canonical(generation, head.revision, edit.canonical)
    return _extended(head, (revision, head.revision), edit.deleted)


def _graft(head: Head | None, edit: Edit) -> Head | None:
    history = edit.history
    if head is None:
        return Head(history[0], edit.deleted, history[1:REVISIONS_KEPT])
    if head.knows(history[0]):
        return None
    if head.revision in history:
        return _extended(head, history[: history.index(head.revision) + 1], edit.deleted)
    if not head.deleted or any(head.knows(revision) for revision in history):
        raise Refusal(409, CONFLICT)
    retired = (head.revision, *head.ancestors, *head.retired)[:REVISIONS_KEPT]
    return Head(history[0], edit.deleted, history[1:REVISIONS_KEPT], retired)


def _extended(head: Head, newest: tuple[str, ...], deleted: bool) -> Head:
    """`newest` leads from the new revision down to the head's own."""
    ancestors = (*newest[1:], *head.ancestors)[: REVISIONS_KEPT - 1]
    return Head(newest[0], deleted, ancestors, head.retired)
