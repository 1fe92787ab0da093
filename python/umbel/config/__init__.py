"""Settings: one table (`settings`), where they come from (`sources`), and `app.conf` (`conf`)."""

from __future__ import annotations

from umbel.config.conf import DEFAULT_URL, Settings, hide_password
from umbel.config.settings import OLD_NAMES, SETTINGS, Setting
from umbel.config.sources import import_by_name

__all__ = ["DEFAULT_URL", "OLD_NAMES", "SETTINGS", "Setting", "Settings", "hide_password", "import_by_name"]
