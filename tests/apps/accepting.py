"""`basic` with all serializers accepted, for tests of serializers."""

from __future__ import annotations

from apps.basic import build

app = build(accept_content=["json", "msgpack", "yaml", "pickle"])
