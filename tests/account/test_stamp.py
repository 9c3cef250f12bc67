"""Two versions of one entry become the same one on every device, in whatever order they meet."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhw.dare.header import KeyValue
from meshhw.errors import FormatError
from meshhw.managers.account.stamp import Merged, Stamp, Version, copy_of, is_copy, merged, next_stamp

AUTHORS = st.sampled_from("ABC")
STAMPS = st.builds(Stamp, AUTHORS, st.integers(0, 3), st.dictionaries(AUTHORS, st.integers(1, 3), max_size=3))
VERSIONS = st.builds(Version, STAMPS, st.none() | st.sampled_from([b"", b"x", b"y"]))


@given(VERSIONS, VERSIONS, st.booleans())
def test_it_does_not_matter_which_version_is_ours(one: Version, two: Version, wins: bool) -> None:
    assert merged(one, two, deletions_win=wins) == merged(two, one, deletions_win=wins)


@given(VERSIONS, VERSIONS, st.booleans())
def test_a_merge_is_final(one: Version, two: Version, wins: bool) -> None:
    result = merged(one, two, deletions_win=wins).version
    assert merged(result, one, deletions_win=wins).version == result
    assert merged(result, two, deletions_win=wins).version == result


@given(st.lists(st.tuples(AUTHORS, st.none() | st.binary(max_size=2)), min_size=3, max_size=3))
def test_three_who_wrote_apart_agree_in_any_order(writes: list[tuple[str, bytes | None]]) -> None:
    before = Stamp("Z", 1, {"Z": 1})
    versions = [
        Version(Stamp(f"{author}{n}", 10 + n, {**before.counts, f"{author}{n}": 1}), payload)
        for n, (author, payload) in enumerate(writes)
    ]
    outcomes = set()
    for order in permutations(versions):
        result: Version | None = None
        for version in order:
            result = merged(result, version, deletions_win=False).version
        assert result is not None
        outcomes.add((result.payload, result.stamp.attribute.value))
    assert len(outcomes) == 1


def test_a_version_that_has_seen_the_other_takes_its_place() -> None:
    first = Version(next_stamp("A", None), b"first")
    second = Version(next_stamp("B", first.stamp), b"second")
    gone = Version(next_stamp("A", second.stamp), None)
    assert merged(first, second, deletions_win=False) == Merged(second)
    assert merged(gone, second, deletions_win=False) == Merged(gone)
    assert gone.stamp.time > second.stamp.time > first.stamp.time


@pytest.mark.parametrize(("deletions_win", "left"), [(False, b"new"), (True, None)])
def test_an_update_against_a_deletion(deletions_win: bool, left: bytes | None) -> None:
    before = next_stamp("A", None)
    update, deletion = Version(next_stamp("A", before), b"new"), Version(next_stamp("B", before), None)
    assert merged(update, deletion, deletions_win=deletions_win).version.payload == left
    assert merged(update, deletion, deletions_win=deletions_win).beside is None


def test_of_two_updates_the_later_one_counts_and_the_other_is_kept() -> None:
    before = next_stamp("A", None)
    early = Version(Stamp("B", before.time + 1, {"A": 1, "B": 1}), b"early")
    late = Version(Stamp("A", before.time + 2, {"A": 2}), b"late")
    found = merged(early, late, deletions_win=False)
    assert found.version.payload == b"late"
    assert found.beside == early
    key, kept = copy_of("ftp", early)
    assert is_copy(key)
    assert not is_copy("ftp")
    assert key.startswith("ftp (conflict ")
    assert kept.payload == b"early"
    assert copy_of("ftp", Version(early.stamp.joined(late.stamp), b"early")) == (key, kept)


def test_a_stamp_is_written_and_read_again() -> None:
    stamp = Stamp("MAAA-B", 5, {"MAAA-B": 2, "MCCC": 9})
    assert Stamp.of([KeyValue("other", "x"), stamp.attribute]) == stamp
    assert Stamp.of([]) == Stamp()


@pytest.mark.parametrize(
    "text", ["", "x A A=1", "1 A A=", "1 A A=-1", "1 A A=1 B=99999999999999999", "1e3 A"]
)
def test_a_damaged_stamp_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Stamp.of([KeyValue("Stamp", text)])
