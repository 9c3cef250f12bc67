"""A spool that was compacted has its open messages whole, knows the closed ones, and is taken by who has a
copy of the old one: by its signed link, and not without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.header import ContentMeta
from meshhw.dare.heads import (
    SequenceHead,
    claimed_head,
    head_of,
    prove_extension,
    seal_head,
    sign_head,
    verify_head,
)
from meshhw.dare.links import beginning, linked_head, links
from meshhw.dare.local import LocalKey
from meshhw.dare.merkle import Head
from meshhw.dare.policy import begin_epoch, current_readers, epoch_frames
from meshhw.dare.prepare import Outline
from meshhw.dare.replicate import Relation, accept_frames, check_successor, frames_since, relate
from meshhw.dare.sequence import SequenceFile
from meshhw.dare.sequence_check import check_sequence
from meshhw.dare.sequence_read import SequenceReader
from meshhw.dare.sequence_write import SequenceWriter
from meshhw.dare.spool import (
    Contents,
    Fate,
    MessageState,
    append_message,
    complete,
    complete_all,
    contents,
    create_spool,
    messages,
)
from meshhw.dare.spool_compact import compact_spool, superseded
from meshhw.dare.write import seal
from meshhw.errors import IntegrityError, KeyNotFound, Replayed, SignatureInvalid
from meshhw.udf.message import envelope_id
from meshhw.udf.secret import nonce

KEY = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(32))))
NEWER = LocalKey(PrivateKey(Algorithm.X25519, bytes(range(1, 33))))
SIGNER = LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(32))))
STRANGER = LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(1, 33))))
READERS = [RecipientKey(KEY.public)]
NAMES = [nonce().text for _ in range(5)]
CLOSED, READ = MessageState.CLOSED, MessageState.READ


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Five messages: the first two are closed, one of them by an answer, the third was read."""
    path = tmp_path / "inbound"
    create_spool(path, READERS)
    with SequenceWriter(path, READERS) as spool:
        for name in NAMES[:4]:
            append_message(spool, name, "MessageContact", b"body of " + name.encode())
        append_message(spool, NAMES[4], "MessageContact", seal(b"signed", Outline(signers=[SIGNER])))
        complete(spool, {NAMES[0]: CLOSED, NAMES[1]: READ}, "an answer")
        complete(spool, {NAMES[2]: READ})
        complete(spool, {NAMES[1]: CLOSED})
    return path


def found_in(path: Path, *keys: LocalKey) -> Contents:
    with SequenceFile(path) as spool:
        check_sequence(spool)
        return contents(SequenceReader(spool, KeyRing(keys or [KEY])))


def compacted(path: Path, keep: Callable[[str], bool] = lambda _: False, signer: LocalKey = SIGNER) -> Path:
    """A new spool beside the one at `path`."""
    target = path.with_name(f"{path.name}.compacted")
    with SequenceFile(path) as spool:
        compact_spool(SequenceReader(spool, KeyRing([KEY])), target, [signer], keep=keep)
    return target


def told(found: Contents) -> list[tuple[str, Fate, bytes]]:
    return [(one.message_id, one.fate, one.payload) for one in found.messages]


def test_open_messages_stay_whole_and_closed_ones_known(path: Path) -> None:
    before = found_in(path)
    target = compacted(path)
    after = found_in(target)
    assert told(after) == told(before)[:3]
    assert after.gone == {NAMES[0]: Fate(CLOSED, "an answer"), NAMES[1]: Fate(CLOSED)}
    assert b"body" not in target.read_bytes()
    assert target.stat().st_size < path.stat().st_size
    with SequenceFile(path) as old, SequenceFile(target) as new:
        readers = [SequenceReader(sequence, KeyRing([KEY])) for sequence in (old, new)]
        times = [[opened.open(m.index).content.created for m in messages(opened)] for opened in readers]
        assert times[1] == times[0][:3]
        assert [m.is_envelope for m in messages(readers[1])] == [True, False, False]
        assert new.frame(2).header.envelope_id == envelope_id(NAMES[2])
        assert len(new) == 2 + 3 + 1  # what became of all of them is one frame
        link = linked_head(new)
        assert link
        assert verify_head(link, [SIGNER.public]) == head_of(old)


