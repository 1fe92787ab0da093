"""Tools for the tests of programs that use Umbel."""

from umbel.testing.worker import start_worker

__all__ = ["start_worker"]
