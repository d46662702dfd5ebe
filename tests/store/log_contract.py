"""What both kinds of log must do, as tests; subclassed with a ``store_url`` for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from actorflow.errors import BadRunId, CommitTooLarge, CorruptCheckpoint, Fenced, RunOwned, StoreUnavailable
from actorflow.store.framing import MAX_BODY
from tests.store.drafts import ACTOR, claiming, draft, part

if TYPE_CHECKING:
    from actorflow.store.frames import Draft
    from actorflow.store.log import Tip
    from actorflow.store.store import Store


class LogContract:
    """Commits are numbered, chained, found again; one owner at a time."""

    def test_a_run_that_was_never_claimed_is_not_there(self, store: Store) -> None:
        """No tip, no frames, no file: nothing is made by looking."""
        log = store.log("r")

        assert log.tip() is None
        assert log.read() == []
        assert log.inspect() == []
        assert store.run_ids() == []

    def test_the_first_claim_creates_the_run(self, store: Store) -> None:
        """Number 0, epoch 1, and the draft's file part."""
        owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)

        tip = store.log("r").tip()
        assert tip is not None
        assert tip.header == owned.header
        assert (tip.header.kind, tip.header.seq, tip.header.epoch, tip.header.snapshot) == ("claim", 0, 1, 0)
        assert tip.header.owner == store.owner(ACTOR)
        assert tip.file == part(store)
        assert store.run_ids() == ["r"]

    def test_commits_are_a_chain(self, store: Store) -> None:
        """Each has the next number and its parent's digest; bodies come back as they were."""
        owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
        for number in range(1, 6):
            header = owned.commit(draft("commit", 1, part(store), b"%d" % number, tags={"n": str(number)}))
            assert header.seq == number

        frames = store.log("r").read()

        assert [frame.body for frame in frames] == [b"claim", b"1", b"2", b"3", b"4", b"5"]
        assert [frame.header.parent for frame in frames[1:]] == [frame.digest for frame in frames[:-1]]
        assert frames[-1].header == owned.header
        assert frames[3].header.tags == {"n": "3"}
        assert len({frame.header.nonce for frame in frames}) == 6

    def test_reading_starts_at_the_newest_snapshot(self, store: Store) -> None:
        """Recovery needs no more; history is read from where it is asked for."""
        owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
        for number in range(1, 9):
            owned.commit(draft("commit", 1, part(store), snapshot=number in (3, 6)))

        def numbers(first: int | None) -> list[int]:
            return [frame.header.seq for frame in store.log("r").read(first=first)]

        assert numbers(None) == [6, 7, 8]
        assert numbers(0) == list(range(9))
        assert numbers(2) == list(range(2, 9))
        assert numbers(4) == list(range(4, 9))
        assert numbers(8) == [8]
        assert [frame.header.snapshot for frame in store.log("r").read(first=0)] == [0, 0, 0, 3, 3, 3, 6, 6, 6]

    def test_another_file_part_goes_with_its_commit(self, store: Store) -> None:
        """After a migration frames before and after are read with the schema they are in."""
        owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
        owned.commit(draft("commit", 1, part(store)))
        owned.commit(draft("commit", 1, part(store, version=2), snapshot=True))
        owned.commit(draft("commit", 1, part(store, version=2)))
        owned.close()
        again = store.log("r").claim(claiming(part(store)), actor=ACTOR)

        versions = [frame.file.version for frame in store.log("r").read(first=0)]

        assert versions == [1, 1, 2, 2, 2]
        assert again.load()[0].header.seq == 2

    def test_a_claim_does_not_change_the_file_part(self, store: Store) -> None:
        """It continues what is there; it can't bring a snapshot in another schema."""
        store.log("r").claim(claiming(part(store)), actor=ACTOR).close()

        def other(tip: Tip | None) -> Draft:
            return draft("claim", 2, part(store, version=2))

        def snapshot(tip: Tip | None) -> Draft:
            return draft("claim", 2, part(store, version=2), snapshot=True)

        with pytest.raises(ValueError, match="next commit"):
            store.log("r").claim(snapshot, actor=ACTOR)
        owned = store.log("r").claim(other, actor=ACTOR)

        assert store.log("r").read()[-1].file == part(store)
        owned.commit(draft("commit", 2, part(store, version=2), snapshot=True))
        assert store.log("r").read()[-1].file == part(store, version=2)

    def test_a_held_run_is_owned(self, store: Store) -> None:
        """By this process too: one actor per run. The error says who."""
        store.log("r").claim(claiming(part(store)), actor=ACTOR)
        tip = store.log("r").tip()
        assert tip is not None

        with pytest.raises(RunOwned) as caught:
            store.log("r").claim(claiming(part(store)), actor=b"actor-02")

        assert caught.value.pid == store.owner(ACTOR).pid
        assert store.log("r").is_owned(tip.header)
        assert store.log("r").read()[-1].header == tip.header

    def test_a_run_whose_actor_left_is_claimed_at_once(self, store: Store) -> None:
        """Without a release too, since this store knows that nobody holds it. The epoch goes up."""
        first = store.log("r").claim(claiming(part(store)), actor=ACTOR)
        first.commit(draft("commit", 1, part(store)))
        first.close()
        first.close()
        tip = store.log("r").tip()
        assert tip is not None
        assert store.log("r").is_owned(tip.header) is False

        second = store.log("r").claim(claiming(part(store)), actor=b"actor-02")

        assert (second.header.seq, second.header.epoch, second.header.owner.actor) == (2, 2, b"actor-02")
        assert [frame.header.seq for frame in second.load()] == [0, 1, 2]

    def test_who_left_commits_nothing_more(self, store: Store) -> None:
        """Nor does who has released: others may have claimed since."""
        left = store.log("a").claim(claiming(part(store, "a")), actor=ACTOR)
        left.close()
        released = store.log("b").claim(claiming(part(store, "b")), actor=ACTOR)
        released.commit(draft("release", 1, part(store, "b")))

        with pytest.raises(Fenced, match="left"):
            left.commit(draft("commit", 1, part(store, "a")))
        with pytest.raises(Fenced, match="released"):
            released.commit(draft("commit", 1, part(store, "b")))
        assert len(store.log("a").read()) == 1

    def test_a_claim_that_is_called_off_writes_nothing(self, store: Store) -> None:
        """The code that asked for it can't run this run: it is blocked here, and claimable by others."""

        def blocked(tip: Tip | None) -> Draft:
            raise LookupError("no such node")

        for _ in range(2):
            with pytest.raises(LookupError):
                store.log("r").claim(blocked, actor=ACTOR)

        assert store.log("r").tip() is None
        assert store.log("r").claim(claiming(part(store)), actor=ACTOR).header.seq == 0

    def test_epoch_and_kind_must_fit(self, store: Store) -> None:
        """A draft for another epoch is a mistake of the caller, and nothing is written."""
        file = part(store)
        for wrong in (draft("claim", 2, file), draft("commit", 1, file)):
            with pytest.raises(ValueError, match="must be of kind 'claim' and epoch 1"):
                store.log("r").claim(lambda _tip, wrong=wrong: wrong, actor=ACTOR)  # type: ignore[misc]
        owned = store.log("r").claim(claiming(file), actor=ACTOR)
        for wrong in (draft("commit", 2, file), draft("claim", 1, file)):
            with pytest.raises(ValueError, match="epoch 1"):
                owned.commit(wrong)

        assert owned.commit(draft("commit", 1, file)).seq == 1

    def test_a_commit_over_the_limit_changes_nothing(self, store: Store) -> None:
        """It is refused, and the next one goes on."""
        owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)

        with pytest.raises(CommitTooLarge):
            owned.commit(draft("commit", 1, part(store), bytes(MAX_BODY + 1)))

        assert owned.commit(draft("commit", 1, part(store))).seq == 1

    def test_runs_do_not_meet(self, store: Store) -> None:
        """Ids that differ only in what a file system might fold are different runs."""
        for run_id in ("a", "A", "..", "a/b", "é"):
            store.log(run_id).claim(claiming(part(store, run_id), run_id.encode()), actor=ACTOR)

        for run_id in ("a", "A", "..", "a/b", "é"):
            assert store.log(run_id).read()[0].body == run_id.encode()
        assert len(store.run_ids()) == 5
        assert {store.run_id(name) for name in store.run_ids()} == {"a", "A", "..", "a/b", "é"}

    def test_a_hashed_id_is_found_in_its_files(self, store: Store) -> None:
        """The name does not tell it, the file part does."""
        long = "x" * 300
        store.log(long).claim(claiming(part(store, long)), actor=ACTOR)
        name = store.run_ids()[0]

        assert name.startswith("~h")
        assert store.run_id(name) == long
        assert store.run_id("~h" + "0" * 52) is None

    def test_a_bad_id_is_refused(self, store: Store) -> None:
        """Before anything is looked up."""
        with pytest.raises(BadRunId):
            store.log("")

    def test_files_of_another_run_are_foreign(self, store: Store) -> None:
        """A file that says another run id does not belong, wherever it lies."""
        owned = store.log("r").claim(claiming(part(store, "other")), actor=ACTOR)

        with pytest.raises(CorruptCheckpoint, match="belongs to run 'other'"):
            store.log("r").tip()
        owned.close()

    def test_a_closed_store_takes_no_commit(self, store: Store) -> None:
        """Its lock is gone, so others may claim: an owner that is left over writes nothing."""
        owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
        store.close()

        with pytest.raises(StoreUnavailable, match="closed"):
            owned.commit(draft("commit", 1, part(store)))
        with pytest.raises(StoreUnavailable, match="closed"):
            store.log("q").claim(claiming(part(store, "q")), actor=ACTOR)
        assert len(store.log("r").read()) == 1

    def test_owners_are_told_apart(self, store: Store) -> None:
        """An owner of another machine may live: nobody here can know."""
        owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
        elsewhere = msgspec.structs.replace(owned.header.owner, machine="0" * 16, incarnation="1" * 16)

        verdict = store.log("r").is_owned(msgspec.structs.replace(owned.header, owner=elsewhere))

        assert verdict is (False if store.url.startswith("memory") else None)

    def test_after_a_commit_with_another_file_part_the_owner_goes_on_with_that_one(self, store: Store) -> None:
        """What its file says of the schema is what later commits are read by."""
        log = store.log("r")
        owner = log.claim(claiming(part(store)), actor=ACTOR)
        owner.commit(draft("commit", 1, part(store, version=2), b"migrated", snapshot=True))

        owner.commit(draft("commit", 1, owner.file, b"later"))

        assert [frame.file.version for frame in log.read(first=0)] == [1, 2, 2]