def test_a_message_that_was_closed_does_not_come_back(path: Path) -> None:
    target = compacted(path)
    for name in NAMES:
        with pytest.raises(Replayed):
            found_in(target).require_new(name)
    found_in(target).require_new(nonce().text)
    with SequenceWriter(target, READERS) as spool:
        append_message(spool, NAMES[0], "MessageContact", b"once more")  # by who does not ask
    assert found_in(target).fate(NAMES[0]) == Fate(CLOSED, "an answer")
    assert {one.message_id: one.state for one in found_in(target).messages}[NAMES[0]] is CLOSED


def test_what_is_still_needed_stays_whole(path: Path) -> None:
    after = found_in(compacted(path, {NAMES[1]}.__contains__))
    assert [one.message_id for one in after.messages] == [NAMES[4], NAMES[3], NAMES[2], NAMES[1]]
    assert after.fate(NAMES[1]) == Fate(CLOSED)
    assert set(after.gone) == {NAMES[0]}


def test_there_is_nothing_more_to_leave_out(path: Path) -> None:
    def left_out(path: Path, keep: Callable[[str], bool] = lambda _: False) -> int:
        with SequenceFile(path) as spool:
            return superseded(SequenceReader(spool, KeyRing([KEY])), keep)

    assert left_out(path) == 2 + 2  # two messages, and three completions of which one is enough
    assert left_out(path, set(NAMES).__contains__) == 2
    target = compacted(path)
    assert left_out(target) == 0
    with SequenceWriter(target, READERS) as spool:
        complete(spool, {NAMES[3]: CLOSED})
    assert left_out(target) == 2
    create_spool(path.with_name("empty"), READERS)
    assert left_out(path.with_name("empty")) == 0
    assert found_in(compacted(path.with_name("empty"))) == Contents([], {}, 0)


def test_many_closed_messages_cost_a_hundred_octets_or_two_each(tmp_path: Path) -> None:
    path, names = tmp_path / "spool", [nonce().text for _ in range(1500)]
    create_spool(path, READERS)
    with SequenceWriter(path, READERS) as spool:
        for name in names:
            append_message(spool, name, "MessageContact", bytes(300))
        complete_all(spool, {name: Fate(CLOSED, name) for name in names})
    target = compacted(path)
    assert found_in(target).gone == {name: Fate(CLOSED, name) for name in names}
    with SequenceFile(target) as spool:
        assert len(spool) == 2 + 2
    assert target.stat().st_size < 200 * len(names)


def test_new_keys_stay_and_are_written_to(path: Path) -> None:
    with SequenceWriter(path, READERS) as spool:
        begin_epoch(spool, [RecipientKey(NEWER.public)], b"who wants that")
        late = nonce().text
        append_message(spool, late, "MessageContact", b"under the newer key")
    with pytest.raises(KeyNotFound):
        found_in(path, KEY)
    target = path.with_name("target")
    with SequenceFile(path) as spool:
        compact_spool(SequenceReader(spool, KeyRing([KEY, NEWER])), target, [SIGNER])
    with SequenceFile(target) as spool:
        [epoch] = epoch_frames(spool)
        assert b"".join(spool.body(epoch)) == b"who wants that"
        assert current_readers(spool) == [RecipientKey(NEWER.public)]
    assert found_in(target, NEWER).messages[0].message_id == late
    with pytest.raises(KeyNotFound):
        found_in(target, KEY)  # who has the older key alone reads nothing that is written now


