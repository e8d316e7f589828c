"""The cluster's stage for whoever looks and does not stay. In: settings, a log.  Out: source, target."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from reconciler.engine.queue import Queue
from reconciler.engine.recorder import Recorder
from reconciler.history.keys import DECLARE
from reconciler.kube.client.api import Api
from reconciler.kube.client.connection import Connection
from reconciler.kube.watch.uncached import Uncached
from reconciler.kube.write.apply import MANAGER
from reconciler.kube.write.target import ClusterTarget
from reconciler.stages.declare import Declare
from reconciler.stages.git import Repository
from reconciler.wiring.process import Inline


@contextmanager
def looking(settings: Any, repository: Repository, recorder: Recorder) -> Iterator[tuple[Declare, ClusterTarget]]:
    """Source and target that read only what is asked for, and need no Lease. Raises SettingInvalid."""
    opened = Connection.open(kubeconfig=settings.kubeconfig, context=settings.context, in_cluster=settings.in_cluster)
    with closing(opened) as connection:
        api, queue = Api(connection), Queue(recorder.clock)
        target = ClusterTarget(
            api,
            Uncached(api, MANAGER),
            recorder.stage(DECLARE),
            queue.stage(DECLARE),
            fleet=lambda: declare.git.fleet(),  # noqa: PLW0108  # it is made below
            allowed=lambda: None,
            declared=lambda: repository.declared,
        )
        declare = Declare(repository, recorder, queue, Inline(), target)
        yield declare, target
