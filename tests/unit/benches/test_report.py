"""Tables of the benchmarks."""

from __future__ import annotations

import io

import pytest
from benches.failure import PeerFailed
from benches.report import number, print_bars, print_failures, scenario_table
from benches.results import Results
from benches.scenarios import SCENARIOS
from benches.summary import Summary
from rich.console import Console


def shown(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=160, force_terminal=True, color_system="standard", legacy_windows=False)
    console.print(renderable)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


GREEN, RED = "\x1b[32m", "\x1b[31m"


def row(peer: str, text: str) -> str:
    """The row of a peer, without the blanks that align it."""
    return next(line.replace(" ", "") for line in text.splitlines() if line.startswith(f"│ {peer} "))


def test_wins_are_green_and_losses_red() -> None:
    rates = {"umbel-prefork": 100.0, "celery-prefork": 10.0, "cauli": 400.0}
    peers = {name: {"per_second": Summary(rate, rate, rate, 1)} for name, rate in rates.items()}
    text = shown(scenario_table(SCENARIOS["drain"], peers))
    assert f"{GREEN}10x" in row("celery-prefork", text)
    assert f"{RED}0.250x" in row("cauli", text)
    assert "│40x│" in row("cauli", text)


def test_less_is_better_for_times() -> None:
    peers = {name: {"p50": Summary(time, time, time, 1)} for name, time in {"umbel-prefork": 0.5, "huey": 1.0}.items()}
    assert f"{GREEN}2x" in row("huey", shown(scenario_table(SCENARIOS["round-trip"], peers)))


def test_the_spread_is_shown_where_there_is_one() -> None:
    peers = {"umbel-prefork": {"per_second": Summary(100.0, 90.0, 120.0, 3)}}
    text = shown(scenario_table(SCENARIOS["publish"], peers))
    assert "(90 - 120)" in text


@pytest.mark.parametrize(
    ("value", "text"), [(123456.7, "123,457"), (42.26, "42.3"), (4.224, "4.22"), (0.2468, "0.247"), (3.0, "3")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_failures_and_bars() -> None:
    results = Results({}, failures={("rq", "drain"): PeerFailed("too slow", "worker.log:\nthe [last] line")})
    console = Console(file=io.StringIO(), width=160)
    print_failures(console, results)
    print_bars(console, results)
    output = console.file
    assert isinstance(output, io.StringIO)
    assert "rq failed at drain: too slow" in output.getvalue()
    assert "the [last] line" in output.getvalue()
    assert "expect" not in output.getvalue(), "nothing was measured that could be judged"
    results.add("umbel-sqlite", {"round-trip": {"p50": 3.0}})
    print_bars(console, results)
    lines = output.getvalue().splitlines()
    assert any("SQLite: round trip p50" in line and "missed" in line for line in lines)
    assert any("publish one by one" in line and "not measured" in line for line in lines)
