"""The conflict rules, as a table and against a model that keeps the whole tree."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.gateway.database import Edit
from consumers.gateway.document_text import REVISIONS_KEPT
from consumers.gateway.errors import Refusal
from consumers.gateway.revision_tree import Head, follow
from fleetwire.revisions import generation_of, revision_id_of_canonical

LIVE = Head("2-b", False, ("1-a",))
TOMBSTONE = Head("2-b", True, ("1-a",))
REBORN = Head("1-n", False, (), ("2-b", "1-a"))
EXISTS, CONFLICT = "Document exists", "Document revision conflict"

NEW_EDITS = [
    (None, "", False, ("", 1)),
    (None, "1-a", False, CONFLICT),
    (None, "", True, ("", 1)),
    (LIVE, "", False, EXISTS),
    (LIVE, "", True, EXISTS),
    (LIVE, "2-b", False, ("2-b", 3)),
    (LIVE, "2-b", True, ("2-b", 3)),
    (LIVE, "1-a", False, CONFLICT),
    (LIVE, "2-x", False, CONFLICT),
    (TOMBSTONE, "", False, ("2-b", 3)),
    (TOMBSTONE, "2-b", False, ("2-b", 3)),
    (TOMBSTONE, "1-a", False, CONFLICT),
]
GRAFTS = [
    (None, ("1-a",), False, Head("1-a", False)),
    (None, ("3-c", "2-b", "1-a"), False, Head("3-c", False, ("2-b", "1-a"))),
    (LIVE, ("2-b",), False, None),
    (LIVE, ("1-a",), False, None),
    (LIVE, ("3-c", "2-b"), False, Head("3-c", False, ("2-b", "1-a"))),
    (LIVE, ("4-d", "3-c", "2-b", "1-a"), True, Head("4-d", True, ("3-c", "2-b", "1-a"))),
    (LIVE, ("1-x",), False, CONFLICT),
    (LIVE, ("3-x",), False, CONFLICT),
    (LIVE, ("3-x", "2-x", "1-a"), False, CONFLICT),
    (LIVE, ("3-x",), True, CONFLICT),
    (TOMBSTONE, ("1-n",), False, Head("1-n", False, (), ("2-b", "1-a"))),
    (TOMBSTONE, ("3-x", "2-x", "1-a"), False, CONFLICT),
    (REBORN, ("2-b",), True, None),
    (REBORN, ("3-c", "2-b"), False, CONFLICT),
]


@pytest.mark.parametrize(("head", "parent", "deleted", "expected"), NEW_EDITS)
def test_a_new_edit_follows_the_current_revision_or_conflicts(
    head: Head | None, parent: str, deleted: bool, expected: tuple[str, int] | str
) -> None:
    """With new_edits the gateway makes the next revision of the current one, or says why not."""
    edit = Edit(id="d", body=b"", parent=parent, deleted=deleted, canonical=b"{}")
    if isinstance(expected, str):
        with pytest.raises(Refusal) as refused:
            follow(head, edit)
        assert (refused.value.status, refused.value.reason) == (409, expected)
    else:
        after = follow(head, edit)
        assert after is not None
        made_of, generation = expected
        assert after.revision == revision_id_of_canonical(generation, made_of, b"{}")
        assert after.deleted == deleted


@pytest.mark.parametrize(("head", "history", "deleted", "expected"), GRAFTS)
def test_an_existing_revision_is_known_grafted_or_a_conflict(
    head: Head | None, history: tuple[str, ...], deleted: bool, expected: Head | str | None
) -> None:
    """Without new_edits a known revision changes nothing, a descendant is grafted, anything else conflicts."""
    edit = Edit(id="d", body=b"", history=history, deleted=deleted)
    if isinstance(expected, str):
        with pytest.raises(Refusal, match=expected):
            follow(head, edit)
    else:
        assert follow(head, edit) == expected


def test_history_is_cut_at_the_revisions_limit() -> None:
    """Of a long history the 50 latest revisions are kept."""
    history = tuple(f"{generation}-x" for generation in range(80, 0, -1))
    head = follow(None, Edit(id="d", body=b"", history=history))
    assert head is not None
    assert (head.revision, *head.ancestors) == history[:REVISIONS_KEPT]
    following = follow(head, Edit(id="d", body=b"", history=("81-y", "80-x")))
    assert following is not None
    assert len((following.revision, *following.ancestors)) == REVISIONS_KEPT


@dataclass
class TreeModel:
    """All revisions ever taken, with parents; the rules written over the tree instead of over one branch."""

    parents: dict[str, str] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    leaf: str = ""

    def graft(self, history: list[str], deleted: bool) -> bool | None:
        """True when taken, None when known, False for a conflict."""
        if history[0] in self.parents:
            return None
        parent = next((revision for revision in history if revision in self.parents), "")
        starts_anew = not parent and (not self.leaf or self.leaf in self.tombstones)
        if not starts_anew and parent != self.leaf:
            return False
        # As Sync Gateway does it: only what is newer than the revision that is known already enters the tree.
        newest = history[: history.index(parent)] if parent else history
        self.parents.update(zip(newest, [*newest[1:], parent], strict=True))
        self.leaf = history[0]
        if deleted:
            self.tombstones.add(history[0])
        return True


branches = st.lists(st.sampled_from("abc"), min_size=1, max_size=5)
edits = st.lists(st.tuples(branches, st.integers(1, 5), st.booleans()), max_size=25)


@given(edits)
def test_rules_agree_with_a_model_of_the_whole_tree(operations: list[tuple[list[str], int, bool]]) -> None:
    """Whatever revisions arrive, one branch with its retired ones decides as the whole tree does."""
    model, head = TreeModel(), None
    for digests, length, deleted in operations:
        path = ["".join(digests[:depth]) for depth in range(1, len(digests) + 1)]
        history = [f"{depth}-{path[depth - 1]}" for depth in range(len(path), 0, -1)][:length]
        expected = model.graft(history, deleted)
        edit = Edit(id="d", body=b"", history=tuple(history), deleted=deleted)
        try:
            after = follow(head, edit)
        except Refusal:
            assert expected is False
            continue
        assert expected is (None if after is None else True)
        head = after or head
        assert head is not None
        assert (head.revision, head.deleted) == (model.leaf, model.leaf in model.tombstones)
        generations = [generation_of(revision) for revision in (head.revision, *head.ancestors)]
        assert generations == sorted(generations, reverse=True)
