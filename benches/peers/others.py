"""The other task queues, each as its own documentation sets it up for production on Redis."""

from __future__ import annotations

from benches.peers.peer import Peer

DRAMATIQ = Peer(
    name="dramatiq",
    module="dramatiq_app",
    distributions=("dramatiq", "redis"),
    worker=("{python}", "-m", "dramatiq", "{app}", "--processes", "2", "--threads", "{share}"),
    settings={"pool": "2 processes of 8 threads (its defaults)", "acks": "late", "results": "stored"},
    slots=16,
)
RQ = Peer(
    name="rq",
    module="rq_app",
    distributions=("rq", "redis"),
    worker=(
        "{bin}/rq", "worker-pool", "-u", "{broker}", "-n", "{slots}", "--logging-level", "WARNING", "-q", "bench",
    ),
    settings={"pool": "worker-pool of 2, a process for each job", "acks": "early", "results": "stored"},
    waiting_slots=8,
)  # fmt: skip
HUEY = Peer(
    name="huey",
    module="huey_app",
    distributions=("huey", "redis"),
    worker=("{bin}/huey_consumer", "{app}.huey", "-k", "process", "-w", "{slots}", "-q"),
    waiting_worker=("{bin}/huey_consumer", "{app}.huey", "-k", "thread", "-w", "{slots}", "-q"),
    settings={"pool": "2 processes", "acks": "early", "results": "stored, announced (notify_result)"},
)
TASKIQ = Peer(
    name="taskiq",
    module="taskiq_app",
    distributions=("taskiq", "taskiq-redis", "redis"),
    worker=("{bin}/taskiq", "worker", "{app}:broker", "--workers", "2", "--log-level", "WARNING"),
    settings={
        "pool": "2 processes of 100 coroutines (its defaults)",
        "acks": "late, on streams",
        "results": "stored; asked for every ms (default 200 ms)",
    },
    slots=200,
    waiting_slots=200,
)
ARQ = Peer(
    name="arq",
    module="arq_app",
    distributions=("arq", "redis"),
    worker=("{bin}/arq", "{app}.WorkerSettings"),
    processes=2,
    settings={
        "pool": "2 processes of 10 coroutines (its default), which ask for work every 0.5 s (its default)",
        "acks": "late",
        "results": "stored; asked for every ms (default 500 ms)",
    },
    environment="redis5",
    slots=20,
)
SAQ = Peer(
    name="saq",
    module="saq_app",
    distributions=("saq", "redis"),
    worker=("{bin}/saq", "{app}.settings", "--workers", "2"),
    settings={
        "pool": "2 processes of 10 coroutines (its default)",
        "acks": "late",
        "results": "stored, announced",
        "retries": "3 (a worker that starts may abort tasks that run; by default they are lost then)",
    },
    environment="redis5",
    slots=20,
)
CAULI = Peer(
    name="cauli",
    module="cauli_app",
    distributions=("cauli", "redis"),
    worker=("{bin}/cauli-worker", "-A", "{app}:app", "-c", "{slots}", "--python", "{python}", "--log-level", "warn"),
    settings={
        "pool": "-c 2: threads; children for tasks that compute",
        "acks": "late, on streams",
        "results": "stored",
    },
    far=True,
)
TARSK = Peer(
    name="tarsk",
    module="tarsk_app",
    distributions=("tarsk-redis",),
    worker=("{bin}/tarsk", "worker", "--app", "{app}:app", "--broker", "{broker}", "--children", "2"),
    settings={
        "pool": "2 children of 100 slots (its default)",
        "acks": "late, on streams",
        "results": "stored; asked for every ms (default 50 ms)",
    },
    slots=200,
    waiting_slots=200,
)
