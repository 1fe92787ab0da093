"""Flame graphs."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter

import pytest
from benches.flames import fold_perf, fold_raw, svg

PERF = """umbel-engine
\t    7f01 crate::inner::h0123456789abcdef
\t    7f02 crate::outer
\t    7f03 start thread

umbel-engine
\t    7f01 crate::inner::h0123456789abcdef
\t    7f02 crate::outer
\t    7f03 start thread

umbel-broker
\t    7f09 [unknown]

"""


def test_stacks_of_perf() -> None:
    assert fold_perf(PERF.splitlines()) == {
        ("umbel-engine", "start thread", "crate::outer", "crate::inner"): 2,
        ("umbel-broker", "[unknown]"): 1,
    }
    assert fold_perf([]) == {}


def test_the_last_stack_needs_no_empty_line_after_it() -> None:
    assert fold_perf(PERF.rstrip().splitlines()) == fold_perf(PERF.splitlines())


def test_stacks_of_py_spy() -> None:
    lines = ["main (a.py:1);work <1> (b.py:2) 12", "main (a.py:1) 3", "no count"]
    assert fold_raw(lines) == {("main (a.py:1)", "work <1> (b.py:2)"): 12, ("main (a.py:1)",): 3}


def test_boxes_are_as_wide_as_their_share() -> None:
    picture = ElementTree.fromstring(svg(Counter({("main", "a<b>"): 750, ("main",): 250}), "a & b"))
    boxes = {
        group[0].text: (float(group[1].get("width", 0)), float(group[1].get("y", 0)))
        for group in picture.iter("{http://www.w3.org/2000/svg}g")
    }
    assert boxes["a<b> (750 samples, 75.0%)"][0] == pytest.approx(1200, abs=1)
    assert boxes["main (1,000 samples, 100.0%)"][0] == pytest.approx(1600, abs=1)
    assert boxes["a<b> (750 samples, 75.0%)"][1] < boxes["main (1,000 samples, 100.0%)"][1]


def test_what_cannot_be_seen_is_left_out() -> None:
    assert "tiny" not in svg(Counter({("main",): 99_999, ("tiny",): 1}), "")


def test_nothing_sampled() -> None:
    with pytest.raises(ValueError, match="no sample"):
        svg(Counter(), "")
