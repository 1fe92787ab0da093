"""Serializers: a registry by name and content type, JSON with registered types."""

from __future__ import annotations

from umbel.serialization.json import register_type
from umbel.serialization.registry import Codec, accepted, by_content_type, by_name, dumps, loads, register, unregister

__all__ = [
    "Codec",
    "accepted",
    "by_content_type",
    "by_name",
    "dumps",
    "loads",
    "register",
    "register_type",
    "unregister",
]
