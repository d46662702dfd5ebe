"""The cache: what a node returned before is not computed again, by any run of the store, and is never taken wrongly."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import msgpack

from actorflow import (
    END,
    Cache,
    Context,
    Goto,
    Graph,
    Keyring,
    Retention,
    Retry,
    Runtime,
    Sealing,
    State,
    Timeout,
    Update,
    extend,
)
from actorflow.errors import GraphError, RunFailed, StoreUnavailable
from actorflow.graph.cache import digest_of_code
from actorflow.runtime.workers.returned import pack
from actorflow.store.cache import ResultCache
from actorflow.store.local import LocalBackend
from actorflow.store.memory import MemoryBackend
from actorflow.testing import assert_resumes_equal


class Page(State, version=1):
    """What is fetched, and what came of it."""

    url: str = ""
    text: str = ""
    seen: Annotated[list[str], extend] = []


def fetching(calls: list[str], cache: Cache | None, *, name: str = "pages") -> Graph[Page]:
    """One node that says what it is called with."""
    graph = Graph(name, Page)

    async def fetch(state: Page) -> Update:
        calls.append(state.url)
        return {"text": f"text of {state.url}", "seen": [state.url]}

    graph.node(fetch, cache=cache)
    return graph


def by_url(page: Page) -> str:
    """A key."""
    return page.url


def entries(url: str) -> list[Path]:
    """The files of the cache."""
    return [*Path(url).glob("cache/*")]


LASTING = Cache(key=by_url, version=1)


async def test_a_result_is_computed_once_for_all_runs_of_a_store(store_url: str) -> None:
    """Also by a later process: a hit is merged like what the node would have returned, and recorded as one."""
    calls: list[str] = []
    graph = fetching(calls, LASTING)

    async with Runtime(store_url) as rt:
        first = await rt.run(graph, Page(url="a"), id="one")
        other = await rt.run(graph, Page(url="b"), id="two")
    async with Runtime(store_url) as rt:
        again = await rt.run(graph, Page(url="a", seen=["before"]), id="three")
        cached = [view.cached async for view in rt.get("three").views() if view.node == "fetch"]

    assert calls == ["a", "b"]
    assert (first.text, other.text, again.text) == ("text of a", "text of b", "text of a")
    assert again.seen == ["before", "a"]
    assert cached == [True]


async def test_without_a_key_the_whole_state_is_the_key() -> None:
    """Whatever the node reads is in it."""
    calls: list[str] = []
    graph = fetching(calls, Cache(version=1))

    async with Runtime("memory://") as rt:
        await rt.run(graph, Page(url="a"))
        await rt.run(graph, Page(url="a"))
        await rt.run(graph, Page(url="a", text="other"))

    assert calls == ["a", "a"]


async def test_names_code_and_fields_are_a_part_of_what_is_looked_for() -> None:
    """Another graph, another node, another version, another State: each computes its own."""

    class Paper(State, name="Page", version=1):
        """As Page, but for a field."""

        url: str = ""
        text: str = ""
        seen: Annotated[list[str], extend] = []
        more: int = 0

    calls: list[str] = []
    papers = Graph("pages", Paper)

    async def fetch(state: Paper) -> Update:
        calls.append("paper")
        return {}

    papers.node(fetch, cache=LASTING)
    renamed = Graph("pages", Page)
    renamed.node(fetching(calls, LASTING).plan.nodes["fetch"].fn, name="get", cache=LASTING)

    async with Runtime("memory://") as rt:
        await rt.run(fetching(calls, LASTING), Page(url="a"))
        await rt.run(fetching(calls, LASTING, name="others"), Page(url="a"))
        await rt.run(fetching(calls, Cache(key=by_url, version=2)), Page(url="a"))
        await rt.run(renamed, Page(url="a"))
        await rt.run(papers, Paper(url="a"))

    assert calls == ["a", "a", "a", "a", "paper"]


async def test_changed_code_computes_again(store_url: str) -> None:
    """Without a version the code of the function stands for itself; the old code still finds what it made."""

    async def one(state: Page) -> Update:
        return {"text": "one"}

    async def two(state: Page) -> Update:
        return {"text": "two"}

    texts: list[str] = []
    async with Runtime(store_url) as rt:
        for fn in (one, two, one, two):
            graph = Graph("pages", Page)
            graph.node(fn, name="fetch", cache=Cache(key=by_url))
            texts.append((await rt.run(graph, Page(url="a"))).text)

    assert (texts, len(entries(store_url))) == (["one", "two", "one", "two"], 2)


@pytest.mark.parametrize("keys", [("1", 1), ("a", b"a"), (1, 1.0), (0, False), ([1], "1"), (None, "")])
async def test_keys_that_look_alike_are_told_apart(keys: tuple[Any, Any]) -> None:
    """Text is no number, and bytes are no text: a collision would be a wrong state."""
    calls: list[str] = []

    async with Runtime("memory://") as rt:
        for key in keys:
            await rt.run(fetching(calls, Cache(key=lambda _, key=key: key, version=1)), Page(url="a"))

    assert len(calls) == 2


async def test_an_entry_that_is_out_of_date_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And kept anew; gc takes away what is, and leaves what lasts."""
    calls: list[str] = []
    now = Clock(monkeypatch)
    short, lasting = fetching(calls, Cache(key=by_url, ttl=60, version=1)), fetching(calls, LASTING, name="lasting")

    async with Runtime("memory://") as rt:
        await rt.run(lasting, Page(url="b"))
        for later in (0, 59, 61, 90, 200):
            now.set(later)
            await rt.run(short, Page(url="a"))
        now.set(300)
        dry, real, none = [await rt.gc(Retention(), dry_run=dry) for dry in (True, False, False)]
        await rt.run(lasting, Page(url="b"))

    assert calls == ["b", "a", "a", "a"]
    assert (dry.cached, real.cached, none.cached) == (1, 1, 0)


