"""Umbel's side of the fleet: default settings."""

from __future__ import annotations

from chaos.tasks import define, settings
from umbel import Umbel

app = Umbel("chaos", changes=settings())
define(app)
