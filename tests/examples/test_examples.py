"""The example programs run to their end."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_quickstart_counts_and_stops_its_worker() -> None:
    ran = subprocess.run(
        [sys.executable, EXAMPLES / "quickstart" / "run.py", "--files", "20"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "20 files hashed" in ran.stdout
    assert "worker stopped with exit code 0" in ran.stdout
