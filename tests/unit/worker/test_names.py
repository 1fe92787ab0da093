"""Node names and the marks in file names."""

from __future__ import annotations

import pytest

from umbel.worker.paths import expand_path, node_name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (None, "celery@box.example.org"),
        ("w1", "w1@box.example.org"),
        ("w1@%h", "w1@box.example.org"),
        ("w1@%n", "w1@box"),
        ("%n-mail@%d", "box-mail@example.org"),
        ("w1@elsewhere", "w1@elsewhere"),
    ],
)
def test_node_name(given: str | None, name: str) -> None:
    assert node_name(given, "box.example.org") == name


def test_a_host_without_a_domain() -> None:
    assert node_name("%d", "box") == "box@box"


def test_file_names() -> None:
    assert expand_path("/log/%n%I.log", "w1@box.example.org") == "/log/w1.log"
    assert expand_path("/log/%h-%d-%i", "w1@box.example.org") == "/log/w1@box.example.org-example.org-0"
