"""The status of our objects in the API server: a projection of the log. May import: history. Pure.

In: State, an object of the API server as it was seen last, and what stands beside the log (`Around`).  Out: its status,
or None where nothing is known but that it was applied: a mere apply is told by the object itself. Summaries with
absolute times only; what is large stays in the log, whose sequence number is named.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from reconciler.history import conditions as said
from reconciler.history.conditions import Verdict, conditions
from reconciler.history.keys import DECLARE, DELIVER, Key
from reconciler.history.standing import FAILING, WAITS, Standing, Standings, lets_stand, tally
from reconciler.history.state import Served, State, suspended_by
from reconciler.history.status import standings
from reconciler.history.summed import dataset_counts, delivery, edge_counts, members_told, model_counts, set_counts
from reconciler.history.timeline import drift_words, stays_words
from reconciler.history.times import shown
from reconciler.model.identity import COMMIT, SERVICE


class Seen(Protocol):
    """An object as the watch cache has it."""

    @property
    def generation(self) -> int:
        """metadata.generation."""
        ...

    @property
    def annotations(self) -> Mapping[str, str]:
        """Ours."""
        ...

    @property
    def spec(self) -> Mapping[str, Any]:
        """As it is there."""
        ...

    @property
    def status(self) -> Mapping[str, Any]:
        """What stands there now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a status needs beside the log.

    now: RFC 3339 UTC.  branch: that is followed.  from_git: whether it is from Git, where only that has a meaning.
    members: of a set, the objects that it makes; of a Model, those that use it; of an Edge or a Dataset, the keys of
    what an edge is given. An InferenceModel's own are its keys on edges.
    problems: of its document.  suspended: {actor, reason, until} where it is not to be changed.
    frozen_until: the end of the freeze that holds now.  handled: the request to look at it that was answered last.
    beside: what further stages say of it, by the type of the condition.
    standings: of what this log keeps in the cluster; None: they are worked out.
    """

    now: str
    branch: str = "main"
    from_git: bool = True
    members: Collection[str] = ()
    problems: Sequence[Mapping[str, Any]] = ()
    suspended: Mapping[str, str] = field(default_factory=dict)
    frozen_until: str = ""
    handled: str = ""
    beside: Mapping[str, Verdict] = field(default_factory=dict)
    standings: Standings | None = None


def published(facts_of: "FactsOf", key: Key, state: State, seen: Seen, around: Around) -> dict[str, Any] | None:
    """The status of an object; None: write nothing. facts_of: what is said of its kind."""
    facts, verdict = facts_of(key, state, seen, around)
    verdict = _beside(key, state, around, verdict)
    if verdict is None:
        if not (seen.status or around.handled or around.beside):
            return None
        as_git = "as Git says; " if state.stage(DECLARE).known(key).operation else ""  # one made by hand is as it is
        verdict = Verdict(said.UNKNOWN, said.APPLIED, f"{as_git}nothing was heard of it from an edge")
    commit, now = seen.annotations.get(COMMIT, ""), _seconds(around.now)
    before = seen.status.get("conditions", ())
    status = {
        "conditions": conditions(verdict, seen.generation, before, now, around.beside),
        "observedGeneration": seen.generation,
        "lastAppliedRevision": _revision(around.branch, commit) if around.from_git else "",
        "lastHandledReconcileAt": around.handled,
    }
    return _present(status | facts)


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says nothing."""
    return {name: value for name, value in fields.items() if value not in ("", None, {}, [])}


def _revision(branch: str, commit: str) -> str:
    return f"{branch}@sha1:{commit}" if commit else ""


def _seconds(time: str) -> str:
    return f"{time[:19]}Z"


# ── what matters more than what an edge says ──────────────────────────────────────────────────────────────────────────


