"""One module a peer; each names an application module and the command of its worker."""

from benches.peers import celery_prefork, umbel_prefork, umbel_sqlite, umbel_threads
from benches.peers.base import Peer

PEERS: dict[str, Peer] = {
    peer.name: peer for peer in (umbel_prefork.PEER, umbel_threads.PEER, umbel_sqlite.PEER, celery_prefork.PEER)
}

__all__ = ["PEERS", "Peer"]
