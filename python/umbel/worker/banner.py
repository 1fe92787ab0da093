"""What a worker shows when it starts."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from umbel._native import __version__
from umbel.config import hide_password

_BOLD, _DIM, _GREEN, _RESET = "\033[1m", "\033[2m", "\033[32m", "\033[0m"
_SHOWN_TASKS = 40


def describe_url(url: str | None, nothing: str) -> str:
    """A broker's or result store's URL without its password; of a SQLite file, where it is."""
    if not url:
        return nothing
    scheme, separator, rest = url.partition(":///")
    if scheme == "sqlite" and separator:
        path = Path("/" + rest if rest.startswith("/") else rest.partition("?")[0])
        return f"{url}  ({path.absolute()})" if not path.is_absolute() else url
    return hide_password(url)


def banner_lines(
    node: str, app: str, broker: str, results: str, concurrency: str, queues: Sequence[str], tasks: Sequence[str]
) -> list[tuple[str, str]]:
    """Label and text of each line; an empty label continues the one before."""
    lines = [("app", app), ("transport", broker), ("results", results), ("concurrency", concurrency)]
    lines += _listed("queues", queues)
    shown = list(tasks[:_SHOWN_TASKS])
    if len(tasks) > _SHOWN_TASKS:
        shown.append(f"... and {len(tasks) - _SHOWN_TASKS} more")
    return [
        ("", node),
        *lines,
        *_listed("tasks", shown or ["none found: are the modules imported? (imports, include)"]),
    ]


def show_banner(lines: Sequence[tuple[str, str]], stream: TextIO | None = None, color: bool | None = None) -> None:
    """Prints them; plain when `stream` is no terminal."""
    out = stream or sys.stdout
    use_color = out.isatty() and "NO_COLOR" not in os.environ if color is None else color
    bold, dim, green, reset = (_BOLD, _DIM, _GREEN, _RESET) if use_color else ("", "", "", "")
    node = lines[0][1]
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    where = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {now}"
    out.write(
        f"\n {green}\\|/{reset}  {bold}{node}{reset}  umbel {__version__}\n  {green}|{reset}   {dim}{where}{reset}\n\n"
    )
    for label, text in lines[1:]:
        out.write(f"  {dim}{label:>11}{reset}  {text}\n")
    out.write("\n")
    out.flush()


def _listed(label: str, items: Sequence[str]) -> list[tuple[str, str]]:
    return [(label if index == 0 else "", item) for index, item in enumerate(items)]
