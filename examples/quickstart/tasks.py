"""Tasks of the demonstration: hash files, count words block by block, combine the counts.

No broker is named, so Umbel keeps messages and results in `umbel.sqlite3` in the working directory.
"""

import hashlib
import re
from collections import Counter
from itertools import islice
from pathlib import Path

from umbel import Umbel

app = Umbel("quickstart")

WORD = re.compile(r"[A-Za-z_]{3,}")


@app.task
def hash_file(path: str) -> str:
    """SHA-256 of one file, as hex."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@app.task
def count_words(path: str, first: int, last: int) -> dict[str, int]:
    """How often each word occurs in lines `first` to `last` of a file."""
    with open(path, encoding="utf-8", errors="replace") as lines:
        counts = Counter(word.lower() for line in islice(lines, first, last) for word in WORD.findall(line))
    return dict(counts)


@app.task
def combine(parts: list[dict[str, int]]) -> dict[str, int]:
    """The sum of several counts."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)