def test_since_an_index_and_ranges_go_on_in_the_new_spool(path: Path, tmp_path: Path) -> None:
    target, copy = compacted(path), tmp_path / "copy"
    copy.write_bytes(target.read_bytes()[: _end_of_first(target)])
    with SequenceFile(target) as new, SequenceFile(copy) as local:
        assert relate(new, head_of(local)) is Relation.AHEAD
        middle = frames_since(new, 1, 4)
        rest = frames_since(new, 4)
        head = head_of(new)
    assert accept_frames(copy, middle) == 4
    with pytest.raises(IntegrityError):
        accept_frames(copy, middle)
    assert accept_frames(copy, rest, head) == 6
    assert copy.read_bytes() == target.read_bytes()
    with SequenceWriter(target, READERS) as spool:
        append_message(spool, nonce().text, "MessageContact", b"one more")
    with SequenceFile(target) as new, SequenceFile(copy) as local:
        assert relate(local, head_of(new), prove_extension(new, head_of(local).head)) is Relation.BEHIND
        since = [m.payload for m in messages(SequenceReader(new, KeyRing([KEY])), since=len(local))]
    assert since == [b"one more"]
    with SequenceWriter(copy, READERS) as spool:
        append_message(spool, nonce().text, "MessageContact", b"another")
    with SequenceFile(target) as new, SequenceFile(copy) as local:
        assert relate(local, head_of(new)) is Relation.DIVERGED


def _end_of_first(path: Path) -> int:
    with SequenceFile(path) as sequence:
        return sequence.frame(0).span.end


def head(path: Path) -> SequenceHead:
    with SequenceFile(path) as sequence:
        return head_of(sequence)


def taken(
    path: Path,
    seen: SequenceHead,
    signed: Envelope | None = None,
    proof: list[bytes] | None = None,
) -> SequenceHead:
    """What who has seen that head does with the spool at `path`."""
    with SequenceFile(path) as new:
        return check_successor(new, signed or sign_head(head_of(new), [SIGNER]), seen, [SIGNER.public], proof)


def test_who_has_seen_the_old_head_takes_the_new_spool(path: Path) -> None:
    seen = head(path)
    target = compacted(path)
    assert taken(target, seen) == head(target)
    with SequenceWriter(target, READERS) as spool:
        append_message(spool, nonce().text, "MessageContact", b"after it")
    assert taken(target, seen) == head(target)


def test_who_has_seen_less_takes_it_too_and_more_where_that_is_proven(path: Path) -> None:
    with SequenceFile(path) as old:
        seen = SequenceHead(old.sequence_id, Head(3, old.frame(3).tree_digest))
        proof = prove_extension(old, seen.head)
    target = compacted(path)
    assert taken(target, seen) == taken(target, seen, proof=proof) == head(target)
    another = SequenceHead(seen.sequence_id, Head(3, bytes(64)))
    with pytest.raises(IntegrityError):
        taken(target, another, proof=proof)


def test_who_has_seen_more_or_something_else_refuses_it(path: Path) -> None:
    target = compacted(path)
    with SequenceWriter(path, READERS) as spool:
        append_message(spool, nonce().text, "MessageContact", b"lost by the compaction")
    with pytest.raises(IntegrityError, match="was compacted at frame 8; frame 9 was seen"):
        taken(target, head(path))
    with SequenceFile(path) as old:
        diverged = SequenceHead(old.sequence_id, Head(8, bytes(64)))
    with pytest.raises(IntegrityError, match="does not lead"):
        taken(target, diverged)
    with pytest.raises(IntegrityError, match="does not say that it continues"):
        taken(target, SequenceHead(bytes(16), Head(8, bytes(64))))


def test_without_the_signatures_of_accepted_signers_it_is_refused(path: Path, tmp_path: Path) -> None:
    seen = head(path)
    forged = compacted(path, signer=STRANGER)
    with pytest.raises(SignatureInvalid):  # whoever made it, the link is another's
        taken(forged, seen)
    forged.unlink()
    target = compacted(path)
    with pytest.raises(SignatureInvalid):
        taken(target, seen, sign_head(head(target), [STRANGER]))
    end = head(target)
    others = SequenceHead(bytes(16), end.head), SequenceHead(end.sequence_id, Head(99, end.head.digest))
    for other in (seen, *others):
        with pytest.raises(IntegrityError, match="of another sequence, or of more"):
            taken(target, seen, sign_head(other, [SIGNER]))
    with SequenceFile(target) as new:
        first = SequenceHead(new.sequence_id, Head(0, new.frame(0).tree_digest))
        link = linked_head(new)
    with pytest.raises(IntegrityError, match="does not say"):  # the link came after what was signed
        taken(target, seen, sign_head(first, [SIGNER]))
    own = tmp_path / "own"
    create_spool(own, READERS)
    with SequenceWriter(own) as spool:
        assert link
        spool.append(link.octets(), Outline(content=_content_of_a_link(target)), in_clear=True)
    with pytest.raises(SignatureInvalid):  # a link that was copied into another spool
        taken(own, seen, sign_head(head(own), [STRANGER]))


