"""A process that wants one Lease and writes while it holds it.

In: a kubeconfig, a namespace, and its stdin, whose end means an orderly end.
Out: on stdout `held N` and `lost`, as the Lease says it.
It asks for a permit before each write and for nothing else, as the hub does: what it sends wrongly shows in the proxy.
"""

import json
import sys
import threading
from pathlib import Path

from reconciler.errors import ReconcilerError
from reconciler.kube.client.api import Api
from reconciler.kube.client.connection import Connection
from reconciler.kube.client.resources import Resource
from reconciler.kube.write.lease import Lease, new_identity

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
DURATION_S, RENEW_S, RETRY_S = 3.0, 2.0, 0.5


def main(kubeconfig: str, namespace: str) -> None:
    connection = Connection.open(kubeconfig=Path(kubeconfig))
    ending = threading.Event()
    lease = Lease(
        Api(connection),
        namespace=namespace,
        name="reconciler",
        identity=new_identity(),
        changed=lambda held, transitions, _: print(f"held {transitions}" if held else "lost", flush=True),
        duration_s=DURATION_S,
        renew_s=RENEW_S,
        retry_s=RETRY_S,
    )
    api = Api(connection, permit=lease.permit)
    writer = threading.Thread(target=write, args=[api, namespace, ending])
    lease.start()
    writer.start()
    sys.stdin.read()
    ending.set()
    writer.join()
    lease.close()
    connection.close()


def write(api: Api, namespace: str, ending: threading.Event) -> None:
    """A write every 10 ms for as long as the process lives; what is not permitted is not sent, and tried again."""
    count = 0
    while not ending.wait(0.01):
        count += 1
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "w"}, "data": {"count": str(count)}}
        try:
            api.apply(CONFIG_MAPS, "w", namespace, json.dumps(document).encode(), manager="writer", force=True)
        except ReconcilerError:
            continue


if __name__ == "__main__":
    main(*sys.argv[1:])