async def test_a_result_counts_as_long_as_who_kept_it_and_who_asks_both_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter time in newer code holds for what was kept for ever, and a longer one for nothing that is over."""
    calls: list[str] = []
    now = Clock(monkeypatch)
    short, lasting = fetching(calls, Cache(key=by_url, ttl=60, version=1)), fetching(calls, LASTING)
    counts: list[int] = []

    async with Runtime("memory://") as rt:
        for later, graph in ((0, lasting), (59, short), (61, short), (100, lasting), (122, lasting)):
            now.set(later)
            await rt.run(graph, Page(url="a"))
            counts.append(len(calls))

    assert counts == [1, 1, 2, 2, 3]


class Clock:
    """What the cache takes for the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def set(self, seconds: float) -> None:
        """It is so many seconds later than at first."""
        self._monkeypatch.setattr("actorflow.runtime.clock.time.time", lambda: 1e9 + seconds)


@pytest.mark.parametrize("damage", [b"", b"nothing of ours", "cut", "flip"])
async def test_a_damaged_entry_is_a_miss_with_a_warning(
    store_url: str, damage: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is computed again and kept in its place."""
    calls: list[str] = []
    graph = fetching(calls, LASTING)
    async with Runtime(store_url) as rt:
        await rt.run(graph, Page(url="a"))
    (entry,) = entries(store_url)
    data = entry.read_bytes()
    flipped = bytes([*data[:-40], data[-40] ^ 1, *data[-39:]])
    entry.write_bytes({"cut": data[:-1], "flip": flipped}.get(str(damage), damage))  # type: ignore[arg-type]

    async with Runtime(store_url) as rt:
        texts = [(await rt.run(graph, Page(url="a"))).text for _ in range(2)]

    assert calls == ["a", "a"]
    assert texts == ["text of a"] * 2
    (warning,) = [one for one in caplog.records if "of no use" in one.getMessage()]
    assert str(entry.name) in warning.getMessage()


async def test_an_entry_under_another_name_is_not_believed(store_url: str) -> None:
    """Its name is in it: who copies files gets a miss, and no wrong state."""
    calls: list[str] = []
    graph = fetching(calls, LASTING)
    async with Runtime(store_url) as rt:
        await rt.run(graph, Page(url="a"))
    (of_a,) = entries(store_url)
    async with Runtime(store_url) as rt:
        await rt.run(graph, Page(url="b"))
        (of_b,) = [one for one in entries(store_url) if one != of_a]
        of_b.write_bytes(of_a.read_bytes())

        assert (await rt.run(graph, Page(url="b"))).text == "text of b"


class Failing(MemoryBackend):
    """Has no cache: whoever asks it for one is told that it does not answer."""

    def get(self, key: str) -> bytes:
        """Fails below cache/."""
        self._refuse(key)
        return super().get(key)

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Fails below cache/."""
        self._refuse(key)
        return super().put_new(key, data, durable=durable)

    def _refuse(self, key: str) -> None:
        if key.startswith("cache/"):
            raise StoreUnavailable(key, "out of order")


async def test_a_cache_out_of_order_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The nodes run, and the log says why."""
    calls: list[str] = []
    async with Runtime(Failing(), recover="never") as rt:
        for _ in range(2):
            await rt.run(fetching(calls, LASTING), Page(url="a"))

    assert calls == ["a", "a"]
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == 4


@pytest.mark.parametrize("mode", ["mac", "sealed"])
async def test_entries_are_sealed_where_the_store_is(store_url: str, mode: Any) -> None:
    """The result can't be read in the file; without the key, or after it was changed, it is a miss."""
    calls: list[str] = []
    graph = fetching(calls, LASTING)
    first, second = Keyring({"1": bytes(32)}), Keyring({"1": bytes([1] * 32)})
    async with Runtime(store_url, sealing=Sealing(mode, keys=first)) as rt:
        await rt.run(graph, Page(url="a"))
        await rt.run(graph, Page(url="a"))
        (entry,) = entries(store_url)
    assert calls == ["a"]
    assert (b"text of a" in entry.read_bytes()) == (mode == "mac")

    async with Runtime(store_url, sealing=Sealing(mode, keys=second)) as rt:
        await rt.run(graph, Page(url="a"))

    assert calls == ["a", "a"]
    assert len(entries(store_url)) == 2  # the name, too, depends on the key


async def test_an_open_entry_is_not_believed_where_seals_are_required(store_url: str) -> None:
    """Nobody gets a result in by writing it without a seal under the right name."""
    keys = Keyring({"1": bytes(32)})
    calls: list[str] = []
    graph = fetching(calls, LASTING)
    async with Runtime(store_url, sealing=Sealing("sealed", keys=keys)) as rt:
        await rt.run(graph, Page(url="a"), id="x")
        uuid = (await rt.tip("x")).file.store
    (entry,) = entries(store_url)
    entry.unlink()
    result = msgpack.encode(pack({"text": "forged"}, graph.schema.codecs, is_item=False, call=0))
    forger = ResultCache(LocalBackend(store_url), store=uuid)
    forger.put(bytes.fromhex(entry.name), result, graph="pages", node="fetch", now=0.0, ttl=None)
    assert entry.exists()

    async with Runtime(store_url, sealing=Sealing("sealed", keys=keys)) as rt:
        assert (await rt.run(graph, Page(url="a"))).text == "text of a"

    assert calls == ["a", "a"]


async def test_errors_and_what_does_not_fit_are_not_kept(store_url: str) -> None:
    """They would be found for ever."""
    calls: list[str] = []
    graph = Graph("moody", Page)

    @graph.node(retry=None, cache=Cache(version=1))
    async def moody(state: Page, ctx: Context) -> Update:
        calls.append(state.url)
        if ctx.context == "raise":
            raise ValueError("no")
        return {"text": 5} if ctx.context == "wrong" else {"text": "well"}

    async with Runtime(store_url) as rt:
        for context in ("raise", "wrong"):
            with pytest.raises(RunFailed):
                await rt.run(graph, context=context)
        assert entries(store_url) == []
        calls.clear()
        assert (await rt.run(graph)).text == "well"
        assert (await rt.run(graph)).text == "well"

    assert calls == [""]


async def test_a_node_that_asked_somebody_is_not_kept() -> None:
    """What it was answered is in no key."""
    calls: list[int] = []
    graph = Graph("asks", Page)

    @graph.node(cache=Cache(version=1))
    async def ask(state: Page, ctx: Any) -> Update:
        calls.append(1)
        return {"text": await ctx.interrupt("Which?", type=str)}

    async with Runtime("memory://") as rt:
        for id_, answer in (("one", "this"), ("two", "that")):
            run = await rt.spawn(graph, id=id_)
            assert await run.wait() == "waiting"
            await run.answer(answer)
            assert (await run.result()).text == answer

    assert len(calls) == 4


async def test_a_node_that_passes_over_its_own_waiting_is_not_kept() -> None:
    """It returned, but it is asked again when there is an answer: what it made without one is nobody's result."""
    graph = Graph("hasty", Page)

    @graph.node(cache=Cache(version=1))
    async def hasty(state: Page, ctx: Context) -> Update:
        try:
            return {"text": await ctx.interrupt("Which?", type=str)}
        except BaseException:  # noqa: BLE001 - as wrong as a user may be
            return {"text": "none"}

    async with Runtime("memory://") as rt:
        for answer in ("this", "that"):
            run = await rt.spawn(graph)
            assert await run.wait() == "waiting"
            await run.answer(answer)
            assert (await run.result()).text == answer


async def test_where_a_node_leads_is_kept_too() -> None:
    """A Goto, END, and a whole State come back as they were."""
    calls: list[str] = []
    graph = Graph("leads", Page)

    @graph.node(entry=True, goto="b", cache=Cache(version=1))
    async def a(state: Page) -> Any:
        calls.append("a")
        return Goto("b", update={"text": "went"})

    @graph.node(cache=Cache(version=1))
    async def b(state: Page) -> Any:
        calls.append("b")
        return END

    async with Runtime("memory://") as rt:
        results = [await rt.run(graph) for _ in range(2)]

    assert calls == ["a", "b"]
    assert [result.text for result in results] == ["went", "went"]


async def test_a_process_that_dies_anywhere_leaves_a_run_that_ends_as_ever() -> None:
    """Also while it asks the cache or writes to it, and while the time for all attempts runs."""
    graph = Graph("cached", Page)
    around: dict[str, Any] = {"timeout": Timeout(total=60), "retry": Retry(deadline=30)}

    @graph.node(cache=Cache(version=1), **around)
    async def first(state: Page) -> Update:
        return {"seen": ["first"]}

    @graph.node(after=first, cache=Cache(version=1, ttl=60))
    async def second(state: Page) -> Update:
        return {"seen": ["second"]}

    await assert_resumes_equal(graph, Page(), depth=1)


async def test_items_are_kept_each_by_itself() -> None:
    """An item that was worked on in another run, or beside it, is not worked on again."""

    class Numbers(State):
        """Some numbers, and their squares."""

        numbers: list[int]
        squares: list[int] = []

    calls: list[int] = []
    graph = Graph("squares", Numbers)

    async def square(number: int) -> int:
        calls.append(number)
        return number * number

    graph.map(square, over="numbers", into="squares", cache=Cache(version=1))

    async with Runtime("memory://") as rt:
        await rt.run(graph, Numbers(numbers=[1, 2]))
        result = await rt.run(graph, Numbers(numbers=[3, 2, 1]))

    assert result.squares == [9, 4, 1]
    assert sorted(calls) == [1, 2, 3]


# -- what stands for the code -----------------------------------------------------------


def test_the_code_of_a_function_is_a_part_of_the_key() -> None:
    """Another constant, another branch, another default: another result."""

    def one(state: Page, n: int = 1) -> Update:
        return {"text": "one"}

    def two(state: Page, n: int = 1) -> Update:
        return {"text": "two"}

    def three(state: Page, n: int = 2) -> Update:
        return {"text": "one"}

    def four(state: Page, n: int = 1) -> Update:
        return {"text": [x + "four" for x in "ab"]}

    def five(state: Page, n: int = 1) -> Update:
        return {"text": [x + "five" for x in "ab"]}

    digests = [digest_of_code(fn) for fn in (one, two, three, four, five)]

    assert len(set(digests)) == 5
    assert digest_of_code(one) == digests[0]


def test_a_function_made_by_another_says_what_it_holds() -> None:
    """Two of one code differ by what they were given; what may be anything needs a version."""

    def made(held: Any) -> Any:
        async def node(state: Page) -> Update:
            return {"text": str(held)}

        return node

    assert digest_of_code(made("a")) != digest_of_code(made("b"))
    assert digest_of_code(made(len)) != digest_of_code(made(max))
    assert digest_of_code(made(made("a"))) != digest_of_code(made(made("b")))

    graph = Graph("g", Page)
    graph.node(made(object()), cache=Cache())
    with pytest.raises(GraphError, match=r"'held'.*say Cache\(version=\)"):
        _ = graph.plan


def test_a_callable_object_needs_a_version() -> None:
    """What it holds is not in its code."""

    class Model:
        """A node."""

        async def __call__(self, state: Page) -> Update:
            return {}

    graph = Graph("g", Page)
    graph.node(Model(), name="model", cache=Cache())
    with pytest.raises(GraphError, match=r"version="):
        _ = graph.plan

    other = Graph("g", Page)
    other.node(Model(), name="model", cache=Cache(version="1"))
    assert other.plan.nodes["model"].cache is not None


@pytest.mark.parametrize("wrong", [{"ttl": 0}, {"ttl": -1.0}, {"ttl": float("nan")}, {"ttl": "60"}])
def test_a_cache_of_no_duration_is_refused(wrong: dict[str, Any]) -> None:
    """Where it is made."""
    with pytest.raises(ValueError, match="ttl"):
        Cache(**wrong)


async def asynchronous(page: Page) -> str:
    """No key: it can't be awaited."""
    return page.url


@pytest.mark.parametrize("cache", [60, Cache(key=asynchronous, version=1), Cache(key=5, version=1)])  # type: ignore[arg-type]
def test_what_is_no_cache_is_refused(cache: Any) -> None:
    """When the graph is checked, with the node."""
    graph = Graph("g", Page)

    @graph.node(cache=cache)
    async def fetch(state: Page) -> Update:
        return {}

    with pytest.raises(GraphError, match="node 'fetch'"):
        _ = graph.plan
