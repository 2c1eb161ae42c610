"""The server of one process as a deployment on Ray Serve: the same application in each replica.

Ray Serve takes the callers in, gives each to the less busy of two replicas, and starts a lost one
again. Knows no models: a replica is whatever application it is told to make.
"""

import time
from collections.abc import Callable

from starlette.applications import Starlette

from mamtra_cli.errors import ClusterError
from mamtra_cli.ray_pool import Cluster, connected, seats_on

NAME = "mamtra"
STARTING = 600.0  # seconds in which a first replica must be there: a model may have to be fetched


def serve_replicas(
    cluster: Cluster,
    make: Callable[[int], Starlette],
    *,
    host: str,
    port: int,
    most: int,
    ready: Callable[[], None],
) -> None:
    """Serve until interrupted.

    Args:
        cluster: where; its workers are the replicas.
        make: given its threads, makes the application in a replica.
        host, port: where callers come to.
        most: callers of one replica at once; more wait in line before it.
        ready: called once callers may come.

    Raises:
        ClusterError: Ray cannot be reached, or no replica starts.
    """
    with connected(cluster.address, part="serve") as ray:
        from ray import serve

        seats = seats_on(cluster, ray.cluster_resources())
        threads = seats.threads
        deployment = serve.deployment(
            serve.ingress(lambda: make(threads))(),
            name=NAME,
            num_replicas=seats.workers,
            max_ongoing_requests=most,
            ray_actor_options={"num_cpus": threads, "num_gpus": seats.gpus},
        )
        serve.start(http_options={"host": host, "port": port})
        try:
            serve.run(deployment.bind(), name=NAME, route_prefix="/")
        except RuntimeError as error:
            serve.shutdown()
            raise ClusterError(f"no replica started: {error}") from error
        try:
            ready()
            while True:
                time.sleep(3600)
        finally:
            serve.shutdown()
