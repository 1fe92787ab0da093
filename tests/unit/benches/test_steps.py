"""The order of a run."""

from __future__ import annotations

from benches.peers import PEERS
from benches.run import arguments, steps
from benches.scenarios import MEASUREMENTS

ALL = list(PEERS.values())


def test_rounds_alternate_and_begin_with_another_peer() -> None:
    peers = [PEERS[name] for name in ("umbel-prefork", "celery-prefork", "cauli")]
    taken = [(number, peer.name) for number, _, peer in steps(peers, [MEASUREMENTS["publish"]], rounds=2)]
    assert taken == [
        (0, "umbel-prefork"),
        (0, "celery-prefork"),
        (0, "cauli"),
        (1, "celery-prefork"),
        (1, "cauli"),
        (1, "umbel-prefork"),
    ]


def test_some_measurements_are_taken_once_and_some_of_some_peers() -> None:
    taken = list(steps(ALL, list(MEASUREMENTS.values()), rounds=3))
    computing = [(number, peer.name) for number, measurement, peer in taken if measurement.name == "compute"]
    assert [number for number, name in computing if name == "umbel-sqlite"] == [0, 1, 2]
    assert [number for number, name in computing if name == "rq"] == [0]
    idle = [number for number, measurement, _ in taken if measurement.name == "footprint"]
    assert idle == [0] * sum(peer.measured is None for peer in ALL)
    rabbit = {peer.name for _, measurement, peer in taken if measurement.name == "publish-8"}
    assert rabbit == {"umbel-rabbitmq", "umbel-pika", "celery-rabbitmq"}
    far = {peer.name for _, measurement, peer in taken if measurement.name == "distance"}
    assert {"umbel-prefork", "umbel-threads", "celery-prefork"} <= far
    assert "umbel-sqlite" not in far


def test_defaults_cover_everything_and_quick_little() -> None:
    everything, quick = arguments([]), arguments(["--quick"])
    assert (everything.peers, everything.scenarios, everything.rounds) == (list(PEERS), list(MEASUREMENTS), 3)
    assert set(quick.peers) < set(PEERS)
    assert quick.rounds == 1
    assert arguments(["--quick", "--rounds", "2"]).rounds == 2
