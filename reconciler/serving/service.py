"""What one runtime serves: at most three versions, one of them in service. May import: loaded, golden, ports, errors.

    standby --activate--> serving --activate--> previous --settle--> freed
                             ^---------- revert ---------'

In: verbs from the control socket, one at a time.  Out: `serving`, read by every request, replaced in one assignment;
a request keeps the version that it began with.
"""

from pathlib import Path
from typing import Any

from reconciler.errors import ProbeFailed, ReconcilerError, RuntimeUnavailable
from reconciler.ports import Answer
from reconciler.serving import golden
from reconciler.serving.loaded import Loaded, check_same_inputs


class Service:
    """The versions of one model in one process. Verbs come from one thread; `serving` may be read from any."""

    def __init__(self, model: str, public: golden.Ask) -> None:
        """public: asks the public endpoint, as a client would."""
        self.model = model
        self.serving: Loaded | None = None
        self._standby: tuple[Loaded, list[golden.Case]] | None = None
        self._previous: Loaded | None = None
        self._flipped = False  # whether `revert` has something to undo; the previous may be nothing at all
        self._public = public

    def load(self, path: Path, version: str, *, allow_signature_change: bool) -> Answer:
        """Load beside what serves and probe it. Raises PreflightRefused, ProbeFailed; nothing is on standby then."""
        self._standby = None  # what was loaded before and not wanted makes room first
        loaded = Loaded(path, version)
        if self.serving is not None and not allow_signature_change:
            check_same_inputs(loaded, self.serving)
        probes = golden.cases(loaded)
        if probes:
            golden.probe(version, probes, loaded.infer)
        else:
            loaded.unproven = golden.unproven(loaded)
        self._standby = loaded, probes
        return self._answer(loaded)

    def activate(self) -> Answer:
        """Serve what is on standby, then probe again through the public endpoint; a failed probe switches back.

        Repeated after success it says what serves. Raises ProbeFailed, RuntimeUnavailable when nothing is loaded.
        """
        if self._standby is None:
            if self._flipped:
                return self._answer(self.serving)
            raise RuntimeUnavailable("nothing is loaded that could be activated", hint="load a version first")
        (loaded, probes), self._standby = self._standby, None
        self._previous, self.serving, self._flipped = self.serving, loaded, True
        try:
            golden.probe(loaded.version, probes, self._public)
        except Exception as error:
            self.revert()  # whatever it was: what served before is known to be good
            if isinstance(error, ReconcilerError) and not isinstance(error, ProbeFailed):
                raise ProbeFailed(f"version {loaded.version} does not answer: {error.message}") from error
            raise
        return self._answer(loaded)

    def revert(self) -> Answer:
        """Serve what served before the last activate, at once. Nothing happens when there is nothing to undo."""
        if self._flipped:
            self.serving, self._previous, self._flipped = self._previous, None, False
        return self._answer(self.serving)

    def settle(self) -> Answer:
        """Let go of what served before."""
        self._previous, self._flipped = None, False
        return self._answer(self.serving)

    def _answer(self, loaded: Loaded | None) -> Answer:
        if loaded is None:
            return Answer(self.model, "", "", ready=False)
        return Answer(self.model, loaded.version, loaded.digest, ready=True, unproven=loaded.unproven)

    def status(self) -> dict[str, Any]:
        """The labels of what serves, stands by and served before."""
        standby = self._standby[0] if self._standby else None
        named = {"serving": self.serving, "standby": standby, "previous": self._previous}
        return {"model": self.model} | {role: each.version if each else "" for role, each in named.items()}
