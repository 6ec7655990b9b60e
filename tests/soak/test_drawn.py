"""What Hypothesis draws: the same from the same seed, until it is enough, and smaller where it failed and that is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import count

import pytest

from storefleet.soak.drawn import play_drawn
from storefleet.soak.schedule import LONGEST_PAUSE_S, SINGLES, Step


def well(_: list[Step]) -> bool:
    """No schedule fails."""
    return True


def drawn(
    root: int, limit: int, *, play: Callable[[list[Step]], bool] = well, shrink: bool = False
) -> list[list[Step]]:
    """What is played until there are ``limit`` of them."""
    played: list[list[Step]] = []

    def one(steps: list[Step]) -> bool:
        played.append(steps)
        return play(steps)

    play_drawn(one, root=root, longest_pause_s=LONGEST_PAUSE_S, enough=lambda: len(played) >= limit, shrink=shrink)
    return played


def test_the_same_seed_draws_the_same_schedules() -> None:
    """Each with its moments; another seed draws others, and fewer are the beginning of more."""
    assert drawn(7, 60) == drawn(7, 60)
    assert drawn(7, 20) == drawn(7, 60)[:20]
    assert drawn(7, 60) != drawn(8, 60)


def test_another_process_draws_the_same_schedules() -> None:
    """So a seed can be played again tomorrow; ``--list`` shows what it will draw."""

    def listed(root: int) -> str:
        words = [sys.executable, "-P", "-m", "storefleet.soak", "--list", "40", "--seed", str(root)]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout

    found = listed(7)
    assert found.count("\n") == 40
    assert listed(7) == found != listed(8)


def test_no_schedule_is_played_once_it_is_enough() -> None:
    """Hypothesis, which would go on for a million, ends at once, and without an error."""
    assert drawn(1, 0) == []
    assert len(drawn(1, 25)) == 25


def test_a_failure_alone_does_not_end_it() -> None:
    """The next schedule is another one, as it would have been."""
    assert drawn(3, 30, play=lambda _: False) == drawn(3, 30)


def test_every_process_suffers_every_kind_alone_and_in_pairs() -> None:
    """In a long soak nothing is left out."""
    played = drawn(5, 1500)
    for size in (1, 2):
        hit = {(step.process, step.kind) for steps in played if len(steps) == size for step in steps}
        assert hit == set(SINGLES)
    assert any(
        second.at_s < first.at_s + first.duration_s for first, second in (one for one in played if len(one) == 2)
    )


def survives(steps: list[Step]) -> bool:
    """A lab that does not bear its views paused for longer than 3 s."""
    return not any(step.process == "views-1" and step.kind == "pause" and step.duration_s > 3 for step in steps)


def test_a_failing_schedule_is_made_smaller_when_asked() -> None:
    """The last one that failed is the smallest: the step that matters, with the shortest pause that does."""
    played = drawn(5, 5_000, play=survives, shrink=True)
    assert len(played) < 5_000
    failed = [steps for steps in played if not survives(steps)]
    assert failed[-1] == [Step(process="views-1", kind="pause", at_s=0.1, duration_s=3.01)]


def test_a_fault_that_hits_only_once_is_no_error_of_the_soak() -> None:
    """No schedule is played twice, so none can contradict itself; that no smaller one fails cannot be helped."""
    numbers = count()
    played = drawn(5, 5_000, play=lambda _: next(numbers) != 20, shrink=True)
    assert 21 < len(played) < 5_000
    assert len({tuple(steps) for steps in played}) == len(played)


def test_it_is_enough_also_while_a_schedule_is_made_smaller() -> None:
    """The time counts for all."""
    played = drawn(5, 5_000, play=survives, shrink=True)
    limit = next(index for index, steps in enumerate(played) if not survives(steps)) + 5
    assert limit < len(played)
    assert drawn(5, limit, play=survives, shrink=True) == played[:limit]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_the_play_raises_passes_through_at_once(error: type[BaseException]) -> None:
    """It is no failing schedule: nothing is played after it."""
    numbers = count()

    def play(_: list[Step]) -> bool:
        if next(numbers) == 5:
            raise error("stop")
        return True

    with pytest.raises(error, match="stop"):
        drawn(5, 100, play=play, shrink=True)
    assert next(numbers) == 6
