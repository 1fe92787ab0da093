"""Runs the blocks of one page, in order, in one folder and one namespace; see `blocks` for what each means.

`python -c "import run_page; run_page.main()" PAGE FOLDER`, so that `__main__` is the page's own. Addresses of servers
in the page are replaced by those of the environment variable `PAGE_SERVERS` (JSON: shown to real).
"""

from __future__ import annotations

import ast
import doctest
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import tokenize
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from blocks import Block, Command, blocks_of, commands_of, pattern_of

#: How long a command, a line in a worker's log, and a worker's end may take (seconds).
PATIENCE = 60.0


class ExampleFailed(AssertionError):
    """An example does not do what its page says."""


class PageRun:
    """One page."""

    def __init__(self, folder: Path, namespace: dict[str, Any], servers: Mapping[str, str]) -> None:
        self._folder = folder
        self._namespace = namespace
        self._servers = servers
        self._runs: dict[str, Callable[[Block], None]] = {
            "file": self._write,
            "session": self._session,
            "python": self._python,
            "console": self._console,
            "left-out": lambda block: None,
        }
        self._expected: dict[int, bool] = {}
        self._shell = Shell(folder)
        namespace["_print_as"] = self._print_as

    def run(self, blocks: list[Block]) -> None:
        """All of them, and then ends what still runs. Raises ExampleFailed, and what the examples raise."""
        try:
            for block in blocks:
                self._runs[block.kind](block)
            missed = sorted(line for line, seen in self._expected.items() if not seen)
            if missed:
                raise ExampleFailed(f"nothing was printed in the lines {missed}")
        finally:
            self._shell.end()

    def _text(self, block: Block) -> str:
        text = block.text
        for shown, real in self._servers.items():
            text = text.replace(shown, real)
        return text

    def _write(self, block: Block) -> None:
        path = self._folder / block.name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() + "\n" if block.continued else ""
        path.write_text(before + self._text(block))
        # A reader would start Python anew to see the change.
        sys.modules.pop(block.name.removesuffix(".py").replace("/", "."), None)
        # Else Python might take two versions written in one second for the same.
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()

    def _python(self, block: Block) -> None:
        text = self._text(block)
        tree = ast.parse("\n" * (block.line - 1) + text, str(block.page))
        comments = _comments(text, block.line)
        for node in ast.walk(tree):
            if _is_print(node) and node.end_lineno in comments:
                self._expected[node.lineno] = False
                more = [ast.Constant(node.lineno), ast.Constant(comments[node.end_lineno])]
                node.value.args[:0] = more
                node.value.func = ast.Name("_print_as", ast.Load())
        exec(compile(ast.fix_missing_locations(tree), str(block.page), "exec"), self._namespace)

    def _print_as(self, line: int, expected: str, *values: Any, **options: Any) -> None:
        """Takes the place of a `print` with a comment behind it."""
        written = io.StringIO()
        print(*values, **{**options, "file": written})  # noqa: T201
        self._expected[line] = True
        _compare(written.getvalue(), [expected], f"line {line}")

    def _session(self, block: Block) -> None:
        text = self._text(block)
        test = doctest.DocTestParser().get_doctest(text, {}, block.place, str(block.page), block.line - 1)
        test.globs = self._namespace
        told = io.StringIO()
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        outcome = doctest.DocTestRunner(optionflags=flags).run(test, out=told.write, clear_globs=False)
        if outcome.failed:
            raise ExampleFailed(told.getvalue())

    def _console(self, block: Block) -> None:
        commands = commands_of(Block(block.page, block.line, block.kind, self._text(block)))
        for command in commands:
            self._shell.run(command, f"{block.page.name}:{command.line}")


class Shell:
    """Runs commands in a folder; variables set by one are there in the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self._state = folder.with_suffix(".environment")
        self._workers: list[tuple[subprocess.Popen[bytes], Path, str]] = []

    def run(self, command: Command, place: str) -> None:
        """Raises ExampleFailed."""
        if command.text == "^C":
            self._interrupt(command, place)
        elif command.stays:
            self._start(command, place)
        else:
            self._run(command, place)

    def _run(self, command: Command, place: str) -> None:
        script = f"set -a; trap 'env -0 > \"{self._state}\"' EXIT\n{command.text}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
        )  # fmt: skip
        if done.returncode != command.status:
            raise ExampleFailed(f"{place}: {command.text}: exit status {done.returncode}\n{done.stdout}{self._logs()}")
        pairs = (item.split("=", 1) for item in self._state.read_text().split("\0") if "=" in item)
        self._environment = dict(pairs)  # type: ignore[arg-type]
        if command.output is not None:
            _compare(done.stdout, command.output, f"{place}: {command.text}", self._logs())

    def _start(self, command: Command, place: str) -> None:
        log = self._folder.with_suffix(f".worker{len(self._workers)}.log")
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["bash", "-c", f"exec env {command.text}"], cwd=self._folder, env=self._environment,
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            )  # fmt: skip
        self._workers.append((process, log, place))
        if command.output is not None:
            self._await(command.output, place)

    def _await(self, expected: list[str], place: str) -> None:
        process, log, _ = self._workers[-1]
        pattern = pattern_of(expected)
        deadline = time.monotonic() + PATIENCE
        while not pattern.search(log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                shown = "\n".join(expected)
                raise ExampleFailed(f"{place}: the worker does not say\n{shown}\nbut\n{log.read_text()}")
            time.sleep(0.005)

    def _interrupt(self, command: Command, place: str) -> None:
        self._finish(signal.SIGINT)
        if command.output is not None:
            self._await(command.output, place)

    def _finish(self, number: int) -> None:
        """Ends the last worker that runs."""
        process, log, place = next(entry for entry in reversed(self._workers) if entry[0].poll() is None)
        process.send_signal(number)
        try:
            status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if status:
            raise ExampleFailed(f"{place}: the worker ended with status {status}\n{log.read_text()}")

    def end(self) -> None:
        """Ends all workers."""
        while any(process.poll() is None for process, _, _ in self._workers):
            self._finish(signal.SIGTERM)

    def _logs(self) -> str:
        return "".join(f"\n--- worker of {place}\n{log.read_text()}" for _, log, place in self._workers)


def _is_print(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "print"
    )


def _comments(text: str, first: int) -> dict[int, str]:
    """Line of the page to the comment behind its code."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            found[first + token.start[0] - 1] = token.string.lstrip("# ")
    return found


def _compare(written: str, expected: list[str], place: str, more: str = "") -> None:
    # Colours and the like are for terminals.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", written)
    plain = plain if plain.endswith("\n") else plain + "\n"
    if not pattern_of(expected).fullmatch(plain) and not pattern_of(expected).fullmatch(plain.rstrip("\n") + "\n"):
        shown = "\n".join(expected)
        raise ExampleFailed(f"{place} prints\n{written}\nand not\n{shown}{more}")


def main() -> None:
    """The program."""
    page, folder = Path(sys.argv[1]), Path(sys.argv[2])
    sys.argv[:] = sys.argv[:1]
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    servers = json.loads(os.environ.pop("PAGE_SERVERS", "{}"))
    PageRun(folder, vars(sys.modules["__main__"]), servers).run(blocks_of(page))
