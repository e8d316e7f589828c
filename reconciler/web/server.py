"""The one listener of a hub, put together: its socket, its routes, and what they stand on. Imports all of web.

In: HOST:PORT, then a hub.  Out: a server that answers until it is closed. The address is taken before the hub begins,
so that a port in use is said before anything is done.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.web.api import Site, application
from reconciler.web.counters import Tally
from reconciler.web.guard import Guard
from reconciler.web.live import LiveLog
from reconciler.wiring.listener import ReadyListener, bound, is_loopback, url

if TYPE_CHECKING:
    from reconciler.wiring.hub import HubProcess


class Door:
    """The listener. `open` once, then `end` as soon as the hub is told to stop, and `close` last; from any thread."""

    def __init__(self, listen: str) -> None:
        """Take the address. Raises PortTaken, SettingInvalid."""
        self._socket = bound(listen)
        self._guard: Guard | None = None
        self._site: Site | None = None
        self._listener: ReadyListener | None = None

    def open(self, hub: "HubProcess") -> str:
        """Answer for `hub` from now on; the address, for people. Call it before the hub runs."""
        tally = Tally(has_commit=bool(hub.record.state.ref.commit))
        site = Site(LiveLog(Path(hub.settings.state_dir)), hub.log, tally, hub.vitals, hub.followed)
        hub.log.subscribe(tally.heard)
        hub.log.subscribe(site.bell.heard)
        self._site, self._guard = site, Guard(application(site), loopback=is_loopback(self._socket))
        self._listener = ReadyListener(self._socket, self._guard)
        return url(self._socket)

    def end(self) -> None:
        """Answer 503 from now on, and send away who follows the log."""
        if self._site is not None and self._guard is not None:
            self._guard.ending = True
            self._site.end()

    def close(self) -> None:
        """Listen no more. Idempotent."""
        self.end()
        if self._listener is not None:
            self._listener.close()
        if self._site is not None:
            self._site.live.close()
        self._socket.close()
