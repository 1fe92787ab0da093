"""The documents name files that exist, and the README's first commands are real targets."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from celery import exceptions as celery_exceptions
from celery import signals
from celery.app import defaults as celery_defaults
from celery.utils.dispatch import Signal

PROJECT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "benches/**/*.md", "tests/wire/*.md")
    for path in sorted(PROJECT.glob(pattern))
]
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
CODE_PATH = re.compile(r"`((?:rust|python|tests|docs|examples|benches|scripts)/[^`\s]*)`")


def expanded(path: str) -> list[str]:
    """`a/{b,c}` as both paths."""
    found = re.search(r"\{([^}]*)\}", path)
    if not found:
        return [path]
    return [path[: found.start()] + part + path[found.end() :] for part in found.group(1).split(",")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_named_paths_exist(document: Path) -> None:
    text = document.read_text()
    linked = [document.parent / target for target in LINK.findall(text)]
    named = [PROJECT / path for code in CODE_PATH.findall(text) for path in expanded(code)]
    missing = [str(path) for path in linked + named if not list(path.parent.glob(path.name))]
    assert not missing


def anchors(document: Path) -> set[str]:
    """What a page's headings can be linked by, as GitHub makes it of them."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_linked_headings_exist(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", document.read_text())
    missing = [
        f"{target}#{anchor}"
        for target, anchor in links
        if anchor not in anchors(document.parent / target if target else document)
    ]
    assert not missing


def test_readme_starts_with_targets_of_the_makefile() -> None:
    commands = re.findall(r"^\$ make ([a-z-]+)", (PROJECT / "README.md").read_text(), re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert commands[:2] == ["quickstart", "test"]
    assert set(commands) <= set(targets)


PARITY = PROJECT / "docs" / "celery-parity.md"


@pytest.mark.parametrize("script", ["settings-table", "parity-table"])
def test_the_tables_of_the_parity_page_are_as_their_scripts_print_them(script: str) -> None:
    command = [sys.executable, PROJECT / "scripts" / script]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed in PARITY.read_text(), f"run scripts/{script} --write"


def test_the_parity_page_names_every_setting_signal_and_exception_of_celery() -> None:
    names = {f"`{name}`" for name in celery_defaults.DEFAULTS}
    names |= {f"`celery.signals.{name}`" for name, value in vars(signals).items() if isinstance(value, Signal)}
    names |= {f"`celery.exceptions.{name}`" for name in celery_exceptions.__all__}
    page = PARITY.read_text()
    assert len(names) > 200
    assert not {name for name in names if name not in page}
