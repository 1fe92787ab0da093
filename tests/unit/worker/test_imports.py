"""What an idle worker has in memory."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["umbel.worker.worker", "umbel.pools.zygote"])
def test_a_worker_carries_nothing_that_only_some_programs_need(module: str) -> None:
    """`_hashlib` brings OpenSSL along: 3 MB in all."""
    heavy = ["_hashlib", "ssl", "asyncio", "kombu", "yaml", "msgpack"]
    script = (
        f"import sys, umbel, {module}\numbel.Umbel('x')\nprint([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
