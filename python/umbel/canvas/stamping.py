"""Stamps: named values that travel with every message of a workflow, and visitors that give them out."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from typing import Any

__all__ = ["StampingVisitor", "merge_stamps"]


class StampingVisitor(metaclass=ABCMeta):
    """Visits every part of a workflow; each method returns the stamps to add, as a dict.

    A dict that names `stamped_headers` stamps only those; its other items become options.
    """

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        """A group, before its members."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027
        """The group, after them."""

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        """A chain, before its steps."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027
        """The chain, after them."""

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """A plain call."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any]:
        """A chord, before the members of its header; a group's start unless it is overridden."""
        return self.on_group_start(sig.header_group(), **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """The chord, after them."""
        self.on_group_end(sig.header_group(), **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        """A chord, before its body."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        """Something that was linked."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        """Something that was linked for errors."""
        return {}


def merge_stamps(
    headers: Mapping[str, Any], found: Mapping[str, Any] | None, append: bool, own: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Stamps from above (`headers`), of a visitor (`found`) and those already there (`own` options), as options.

    `stamped_headers` names them all. Of a name given twice the visitor's value wins over that from above, and either
    over an older one, unless `append` makes lists of them.
    """
    merged = dict(headers)
    names = list(merged.pop("stamped_headers", merged))
    if found:
        more = dict(found)
        names += more.pop("stamped_headers", more)
        for name, value in more.items():
            merged[name] = _both(merged[name], value) if append and name in merged else value
    if own:
        older = own.get("stamped_headers") or ()
        names += older
        for name in older:
            if name in own and name not in merged:
                merged[name] = own[name]
            elif name in own and append:
                merged[name] = _both(merged[name], own[name])
    merged["stamped_headers"] = list(dict.fromkeys(names))
    return merged


def _both(first: Any, second: Any) -> list[Any]:
    found = list(first) if isinstance(first, (list, tuple, set)) else [first]
    for value in second if isinstance(second, (list, tuple, set)) else [second]:
        if value not in found:
            found.append(value)
    return found
