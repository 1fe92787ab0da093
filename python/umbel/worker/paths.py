"""File names with marks in them."""

from __future__ import annotations


def expand_path(path: str, hostname: str) -> str:
    """A log or pid file's path with `%n` (name), `%h` (name@host), `%d` (domain) filled in from the node name.

    Children write into the main process's log, so `%i` is 0 and `%I` empty.
    """
    node, _, host = hostname.partition("@")
    short, _, domain = host.partition(".")
    for mark, value in {"%n": node, "%h": hostname, "%d": domain or short, "%i": "0", "%I": ""}.items():
        path = path.replace(mark, value)
    return path


def node_name(given: str | None, host: str) -> str:
    """`celery@host` unless told otherwise; `w1` is `w1@host`.

    `%h` (host), `%n` (its first part) and `%d` (its domain) are filled in.
    """
    short, _, domain = host.partition(".")
    name = given or "celery"
    for mark, value in {"%h": host, "%n": short, "%d": domain or short}.items():
        name = name.replace(mark, value)
    return name if "@" in name else f"{name}@{host}"