def _beside(key: Key, state: State, around: Around, verdict: Verdict | None) -> Verdict | None:
    served = state.stage(DECLARE).known(key)
    if not around.from_git:
        return Verdict(said.FALSE, said.NOT_FROM_GIT, _not_from_git(key), stuck=True)
    wrong = [problem for problem in around.problems if problem.get("severity", "error") == "error"]
    if wrong:
        return Verdict(said.FALSE, said.BUILD_FAILED, _problem(wrong, state), stuck=True)
    if served.phase == "Rejected" and not served.open:
        return _refused(state, served)
    if served.fought > around.now:
        return Verdict(said.FALSE, said.CONFLICT, _fought(served), stuck=True)
    base = verdict or Verdict(said.UNKNOWN, said.APPLIED, "")
    is_pending = str(key) in state.stage(DECLARE).waits
    if around.suspended and not base.stuck and not is_pending:
        return Verdict(base.ready, said.SUSPENDED, _suspended(around.suspended, base.message))
    standing = _standing(key, state, around)
    if standing.word != WAITS or served.open or base.stuck:
        return verdict
    if is_pending:
        return Verdict(said.FALSE, said.SUSPENDED, _waiting(key, state, standing), going=True)
    if served.drift and lets_stand(served):
        message = (
            f"{drift_words(served.drift)}; a drift rule of the Fleet lets it stand, since {shown(served.drift['time'])}"
        )
        return Verdict(said.FALSE, said.DRIFT_REPORTED, message)
    if stays_words(served.live, declared=True):
        return Verdict(said.FALSE, said.CONFLICT, f"{standing.why}; {standing.ends}")
    return verdict


def _standing(key: Key, state: State, around: Around) -> Standing:
    known = around.standings or standings(state, DECLARE, around.now)
    return known.of(key, state.stage(DECLARE).known(key))


def _waiting(key: Key, state: State, standing: Standing) -> str:
    """That a change of it waits, and which."""
    wish = state.stage(DECLARE).wish(key)
    git = f"; Git says {wish.version} ({wish.origin})" if wish.version else ""
    return f"a change of it waits: {standing.why[:512]}{git}"


def _not_from_git(key: Key) -> str:
    place = f" --namespace {key.namespace}" if key.namespace else ""
    delete = f"kubectl delete {key.kind.lower()} {key.name}{place}"
    return f"it was not made from Git, so nothing follows from it; declare it in the repository, or `{delete}`"


def _problem(wrong: Sequence[Mapping[str, Any]], state: State) -> str:
    first = wrong[0]
    commit = f"@{state.ref.commit[:12]}" if state.ref.commit else ""
    place = f"{first.get('path', '')}:{first.get('line', 1)}{commit}"
    fix = f"; {first['help']}" if first.get("help") else ""
    more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return f"{place}: {first['code']}: {first['message']}{fix}{more}; `reconciler explain {first['code']}`"


def _refused(state: State, served: Served) -> Verdict:
    """The API server refused what was ordered, and would again."""
    commit = f"@{state.ref.commit[:12]}" if served.ordered_seq > state.ref.seq and state.ref.commit else ""
    place = f"{served.origin}{commit}: " if served.origin else ""
    reason = said.CONFLICT if served.code == "RX412" else said.FAILED
    message = f"{place}{served.code}: {served.message}; `reconciler explain {served.code}`"
    return Verdict(said.FALSE, reason, message, stuck=True)


def _fought(served: Served) -> str:
    fields = ", ".join(str(one["field"]) for one in served.drift.get("fields", ())[:3])
    over = f" ({fields})" if fields else ""
    return (
        f"{served.message}{over}: left as it is until {shown(served.fought)}; stop one of the two, or add a drift rule"
    )


def _suspended(why: Mapping[str, str], otherwise: str) -> str:
    return "; ".join(filter(None, (suspended_by(why), otherwise)))


# ── kind by kind ──────────────────────────────────────────────────────────────────────────────────────────────────────

Facts = tuple[dict[str, Any], Verdict | None]
FactsOf = Callable[[Key, State, Seen, Around], Facts]


def nothing(key: Key, state: State, seen: Seen, around: Around) -> Facts:  # noqa: ARG001  # all take the same
    """Of what no edge says anything."""
    return {}, None


