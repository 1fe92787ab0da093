"""How the genuine Celery is started."""

from __future__ import annotations

import sys

CELERY = (sys.executable, "-m", "celery")
QUIET = ("--without-mingle", "--without-gossip", "-l", "INFO")
