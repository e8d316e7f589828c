"""The watch cache against an API server in miniature, one turn at a time; only the last tests have threads."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import ApiUnavailable, CredentialsRefused, KindMissing, ReconcilerError
from reconciler.history.keys import Key
from reconciler.kube.client.api import Expired, Page
from reconciler.kube.client.resources import OURS, Resource
from reconciler.kube.watch.cache import STALE_S, Cache, Shelf
from reconciler.kube.watch.object import Decoder, Live
from reconciler.kube.watch.reflector import DELAY_MAX_S, SILENCE_S, Reflector, later, went_back
from tests.kube_objects import MODELS, Line, Miniature, bookmark, event, in_band, model

CUT = ApiUnavailable("cut")


def key(name: str) -> Key:
    return Key("InferenceModel", "default", name, "")


def written(operation: str) -> dict[str, Any]:
    """The metadata of an apply of ours."""
    return {"annotations": {"ai.kubeedge.io/operation-id": operation}}


class World:
    """One kind, watched by hand."""

    def __init__(self, resource: Resource = MODELS) -> None:
        self.server: Miniature = Miniature()
        self.told: list[tuple[str, Any, Any]] = []  # name, spec before, spec after
        self.troubles: list[str] = []
        self.now = 0.0
        self.reader = Decoder("reconciler", resource)
        self.shelf = Shelf(resource, self.reader, self.changed, self.trouble, self.clock)
        self.watch = Reflector(self.server, MODELS, self.shelf, threading.Event(), sample=lambda: 1.0, clock=self.clock)

    def clock(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds

    def changed(self, key: Key, before: Live | None, after: Live | None) -> None:
        self.told.append((key.name, before and before.spec, after and after.spec))

    def trouble(self, kind: str, error: ReconcilerError | None) -> None:
        self.troubles.append(error.code if error is not None else "")

    def specs(self) -> dict[str, Any]:
        self.shelf.check()
        return {key.name: live.spec for key, live in self.shelf.objects.items()}

    def versions(self) -> dict[str, str]:
        return {key.name: live.version for key, live in self.shelf.objects.items()}


@pytest.fixture
def world() -> World:
    """Three objects, listed."""
    world = World()
    for name in "abc":
        world.server.set(name, {"n": 1})
    world.server.watch_faults = [[bookmark("103")]]
    assert world.watch.turn() == 0
    world.server.calls.clear()
    return world


def test_the_first_list_is_no_change_and_what_comes_after_it_is(world: World) -> None:
    assert (world.specs(), world.told) == ({name: {"n": 1} for name in "abc"}, [])
    world.server.set("a", {"n": 2})
    world.server.set("d", {"n": 1})
    world.server.delete("b")
    world.watch.turn()
    assert world.told == [("a", {"n": 1}, {"n": 2}), ("d", None, {"n": 1}), ("b", {"n": 1}, None)]
    assert world.specs() == {"a": {"n": 2}, "c": {"n": 1}, "d": {"n": 1}}
    assert world.server.calls == ["look", "watch 103"]


def test_what_means_nothing_is_kept_and_not_told(world: World) -> None:
    world.server.set("a", {"n": 1}, annotations={"ai.kubeedge.io/seq": "9"}, generation=4)
    world.watch.turn()
    assert world.told == []
    assert world.shelf.objects[key("a")].generation == 4


def test_our_own_answer_comes_round_without_being_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = world.server.set("a", {"n": 2}, **written("o1"))
    live = world.shelf.put(key("a"), answer)
    monkeypatch.setattr(world.reader, "event", lambda *_: pytest.fail("read"))
    world.watch.turn()
    assert world.told == []
    assert world.shelf.objects[key("a")] is live


def test_an_event_that_is_faster_than_the_answer_is_no_change(world: World) -> None:
    with world.shelf.sending(key("a"), "o1"):
        answer = world.server.set("a", {"n": 2}, **written("o1"))
        world.watch.turn()
        assert world.specs()["a"] == {"n": 2}
        world.shelf.put(key("a"), answer)
    world.server.delete("b")
    with world.shelf.sending(key("b"), ""):
        world.watch.turn()
        world.shelf.remove(key("b"), "uid-b")
    assert world.told == []
    assert world.specs() == {"a": {"n": 2}, "c": {"n": 1}}


def test_somebody_else_who_writes_while_we_do_is_told(world: World) -> None:
    with world.shelf.sending(key("a"), "o2"):
        world.server.set("a", {"n": 3}, **written("o1"))  # an older apply of ours that was given up, come late
        world.watch.turn()
    world.server.set("a", {"n": 4}, **written("o2"))  # and what was given up by now
    world.watch.turn()
    assert [after for _, _, after in world.told] == [{"n": 3}, {"n": 4}]


def test_somebody_who_writes_on_what_we_wrote_before_our_answer_comes_is_told(world: World) -> None:
    with world.shelf.sending(key("a"), "o1"):
        answer = world.server.set("a", {"n": 2}, **written("o1"))
        world.server.set("a", {"n": 3}, **written("o1"))  # a patch keeps our annotations
        world.watch.turn()
        world.shelf.put(key("a"), answer)
    assert world.told == [("a", {"n": 2}, {"n": 3})]
    assert world.specs()["a"] == {"n": 3}


@pytest.mark.parametrize("matters", [True, False])
def test_a_status_that_came_with_our_answer_is_told_where_it_matters(matters: bool) -> None:
    world = World(MODELS._replace(status_matters=matters))
    before, answer = json.loads(model("a", "150", {"n": 1})), json.loads(model("a", "160", {"n": 2}, **written("o1")))
    world.shelf.put(key("a"), json.dumps(before | {"status": {"ready": 0}}).encode())
    with world.shelf.sending(key("a"), "o1"):  # version 155 says the same of the status, and comes too late
        world.shelf.put(key("a"), json.dumps(answer | {"status": {"ready": 1}}).encode())
    assert world.told == ([("a", {"n": 1}, {"n": 2})] if matters else [])


def test_an_answer_of_what_is_not_selected_is_not_kept() -> None:
    world = World(MODELS._replace(selector={"ring": "canary"}))
    world.shelf.put(key("a"), model("a", "150", labels={"ring": "canary", "site": "berlin"}))
    world.shelf.put(key("b"), model("b", "151", labels={"site": "berlin"}))
    assert set(world.shelf.objects) == {key("a")}


def test_an_older_event_overwrites_neither_a_put_nor_a_remove(world: World) -> None:
    old = model("a", "150", {"n": "old"})
    world.shelf.put(key("a"), model("a", "160", {"n": "put"}))
    world.shelf.remove(key("b"), "uid-b")
    late = [event("MODIFIED", old), event("MODIFIED", model("b", "151", {"n": "old"})), event("DELETED", old)]
    world.server.watch_faults = [late]
    world.watch.turn()
    assert (world.specs()["a"], "b" in world.specs(), world.told) == ({"n": "put"}, False, [])


def test_a_put_does_not_overwrite_what_was_heard_since(world: World) -> None:
    answer = world.server.set("a", {"n": 2})
    world.server.set("a", {"n": 3})
    gone = world.server.set("b", {"n": 2})
    world.server.delete("b")
    world.watch.turn()
    assert world.shelf.put(key("a"), answer).spec == {"n": 2}  # what was answered is given back all the same
    world.shelf.put(key("b"), gone)
    assert world.specs() == {"a": {"n": 3}, "c": {"n": 1}}


@pytest.mark.parametrize("event_first", [True, False])
def test_what_waits_for_its_finalizers_is_still_there(world: World, event_first: bool) -> None:
    world.server.set("a", {"n": 1}, deletionTimestamp="2026-11-22T11:00:00Z")
    if event_first:
        world.watch.turn()
    world.shelf.remove(key("a"), "uid-a")
    world.watch.turn()
    assert world.shelf.objects[key("a")].deleting
    world.server.delete("a")
    world.watch.turn()
    assert "a" not in world.specs()


def test_versions_that_are_no_numbers_are_only_compared_for_equality(world: World) -> None:
    world.shelf.put(key("a"), model("a", "v-put", {"n": 2}))
    world.server.watch_faults = [[event("MODIFIED", model("a", "v-put", {"n": 2}))]]
    world.watch.turn()
    assert world.told == []
    world.server.watch_faults = [[event("MODIFIED", model("a", "another", {"n": 3}))]]
    world.watch.turn()
    assert world.told == [("a", {"n": 2}, {"n": 3})]


@pytest.mark.parametrize("form", [Expired(), [Expired()], [in_band(410, "too old resource version")]])
def test_fault_029_expired_lists_again_and_tells_the_deletes_that_were_missed(
    world: World, form: Exception | list[Line]
) -> None:
    world.server.delete("b")
    world.server.set("c", {"n": 2})
    world.server.events.clear()  # compacted
    world.server.watch_faults = [form]
    assert world.watch.turn() == 0.0  # at once
    assert world.told == []
    world.watch.turn()
    assert sorted(world.told) == [("b", {"n": 1}, None), ("c", {"n": 1}, {"n": 2})]
    assert world.server.calls == ["look", "watch 103", "list", "watch 105"]
    assert world.troubles == []


def test_expired_again_and_again_waits_longer_each_time(world: World) -> None:
    world.server.watch_faults = [Expired()] * 9
    delays = [world.watch.turn() for _ in range(9)]
    assert delays == [0, 1, 2, 4, 8, 16, DELAY_MAX_S, DELAY_MAX_S, DELAY_MAX_S]


def test_fault_030_a_silent_watch_is_opened_again_and_then_all_is_listed(world: World) -> None:
    silence: list[Line] = [lambda: world.passes(SILENCE_S), ApiUnavailable("silent")]
    world.server.watch_faults = [silence, silence]
    world.server.delete("b")
    world.watch.turn()
    world.watch.turn()
    assert world.server.calls == ["look", "watch 103", "look", "watch 103"]
    assert world.told == []
    world.watch.turn()
    assert world.server.calls[4:] == ["list", "watch 104"]
    assert world.told == [("b", {"n": 1}, None)]


def test_a_quiet_watch_that_ends_in_order_costs_no_list(world: World) -> None:
    quiet: list[Line] = [lambda: world.passes(SILENCE_S - 1)]
    world.server.watch_faults = [quiet] * 4
    assert [world.watch.turn() for _ in range(4)] == [0] * 4
    assert "list" not in world.server.calls


def test_a_watch_that_was_cut_goes_on_where_it_was(world: World) -> None:
    world.server.revision = 171
    world.server.watch_faults = [[bookmark("170"), CUT], [bookmark("171"), CUT]]
    for _ in range(3):
        world.watch.turn()
    assert world.server.calls == ["look", "watch 103", "look", "watch 170", "look", "watch 171"]
    assert world.troubles == []


def test_a_server_that_is_away_is_asked_less_and_less_and_then_listed(world: World) -> None:
    world.server.watch_faults = [CUT] * 8
    assert [world.watch.turn() for _ in range(8)] == [1, 2, 4, 8, 16, DELAY_MAX_S, DELAY_MAX_S, DELAY_MAX_S]
    assert world.troubles[0] == "RX305"
    world.server.objects["a"] = model("a", "90", {"n": "restored"})
    world.server.revision = 500
    world.server.watch_faults = [[bookmark("500")]]
    assert world.watch.turn() == 0.0
    assert world.troubles[-1] == ""
    assert world.told == [("a", {"n": 1}, {"n": "restored"})]


def test_what_the_server_asks_for_is_waited(world: World) -> None:
    world.server.watch_faults = [ApiUnavailable("busy", retry_after_s=17)]
    assert world.watch.turn() == 17
    world.watch.turn()
    assert (world.server.calls, world.troubles) == (["look", "watch 103"] * 2, [])  # once is no trouble


def test_a_server_that_restarts_so_fast_that_it_only_asks_to_wait_is_listed(world: World) -> None:
    world.server.watch_faults = [[CUT], ApiUnavailable("storage is (re)initializing", retry_after_s=1)]
    world.server.objects["a"] = model("a", "90", {"n": "restored"})
    for _ in range(3):
        world.watch.turn()
    assert world.server.calls[4:] == ["list", "watch 103"]
    assert world.told == [("a", {"n": 1}, {"n": "restored"})]


def test_fault_031_a_page_token_that_expires_leaves_no_partial_snapshot(world: World) -> None:
    world.server.watch_faults = [Expired()]
    world.server.list_faults = [Expired()]
    for _ in range(2):
        world.watch.turn()
        assert (world.specs(), world.told) == ({name: {"n": 1} for name in "abc"}, [])
    world.server.delete("a")
    world.watch.turn()
    assert world.told == [("a", {"n": 1}, None)]
    assert [call for call in world.server.calls if call == "list"] == ["list", "list"]


@pytest.mark.parametrize("noticed", ["on reconnecting", "by a bookmark"])
def test_fault_032_a_restored_etcd_is_noticed_and_everything_compared(world: World, noticed: str) -> None:
    world.server.set("a", {"n": 2})
    world.server.delete("b")
    world.watch.turn()
    world.told.clear()
    restored = Miniature()
    for name in "abc":
        restored.set(name, {"n": 1})
    world.server.objects, world.server.events, world.server.revision = restored.objects, [], 103
    if noticed == "by a bookmark":
        world.server.revision = 200
        world.server.watch_faults = [[bookmark("103")]]
        world.server.calls.clear()
        world.watch.turn()
        world.server.revision = 103
        world.watch.turn()
        assert world.server.calls == ["look", "watch 105", "list", "watch 103"]
    world.watch.turn()
    assert sorted(world.told, key=str) == [("a", {"n": 2}, {"n": 1}), ("b", None, {"n": 1})]
    assert world.specs() == {name: {"n": 1} for name in "abc"}


def test_a_restored_etcd_that_has_gone_on_meanwhile_is_compared_by_content(world: World) -> None:
    world.server.objects["a"] = model("a", "101", {"n": "restored"})  # the version that is known, and another content
    world.server.watch_faults = [Expired()]
    world.watch.turn()
    world.watch.turn()
    assert world.told == [("a", {"n": 1}, {"n": "restored"})]


def test_fault_033_what_is_written_during_a_list_is_newer_than_it() -> None:
    world = World()
    for name in "cab":
        world.server.set(name, {"n": 1})
    world.watch.turn()
    pages = world.server.pages(MODELS)
    world.shelf.begin()
    world.shelf.page(next(pages).items)
    world.shelf.put(key("a"), world.server.set("a", {"n": 2}))
    world.shelf.put(key("d"), world.server.set("d", {"n": 1}))
    world.shelf.remove(key("b"), "uid-b")
    for page in pages:
        world.shelf.page(page.items)
    world.shelf.listed("103")
    assert world.specs() == {"a": {"n": 2}, "c": {"n": 1}, "d": {"n": 1}}
    assert world.told == []
    world.server.watch_faults = [[event("ADDED", model("b", "103", {"n": 1}))]]
    world.watch.turn()
    assert "b" not in world.specs()


def test_fault_033_the_watch_begins_at_the_lists_own_version() -> None:
    world = World()
    for name in "cab":
        world.server.set(name, {"n": 1})
    world.server.revision = 180
    world.watch.turn()
    assert world.server.calls == ["list", "watch 180"]
    assert world.versions() == {"c": "101", "a": "102", "b": "103"}


WRITES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["set", "set", "delete"])), max_size=8)
STRANGE = st.sampled_from(
    [
        event("ADDED", b'{"kind":"Pod","metadata":{"name":"a","namespace":"default","resourceVersion":"999"}}'),
        event("RENAMED", model("a", "999", {"n": "renamed"})),
        b'{"type":"","object":{}}',
        b"{}",
    ]
)


@given(WRITES, st.data())
def test_fault_034_doubled_reordered_and_unknown_events_change_nothing(
    writes: list[tuple[str, str]], data: st.DataObject
) -> None:
    world = World()
    world.server.set("c", {"n": 1})
    world.watch.turn()
    lives = dict.fromkeys("ab", 0)
    for number, (name, deed) in enumerate(writes):
        if deed == "set":
            lives[name] += name not in world.server.objects
            world.server.set(name, {"n": number}, uid=f"{name}-{lives[name]}")
        elif name in world.server.objects:
            world.server.delete(name)
    lines = [line for _, line in world.server.events[1:]]
    doubled = data.draw(st.lists(st.sampled_from(lines), max_size=4)) if lines else []
    stream = data.draw(st.permutations(lines + doubled + data.draw(st.lists(STRANGE, max_size=2))))
    world.server.watch_faults = [list(stream), list(stream)]
    world.watch.turn()
    want = {name: json.loads(body)["spec"] for name, body in world.server.objects.items()}
    assert world.specs() == want
    told = list(world.told)
    world.watch.turn()
    assert (world.specs(), world.told) == (want, told)


def test_an_event_that_cannot_be_read_lists_again(world: World) -> None:
    world.server.watch_faults = [[b'{"type":"ADDED","object":{"meta']]
    world.server.set("a", {"n": 2})
    world.watch.turn()
    world.watch.turn()
    assert world.server.calls[2:] == ["list", "watch 104"]
    assert world.told == [("a", {"n": 1}, {"n": 2})]


def test_fault_040_nothing_is_read_before_it_was_listed_or_long_after_it_was_heard_of() -> None:
    world = World()
    world.server.set("a", {"n": 1})
    with pytest.raises(ApiUnavailable, match="not listed yet"):
        world.specs()
    world.server.list_faults = [CUT]
    world.watch.turn()
    with pytest.raises(ApiUnavailable, match="not listed yet"):
        world.specs()
    world.watch.turn()
    world.now = STALE_S
    assert world.specs() == {"a": {"n": 1}}
    world.server.watch_faults = [CUT, CUT]
    world.now = STALE_S + 1
    with pytest.raises(ApiUnavailable, match="nothing was heard of them for 121 s"):
        world.specs()
    world.watch.turn()  # the small LIST was answered
    assert world.specs() == {"a": {"n": 1}}


class Refusing(Miniature):
    """Refuses every request while it has something to refuse it with."""

    def __init__(self) -> None:
        super().__init__()
        self.refusal: ReconcilerError | None = None

    def pages(self, resource: Resource, *, limit: int = 500) -> Iterator[Page]:
        if self.refusal is not None:
            raise self.refusal
        return super().pages(resource, limit=limit)


def test_a_kind_that_is_taken_away_is_missing_until_it_is_back() -> None:
    world = World()
    world.server = world.watch._api = server = Refusing()
    server.set("a", {"n": 1})
    world.watch.turn()
    server.refusal = KindMissing("the cluster does not serve inferencemodels")
    for _ in range(3):
        world.watch.turn()
    with pytest.raises(KindMissing, match="does not serve"):
        world.specs()
    assert world.troubles == ["RX414"]
    server.refusal = None
    server.delete("a")
    world.watch.turn()
    assert (world.specs(), world.told, world.troubles) == ({}, [("a", {"n": 1}, None)], ["RX414", ""])


def test_credentials_that_are_refused_are_told_at_once() -> None:
    world = World()
    world.server = world.watch._api = server = Refusing()
    server.refusal = CredentialsRefused("who asks?")
    world.watch.turn()
    assert world.troubles == ["RX306"]
    with pytest.raises(ApiUnavailable, match="not listed yet: who asks"):
        world.specs()


class Streaming(Miniature):
    """A watch goes on until it is ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()
        self.selectors: set[str] = set()

    @contextmanager
    def watch(self, resource: Resource, version: str, *, silence_s: float = 90.0) -> Iterator[Iterator[bytes]]:
        self.selectors.add(f"{resource.kind} {resource.label_selector}")
        yield self._stream(resource)

    def _stream(self, resource: Resource) -> Iterator[bytes]:
        if resource is MODELS:
            yield event("ADDED", model("late", "900"))
        self.ended.wait(30)
        raise ApiUnavailable("ended")

    def end_watches(self) -> None:
        self.ended.set()