def of_service(key: Key, state: State, seen: Seen, around: Around) -> Facts:  # noqa: ARG001
    """What its edge said. Of several edges, while it moves, the one that was ordered last."""
    keys = state.stage(DELIVER).keys
    on_edges = [(keys[text], Key.parse(text).edge) for text in around.members if text in keys]
    suspended = {"suspended": _present(around.suspended)}
    if not on_edges:
        return suspended, None
    served, edge = max(on_edges, key=lambda one: one[0].ordered_seq)
    wanted = str(served.order.get("version", ""))
    facts = {
        "url": "" if served.phase == "Degraded" else str(served.live.get("url", "")),
        "servingVersion": str(served.live.get("version", "")),
        "wantedVersion": wanted,
        "edge": edge,
        "phase": served.phase,
        "since": served.phase_time,
        **suspended,
    }
    verdict = delivery(served, edge, state.edges.get(edge))
    asked = str(seen.spec.get("targetVersion", ""))
    if asked and asked != wanted and verdict.ready == said.TRUE:  # what is ready is of an older generation
        message = f"version {asked} is still to be ordered on {edge}, which serves {wanted}"
        return facts | {"wantedVersion": asked}, Verdict(said.FALSE, said.PROGRESSING, message, going=True)
    return facts, verdict


def of_set(key: Key, state: State, seen: Seen, around: Around) -> Facts:  # noqa: ARG001
    """What its edges have of it, counted; where no edge is told anything, what it makes."""
    counts, failures = set_counts(state, around.members)
    given = any(text in state.stage(DELIVER).keys for text in around.members)
    ready, what = (counts["ready"], "edges") if given else (counts["updated"], f"{SERVICE} objects")
    return {"edges": counts}, members_told(counts["desired"], ready, counts["failed"], failures, what)


def of_model(key: Key, state: State, seen: Seen, around: Around) -> Facts:  # noqa: ARG001
    """Who uses it, and how far its versions are spread."""
    versions = len(seen.spec.get("versions", ()))
    users = len({text.partition("@")[0] for text in around.members})
    edges, in_use = model_counts(state, around.members)
    told = ", ".join((_many(versions, "version"), _many(users, "user"), f"{_many(edges, 'edge')} serve it"))
    facts = {"versions": versions, "users": users, "edges": edges, "inUse": in_use}
    return facts, Verdict(said.TRUE, said.SUCCEEDED, told)


def of_dataset(key: Key, state: State, seen: Seen, around: Around) -> Facts:
    """What its edges have of it, counted; where none is told anything, it is metadata that is as Git says."""
    if not any(text in state.stage(DELIVER).keys for text in around.members):
        return {}, _mirrored(key, state)
    counts, version, failures = dataset_counts(state, around.members)
    facts = {"versions": len(seen.spec.get("versions", ())), "servedVersion": version, "edges": counts}
    desired = counts["bytes"] + counts["metadata"]
    return facts, members_told(desired, counts["ready"], len(failures), failures, "edges")


def _mirrored(key: Key, state: State) -> Verdict | None:
    """Of what stands in the cluster to be read there, whether it is as it was ordered; None where nothing was."""
    served = state.stage(DECLARE).known(key)
    if not served.operation or served.open or served.phase != "Committed":
        return None
    return Verdict(said.TRUE, said.SUCCEEDED, "as Git says; nothing was heard of it from an edge")


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def of_edge(key: Key, state: State, seen: Seen, around: Around) -> Facts:  # noqa: ARG001
    """Whether it is there, and what it serves."""
    heard = state.edges.get(key.name)
    if heard is None and not any(text in state.stage(DELIVER).keys for text in around.members):
        return {}, _mirrored(key, state)
    wanted, serving, failures = edge_counts(state, around.members)
    facts: dict[str, Any] = {"models": {"wanted": wanted, "serving": serving}}
    if heard is None:
        return facts | {"present": False}, Verdict(said.UNKNOWN, said.DEPENDENCY, "the edge was never heard")
    facts |= {"present": heard.present, "since": heard.since, "lastHeard": heard.last_time}
    if not heard.present:
        why = f": {heard.error}" if heard.error else ""
        message = f"unknown since {shown(heard.since)} (last event {heard.last_sequence}){why}"
        return facts, Verdict(said.UNKNOWN, said.DEPENDENCY, message)
    return facts, members_told(wanted, serving, len(failures), failures, "models")


