"""Flame graphs: folded stacks in, one SVG out.

A box is a function, its width the share of samples in which it was on the stack; what called it is below. Boxes under a
thousandth of the whole are left out. The full name shows when the pointer rests on a box.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

_WIDTH, _ROW, _MARGIN = 1600.0, 17, 34
_LEAST = 0.001
_CHARACTER = 6.2
#: Rust's `::h0123456789abcdef` at the end of a mangled name.
_HASH = re.compile(r"::h[0-9a-f]{16}$")

Stack = tuple[str, ...]


def fold_perf(lines: Iterable[str]) -> Counter[Stack]:
    """Stacks, outermost first, of what `perf script -F comm,ip,sym` prints; threads are the outermost frames."""
    folded: Counter[Stack] = Counter()
    thread: str | None = None
    frames: list[str] = []

    def end() -> None:
        if thread is not None:
            stack = (thread, *reversed(frames))
            folded[stack] += 1

    for line in lines:
        if not line.strip():
            end()
            thread, frames = None, []
        elif line[0].isspace():
            name = line.split(maxsplit=1)[1].strip() if len(line.split(maxsplit=1)) > 1 else ""
            frames.append(_HASH.sub("", name) or "[unknown]")
        else:
            end()
            thread, frames = line.strip(), []
    end()
    return folded


def fold_raw(lines: Iterable[str]) -> Counter[Stack]:
    """Stacks of lines such as `outer;inner 12`, as py-spy writes them. Others are skipped."""
    folded: Counter[Stack] = Counter()
    for line in lines:
        names, _, count = line.rstrip().rpartition(" ")
        if names and count.isdigit():
            folded[tuple(names.split(";"))] += int(count)
    return folded


@dataclass
class _Frame:
    name: str
    samples: int = 0
    callees: dict[str, _Frame] = field(default_factory=dict)

    def depth(self, least: float) -> int:
        callees = (callee.depth(least) for callee in self.callees.values() if callee.samples >= least)
        return 1 + max(callees, default=0)


def svg(folded: Counter[Stack], title: str) -> str:
    """The picture. Raises ValueError without a sample."""
    root = _tree(folded)
    if not root.samples:
        raise ValueError("there is no sample: was the process at work?")
    least = root.samples * _LEAST
    height = _MARGIN + root.depth(least) * _ROW + 10
    boxes: list[str] = []
    _draw(root, 0.0, height - 10 - _ROW, root.samples, least, boxes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH:.0f}" height="{height}" '
        'font-family="monospace" font-size="10">\n'
        '<rect width="100%" height="100%" fill="#fbfaf7"/>\n'
        f'<text x="8" y="20" font-size="14">{escape(title)}: {root.samples:,} samples</text>\n'
        + "\n".join(boxes)
        + "\n</svg>\n"
    )


def _tree(folded: Counter[Stack]) -> _Frame:
    root = _Frame("all")
    for stack, samples in folded.items():
        root.samples += samples
        frame = root
        for name in stack:
            frame = frame.callees.setdefault(name, _Frame(name))
            frame.samples += samples
    return root


def _draw(frame: _Frame, left: float, top: float, whole: int, least: float, boxes: list[str]) -> None:
    width = frame.samples / whole * _WIDTH
    share = f"{frame.samples / whole:.1%}"
    name = escape(frame.name)
    letters = int((width - 4) / _CHARACTER)
    shown = name if len(frame.name) <= letters else escape(frame.name[: max(0, letters - 1)]) + "…"
    text = f'<text x="{left + 2:.1f}" y="{top + 12:.0f}">{shown}</text>' if letters >= 3 else ""
    boxes.append(
        f'<g><title>{name} ({frame.samples:,} samples, {share})</title><rect x="{left:.1f}" y="{top:.0f}" '
        f'width="{max(width - 0.4, 0.2):.1f}" height="{_ROW - 1}" fill="{_colour(frame.name)}"/>{text}</g>'
    )
    for callee in sorted(frame.callees.values(), key=lambda callee: callee.name):
        if callee.samples >= least:
            _draw(callee, left, top - _ROW, whole, least, boxes)
        left += callee.samples / whole * _WIDTH


def _colour(name: str) -> str:
    """Warm for code, the same for the same name; cool for the kernel and what has no name."""
    shade = zlib.crc32(name.encode())
    if name.startswith("[") or name.endswith("_[k]"):
        return f"hsl(210,30%,{72 + shade % 14}%)"
    return f"hsl({10 + shade % 40},{60 + shade // 64 % 25}%,{66 + shade // 4096 % 12}%)"
