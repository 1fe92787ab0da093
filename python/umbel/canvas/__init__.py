"""Workflows: signatures of calls, and chains, groups and chords made of them."""

from __future__ import annotations

from umbel.canvas.chain import _chain, chain
from umbel.canvas.chord import chord
from umbel.canvas.chunks import chunks, xmap, xstarmap
from umbel.canvas.group import group
from umbel.canvas.outbox import Outbox
from umbel.canvas.signature import Signature, maybe_signature, signature, subtask
from umbel.canvas.stamping import StampingVisitor

_chord = chord

__all__ = [
    "Outbox",
    "Signature",
    "StampingVisitor",
    "_chain",
    "_chord",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