def of_fleet(key: Key, state: State, seen: Seen, around: Around) -> Facts:  # noqa: ARG001
    """How far the repository is carried out, by the same count as `status`."""
    ref, mine = state.ref, state.stage(DECLARE)
    held = mine.held_plan
    problems = [one for one in state.all_problems if one.get("severity", "error") == "error"]
    ours = {text: served for text, served in mine.keys.items() if served.operation}
    known = around.standings or standings(state, DECLARE, around.now)
    every = {text: known.of_object(text, served) for text, served in ours.items()}
    every |= {text: known.of_object(text, mine.known(text)) for text in mine.waits}
    plan = {"digest": held.digest, "reason": held.reason[:512], "counts": held.counts} if held is not None else {}
    is_done = not mine.to_begin and not mine.waits and not any(_is_to_do(served) for served in ours.values())
    applied = _revision(around.branch, ref.accepted) if is_done else str(seen.status.get("lastAppliedRevision", ""))
    facts = {
        "lastAttemptedRevision": _revision(around.branch, ref.commit),
        "lastAppliedRevision": applied,
        "commit": ref.accepted[:12],
        "objects": len(ours),
        "problems": len(problems),
        "heldPlan": plan,
        "frozenUntil": around.frozen_until,
        "suspended": _present(around.suspended),
    }
    return facts, _of_all(state, around, every, problems)


def _is_to_do(served: Served) -> bool:
    """Whether what was ordered last was not done, or not well."""
    return served.open or served.phase != "Committed"


def _of_all(
    state: State, around: Around, every: Mapping[str, Standing], problems: Sequence[Mapping[str, Any]]
) -> Verdict:
    """The verdict on all that Git declares. every: the standings, by key."""
    ref, mine, counts = state.ref, state.stage(DECLARE), tally(every.values())
    held = mine.held_plan
    if ref.lost:
        message = f"the branch cannot be read since {shown(ref.lost_since)}: {ref.lost}"
        return Verdict(said.FALSE, said.DEPENDENCY, message, going=True)
    if held is not None:
        message = f"plan {held.digest} waits for a person: {held.reason[:512]}; `reconciler approve {held.digest}`"
        return Verdict(said.FALSE, said.PLAN_HELD, message, stuck=True)
    if problems:
        return Verdict(said.FALSE, said.BUILD_FAILED, _problem(problems, state), stuck=True)
    if counts[FAILING]:
        message = f"{counts[FAILING]} of {len(every)} objects are refused; `reconciler status`"
        return Verdict(said.FALSE, said.FAILED, message, stuck=True)
    fought = sum(mine.known(text).fought > around.now for text in every)
    if fought:
        message = f"{fought} of {len(every)} objects are fought over with other writers; `reconciler status`"
        return Verdict(said.FALSE, said.CONFLICT, message, stuck=True)
    if counts[WAITS]:
        first = next(one for one in every.values() if one.word == WAITS)
        message = f"{counts[WAITS]} of {len(every)} objects wait: {first.why[:512]}; `reconciler status`"
        drifted = any(mine.known(text).drift for text in every)
        return Verdict(said.FALSE, said.DRIFT_REPORTED if drifted and not mine.waits else said.SUSPENDED, message)
    if around.frozen_until:
        return Verdict(said.TRUE, said.SUSPENDED, f"frozen until {shown(around.frozen_until)}")
    if not ref.accepted:
        return Verdict(said.UNKNOWN, said.PROGRESSING, "no commit was accepted yet", going=True)
    return Verdict(said.TRUE, said.SUCCEEDED, f"{len(every)} objects are as commit {ref.accepted[:12]} says")
