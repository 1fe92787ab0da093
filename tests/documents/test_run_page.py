"""The harness notices what it is there for."""

from __future__ import annotations

from pathlib import Path

import pytest
from blocks import Block, PageError, blocks_of, commands_of, pattern_of
from test_pages import run_page


def page(folder: Path, text: str) -> Path:
    """A page in which `'''` stands for a fence."""
    path = folder / "page.md"
    path.write_text(text.replace("'''", "```"))
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'''\n$ ls\n'''", "no language"),
        ("'''bash\nls\n'''", "bash"),
        ("'''ini\nx = 1\n'''", "ini"),
        ("~~~py\nx = 1\n~~~", "py"),
        ("'''python\nx = 1\n", "does not end"),
        ("'''console\nls\n'''", "begins with a command"),
        ("    $ ls", "outside of a block"),
        (">>> 1 + 1", "outside of a block"),
        ("<!-- not run: not asked -->\ntext\n'''ini\nx = 1\n'''", "ini"),
    ],
)
def test_no_block_escapes(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PageError, match=said):
        blocks_of(page(tmp_path, text))


def test_kinds_of_blocks(tmp_path: Path) -> None:
    text = (
        "'''python\n# proj/tasks.py\nx = 1\n'''\n* item\n\n  '''python\n  if x:\n      y = 1\n  '''\n"
        "'''python\n>>> 1\n1\n'''\n'''console\n$ ls\n'''\n"
        "<!-- not run: needs a rocket -->\n'''ini\nx\n'''\n'''python\n# proj/tasks.py, continued\ny = 1\n'''\n"
    )
    found = blocks_of(page(tmp_path, text))
    assert [block.kind for block in found] == ["file", "python", "session", "console", "left-out", "file"]
    assert (found[0].name, found[0].continued, found[5].continued) == ("proj/tasks.py", False, True)
    assert found[1].text == "if x:\n    y = 1\n"
    assert found[4].reason == "needs a rocket"


def test_commands() -> None:
    text = "$ umbel -A x worker -l info\n...\nready\n\n$ a \\\n  b\n$ false  # exit status 1\nno\n^C\n"
    found = commands_of(Block(Path("page.md"), 10, "console", text))
    assert [command.text for command in found] == ["umbel -A x worker -l info", "a \\\n  b", "false", "^C"]
    assert [command.output for command in found] == [["...", "ready"], None, ["no"], None]
    assert [(command.stays, command.status, command.line) for command in found] == [
        (True, 0, 10), (False, 0, 14), (False, 1, 16), (False, 0, 18),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "text", "same"),
    [
        (["a", "b"], "a\nb\n", True),
        (["a"], "a\nb\n", False),
        (["a", "..."], "a\nb\nc\n", True),
        (["...", "c"], "a\nb\nc\n", True),
        (["a...c"], "abc\n", True),
        (["a.c"], "abc\n", False),
    ],
)
def test_patterns(expected: list[str], text: str, same: bool) -> None:
    assert bool(pattern_of(expected).fullmatch(text)) == same


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'''python\nassert 1 == 2\n'''", "page.md"),
        ("'''python\nprint(1 + 1)  # 3\n'''", "prints"),
        ("'''python\nif False:\n    print(1)  # 1\n'''", "nothing was printed"),
        ("'''python\n>>> 1 + 1\n3\n'''", "Expected"),
        ("'''console\n$ echo two\nthree\n'''", "prints"),
        ("'''console\n$ false\n'''", "exit status 1"),
        ("'''python\nimport warnings\nwarnings.warn('old')\n'''", "UserWarning"),
        ("'''console\n$ umbel -A nothing worker\nready\n'''", "the worker does not say"),
    ],
)
def test_a_wrong_example_is_noticed(tmp_path: Path, text: str, said: str) -> None:
    done = run_page(page(tmp_path, text), tmp_path, {})
    assert done.returncode == 1
    assert said in done.stdout


def test_blocks_share_folder_names_and_variables(tmp_path: Path) -> None:
    text = (
        "'''python\n# numbers.txt\n7\n'''\n"
        "'''python\nimport pathlib\nn = len(pathlib.Path('numbers.txt').read_text())\nprint(n)  # 16\n'''\n"
        "'''python\n>>> n + 1\n17\n'''\n"
        "'''console\n$ x=$(grep -v '#' numbers.txt)\n$ echo $x\n7\n'''\n"
        "'''python\n# module.py\nvalue = 1\n'''\n'''python\nimport module\nprint(module.value)  # 1\n'''\n"
        "'''python\n# module.py, continued\nvalue = 2\n'''\n'''python\nimport module\nprint(module.value)  # 2\n'''\n"
    )
    done = run_page(page(tmp_path, text), tmp_path, {})
    assert done.returncode == 0, done.stdout
