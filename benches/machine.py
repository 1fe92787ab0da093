"""Facts about the machine, and about what is installed on it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from benches.bench import Bench, Run, python_of
from benches.peers import Peer

_VERSIONS = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    if name == "umbel":
        import umbel
        found[name] = umbel.__version__
    else:
        found[name] = importlib.metadata.version(name)
print(json.dumps(found))
"""


def facts(folder: Path) -> dict[str, Any]:
    """The machine, as a reader of figures needs to know it; `folder` is where the run has its files."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "disk": _filesystem(folder),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(folder: Path) -> str:
    """Kind of the file system that holds a folder."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    around = [(len(point), kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(around)[1] if around else "unknown"


class NotInstalled(Exception):
    """Says why."""


def versions(peer: Peer, run: Run) -> dict[str, str]:
    """Of the peer and what it stands on. Raises NotInstalled."""
    python = python_of(peer)
    if not python.exists():
        raise NotInstalled(f"there is no environment with the suffix {peer.environment!r}")
    environment = Bench(run, peer, run.folder).environment()
    done = subprocess.run(
        [python, "-c", _VERSIONS, *peer.distributions],
        cwd=run.folder, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if done.returncode != 0:
        raise NotInstalled(done.stderr.strip().rpartition("\n")[2])
    found: dict[str, str] = json.loads(done.stdout)
    return found
