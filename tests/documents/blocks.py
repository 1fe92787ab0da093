"""The fenced blocks of a page of documentation, and what is to be done with each.

| a block | is |
| --- | --- |
| `python` that begins with `# name.py` | that file; `# name.py, continued` is added at its end |
| `python` that begins with `>>>` | a session, whose output is compared |
| other `python` | run; what `print` writes is compared with the comment behind it, if there is one |
| `console` | commands after `$`, whose output is compared where some is shown; `^C` ends the last worker |
| any, after `<!-- not run: REASON -->` | left out |

All others are errors. In what is compared, `...` stands for anything, on a line of its own for any lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("**/*.md"))]

Kind = Literal["file", "session", "python", "console", "left-out"]

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<info>.*)$")
_NOT_RUN = re.compile(r"^<!-- not run: (?P<reason>.*\S) -->$")
_FILE = re.compile(r"^# (?P<name>[\w/.-]+\.\w+)(?P<continued>, continued)?$")
#: What looks like an example where none is looked for.
_STRAY = re.compile(r"^\s*(?:\$ |>>> )")


class PageError(Exception):
    """A page is not written as this module says."""


@dataclass(frozen=True)
class Block:
    """One block; `line` is the number of its first line in the page."""

    page: Path
    line: int
    kind: Kind
    text: str
    #: Of a file: its path, and whether it is added to what is there.
    name: str = ""
    continued: bool = False
    #: Of what is left out.
    reason: str = ""

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page.name}:{self.line}"


@dataclass
class _Open:
    fence: str
    indent: int
    language: str
    line: int
    reason: str | None
    lines: list[str]


def blocks_of(page: Path) -> list[Block]:
    """In order. Raises PageError for a block that nobody would run."""
    return list(_blocks(page, page.read_text().splitlines()))


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    current: _Open | None = None
    reason: str | None = None
    for number, line in enumerate(lines, 1):
        found = _FENCE.match(line)
        if current is not None:
            if found and found["fence"].startswith(current.fence) and not found["info"]:
                yield _block(page, current)
                current = None
            else:
                current.lines.append(line[min(current.indent, len(line) - len(line.lstrip(" "))) :])
        elif found:
            current = _Open(found["fence"], len(found["indent"]), found["info"].strip(), number + 1, reason, [])
            reason = None
        elif _STRAY.match(line):
            raise PageError(f"{page.name}:{number}: an example outside of a block: {line.strip()}")
        elif line.strip():
            marked = _NOT_RUN.match(line)
            reason = marked["reason"] if marked else None
    if current is not None:
        raise PageError(f"{page.name}:{current.line}: the block does not end")


def _block(page: Path, found: _Open) -> Block:
    text = "\n".join(found.lines) + "\n"
    if found.reason is not None:
        return Block(page, found.line, "left-out", text, reason=found.reason)
    first = found.lines[0] if found.lines else ""
    if found.language == "python":
        file = _FILE.match(first)
        if file:
            return Block(page, found.line, "file", text, name=file["name"], continued=bool(file["continued"]))
        return Block(page, found.line, "session" if first.startswith(">>>") else "python", text)
    if found.language == "console":
        if not first.startswith(("$ ", "^C")):
            raise PageError(f"{page.name}:{found.line}: a console block begins with a command after '$ '")
        return Block(page, found.line, "console", text)
    raise PageError(
        f"{page.name}:{found.line}: a block of {found.language or 'no language'} is not run; "
        "make it python or console, or write <!-- not run: REASON --> before it"
    )


# --- consoles


@dataclass(frozen=True)
class Command:
    """A command of a console, and what it is to print (None: not shown). `text` is `^C` for that key."""

    line: int
    text: str
    output: list[str] | None
    status: int = 0

    @property
    def stays(self) -> bool:
        """Whether it is a worker, which runs beside what follows."""
        return bool(re.match(r"(\w+=\S+ )*umbel .*\bworker\b", self.text)) and not re.search(
            r"(^| )(-D|--detach|--help)\b", self.text
        )


_STATUS = re.compile(r"\s+# exit status (\d+)$")


def commands_of(block: Block) -> list[Command]:
    """In order; a line that ends with a backslash goes on in the next one."""
    found: list[tuple[int, str, list[str]]] = []
    continued = False
    for offset, line in enumerate(block.text.splitlines()):
        if continued:
            number, text, output = found[-1]
            found[-1] = (number, f"{text}\n{line}", output)
            continued = line.endswith("\\")
        elif line.startswith("$ ") or line == "^C":
            found.append((block.line + offset, line.removeprefix("$ "), []))
            continued = line.endswith("\\")
        else:
            found[-1][2].append(line)
    return [_command(number, text, output) for number, text, output in found]


def _command(line: int, text: str, output: list[str]) -> Command:
    status = _STATUS.search(text)
    while output and not output[-1]:
        output.pop()
    return Command(line, _STATUS.sub("", text), output or None, int(status[1]) if status else 0)


# --- comparing


def pattern_of(expected: list[str]) -> re.Pattern[str]:
    """What matches these lines, with `...` for anything."""
    parts = []
    for line in expected:
        if line.strip() == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(part) for part in line.rstrip().split("...")) + r"[ \t]*\n")
    return re.compile("".join(parts))