def test_a_cache_watches_every_kind_on_a_thread_of_its_own_until_it_is_closed() -> None:
    server, changed = Streaming(), threading.Event()
    kinds = [MODELS, OURS["Edge"]._replace(selector={"ring": "canary"})]
    cache = Cache(
        server,
        kinds,
        manager="reconciler",
        changed=lambda *_: changed.set(),
        trouble=lambda *_: None,
    )
    with pytest.raises(ApiUnavailable, match="not listed yet"):
        cache.get(key("late"))
    cache.start()
    try:
        assert cache.wait(10)
        assert changed.wait(10)
        assert [found.name for found, _ in cache.all("InferenceModel")] == ["late"]
        assert cache.get(key("another")) is None
        cache.put(key("another"), model("another", "901"))
        assert cache.get(key("another")) is not None
        with pytest.raises(ApiUnavailable, match="cannot be read"):
            cache.put(key("another"), b"<html>")
        cache.remove(key("another"), "uid-another")
        assert cache.get(key("another")) is None
    finally:
        cache.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("watch-")] == []
    assert server.selectors == {"InferenceModel ", "Edge ring=canary"}
    cache.close()


def test_waiting_for_a_server_that_is_away_comes_to_an_end() -> None:
    server = Refusing()
    server.refusal = CUT
    cache = Cache(server, [MODELS], manager="reconciler", changed=lambda *_: None, trouble=lambda *_: None)
    cache.start()
    assert not cache.wait(0.01)
    cache.close()


DIGITS = "1" + "0" * 5000  # more than `int` reads


@pytest.mark.parametrize(("version", "than"), [(DIGITS, "7"), (DIGITS + "0", DIGITS), ("10", "9"), ("010", "9")])
def test_versions_of_any_length_are_compared_as_numbers(version: str, than: str) -> None:
    assert (later(version, than), later(than, version)) == (True, False)
    assert (went_back(than, version), went_back(version, than)) == (True, False)


@pytest.mark.parametrize("name", ["a/b", "a@b", ""])
def test_fault_034_a_name_that_no_api_server_has_is_what_cannot_be_read(world: World, name: str) -> None:
    world.server.set(name)
    world.watch.turn()
    world.watch.turn()
    assert set(world.specs()) == set("abc")
    assert world.troubles[-1] == "RX305"