def _content_of_a_link(path: Path) -> ContentMeta:
    with SequenceFile(path) as sequence:
        return SequenceReader(sequence).content(sequence.frame(1))


def test_a_spool_that_was_changed_after_its_head_was_signed_is_refused(path: Path) -> None:
    seen, target = head(path), compacted(path)
    signed = sign_head(head(target), [SIGNER])
    octets = bytearray(target.read_bytes())
    octets[_end_of_first(target) + 900] ^= 1
    target.write_bytes(octets)
    with pytest.raises(IntegrityError):
        taken(target, seen, signed)


def test_a_spool_that_went_on_otherwise_than_was_signed_is_refused(path: Path) -> None:
    seen, target = head(path), compacted(path)
    twin = path.with_name("twin")
    twin.write_bytes(target.read_bytes())
    for copy in (target, twin):
        with SequenceWriter(copy, READERS) as spool:
            append_message(spool, nonce().text, "MessageContact", b"one of two")
    assert taken(target, seen) == head(target)
    with pytest.raises(IntegrityError, match="not the one that was signed"):
        taken(target, seen, sign_head(head(twin), [SIGNER]))


def test_a_link_leads_over_several_compactions(path: Path) -> None:
    heads, at = [head(path)], path
    for _ in range(3):
        with SequenceWriter(at, READERS) as spool:
            append_message(spool, nonce().text, "MessageContact", b"between")
        heads.append(head(at))
        at = compacted(at)
    with SequenceFile(at) as sequence:
        assert [verify_head(link, [SIGNER.public]) for link in links(sequence)] == heads[:0:-1]
        assert beginning(sequence) == 3
    for seen in heads:
        assert taken(at, seen) == head(at)
    assert len(found_in(at).gone) == 2


def test_the_links_are_no_more_than_sixty_four(tmp_path: Path) -> None:
    at, heads = tmp_path / "spool", []
    create_spool(at)
    for number in range(66):
        heads.append(head(at))
        target = tmp_path / f"{number}"
        with SequenceFile(at) as spool:
            compact_spool(SequenceReader(spool), target)
        at = target
    with SequenceFile(at) as sequence:
        assert [claimed_head(link) for link in links(sequence)] == heads[:-65:-1]


def test_a_sealed_spool_is_read_and_its_own_head_is_no_link(path: Path, tmp_path: Path) -> None:
    before = told(found_in(path))
    with SequenceWriter(path, READERS) as spool:
        seal_head(spool, [SIGNER])
    assert told(found_in(path)) == before
    empty = tmp_path / "empty"
    create_spool(empty, READERS)
    with SequenceWriter(empty, READERS) as spool:
        seal_head(spool, [SIGNER])
        assert linked_head(spool) is None


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 5)),
            st.tuples(st.sampled_from(list(MessageState)), st.integers(0, 5)),
            st.tuples(st.just("compact"), st.just(0)),
        ),
        max_size=20,
    )
)
def test_whenever_it_is_compacted_the_states_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    root = tmp_path_factory.mktemp("spool")
    plain, short = root / "plain", root / "short"
    for path in (plain, short):
        create_spool(path)
    names = [nonce().text for _ in range(6)]
    added: set[int] = set()
    for step, number in steps:
        if step == "compact":
            short = compacted(short)
            continue
        if step == "add" and number in added:
            continue
        for path in (plain, short):
            with SequenceWriter(path) as spool:
                if step == "add":
                    added.add(number)
                    append_message(spool, names[number], "MessageContact", b"%d" % number)
                else:
                    complete(spool, {names[number]: MessageState(step)})
    whole, found = found_in(plain), found_in(short)
    for name in names:
        fates = [whole.fate(name), found.fate(name)]
        assert fates[0] == fates[1]
    here = {one.message_id for one in found.messages}
    closed_once = {names[n] for step, n in steps if step == CLOSED}
    assert {one.message_id for one in whole.messages} - here <= closed_once
