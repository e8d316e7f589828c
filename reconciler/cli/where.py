"""Whom a command speaks to: this machine's log, or a hub elsewhere. Light: what it needs is imported when it asks.

In: --state, --hub, --context, --kubeconfig, --namespace.  Out: answers, the same from either. A hub that was named is
never replaced by this machine's log.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.cli.remote import Hub


@dataclass(frozen=True)
class Where:
    """A place to ask. With `context` or `kubeconfig` it is the hub's Pod; with `hub` its address; else a directory.

    actor: on whose behalf, where this command was called by one elsewhere; "" for whoever calls it.
    token_env, token_file: where the token is that a proxy before `hub` wants.
    """

    state_dir: Path
    hub: str = ""
    context: str = ""
    kubeconfig: Path | None = None
    namespace: str = ""
    actor: str = ""
    token_env: str = ""
    token_file: Path | None = None

    @property
    def in_cluster(self) -> bool:
        """Whether the hub is reached through an API server."""
        return bool(self.context or self.kubeconfig)

    @property
    def is_remote(self) -> bool:
        """Whether the hub is elsewhere."""
        return bool(self.hub) or self.in_cluster

    @property
    def _hub(self) -> "Hub":
        from reconciler.cli.remote import Hub, Token

        token = Token(self.token_env, self.token_file)
        return Hub(self.hub, self.context, self.kubeconfig, self.namespace, token)

    def basis(self, said: Mapping[str, str]) -> bytes:
        """What the hub knows, for a plan made here (see `wiring.basis`). Raises WorldUnavailable, AnswerRefused."""
        from reconciler.cli import remote

        return remote.basis(self._hub, said)

    def ask(self, question: str, said: Mapping[str, str | None]) -> Any:
        """The answer to one of `web.answers.QUESTIONS`. Raises what it raised there, and WorldUnavailable."""
        from reconciler.web.answers import QUESTIONS

        words = {name: value for name, value in said.items() if value}
        asked = QUESTIONS[question]
        if self.is_remote:
            from reconciler.cli import remote
            from reconciler.web.document import revived

            return revived(asked.type, remote.document(self._hub, question, words))
        from reconciler.wiring.past import edge_alone, opened

        with opened(self.state_dir, edge_alone(self.state_dir) if question == "why" else "") as past:
            return asked.ask(past, words)

    def records(self, said: Mapping[str, str | None], *, follow: bool) -> Iterator[Any]:
        """The events asked for (see `web.records.Wanted`); with follow, those to come too, for ever."""
        words = {name: value for name, value in said.items() if value}
        if self.is_remote:
            from reconciler.cli import remote
            from reconciler.web.document import revived
            from reconciler.web.records import Record

            lines = remote.lines(self._hub, "history", words | ({"follow": "true"} if follow else {}))
            return (revived(Record, line) for line in lines)
        return self._told_here(words, follow=follow)

    def _told_here(self, words: Mapping[str, str], *, follow: bool) -> Iterator[Any]:
        from reconciler.web.records import LOOK_S, Contents, Wanted, past_records, record
        from reconciler.wiring.past import edge_alone, opened

        with opened(self.state_dir, edge_alone(self.state_dir)) as past:
            wanted = Wanted.of(words, past)
            head = past.log.head().seq
            yield from past_records(past, wanted, head)
            contents = Contents(past.replay.at()) if follow else None
            for entry in past.news(head, LOOK_S) if follow else ():
                if wanted.has(entry):
                    yield record(entry, past.log.find, contents)
