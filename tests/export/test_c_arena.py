"""Maps that are needed at once never overlap, and the arena is no larger than it has to be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.export.c_arena import Life, place


@st.composite
def life(draw: st.DrawFn) -> Life:
    first = draw(st.integers(0, 12))
    return Life(draw(st.integers(1, 50)), first, first + draw(st.integers(0, 6)))


@given(st.lists(life(), max_size=14))
@settings(max_examples=150, deadline=None)
def test_maps_needed_at_once_never_overlap(lives: list[Life]) -> None:
    offsets, total = place(lives)
    spans = [range(at, at + each.size) for at, each in zip(offsets, lives, strict=True)]
    for i, one in enumerate(lives):
        for j, other in enumerate(lives[:i]):
            if any(step in range(other.first, other.last + 1) for step in range(one.first, one.last + 1)):
                assert spans[i].stop <= spans[j].start or spans[j].stop <= spans[i].start
    assert total == max((span.stop for span in spans), default=0)
    busiest = max((sum(x.size for x in lives if x.first <= step <= x.last) for step in range(20)), default=0)
    assert busiest <= total <= sum(each.size for each in lives)


def test_a_chain_takes_its_two_largest_neighbours() -> None:
    sizes = [4, 10, 7, 3]
    lives = [Life(size, index, index + 1) for index, size in enumerate(sizes)]
    assert place(lives)[1] == 17
    assert place([]) == ([], 0)
