"""What the gevent and eventlet pools share: children that are patched before they import anything else.

Every process that imports the app is an interpreter of its own, whose first act is to patch the standard library: the
one that describes the app as well as the children, which are therefore not forked from it.
"""

from __future__ import annotations

import importlib.util
import os

from umbel.exceptions import ImproperlyConfigured
from umbel.pools.base import AppSource
from umbel.pools.concurrent import ConcurrentPool


class GreenletPool(ConcurrentPool):
    """Base of the two."""

    #: Statements that patch the standard library.
    patch: str
    #: An environment variable (Celery's) that leaves it as it is.
    unpatched: str

    def __init__(self, source: AppSource) -> None:
        if importlib.util.find_spec(self.name) is None:
            raise ImproperlyConfigured(f"The {self.name} pool needs {self.name}: pip install 'umbel[{self.name}]'")
        if source.path is None:
            raise ImproperlyConfigured(
                f"The {self.name} pool must patch Python before the app is imported, and this program has imported it: "
                f"name the app (umbel -A module worker -P {self.name}), or use pool='threads'"
            )
        super().__init__(source)
        self._spawning = True

    def describe(self) -> str:
        return super().describe().replace(" (spawn)", "")

    def _program(self, module: str, *arguments: str) -> list[str]:
        patch = "" if os.environ.get(self.unpatched) else f"{self.patch}\n"
        return ["-c", f"{patch}from {module} import main; main()", *arguments]
