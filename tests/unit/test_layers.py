"""Arrows point one way: modules and crates use only what is below them, and nothing goes round in a circle."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "umbel"

#: Lowest first. A module imports from the rows above its own, and from its own row to the left of itself.
ROWS = [
    ["_native"],
    ["exceptions", "states", "_interfaces", "_current"],
    ["config"],
    ["signals", "logs", "serialization", "routing", "schedules", "utils"],
    ["brokers"],
    ["backends"],
    ["result"],
    ["canvas"],
    ["task", "execution"],
    ["app"],
    # The package itself: the names users import.
    ["__init__"],
    ["events", "pools"],
    ["worker", "beat"],
    ["testing", "dashboard"],
    ["cli", "contrib"],
    ["__main__"],
]
RANK = {name: (row, column) for row, names in enumerate(ROWS) for column, name in enumerate(names)}

#: Lowest first; each uses only those before it. The test kit is for tests and benchmarks.
CRATES = [
    "umbel-protocol",
    "umbel-net",
    "umbel-amqp",
    "umbel-broker",
    "umbel-backend",
    "umbel-conformance",
    "umbel-client",
    "umbel-worker",
    "umbel-python",
]
TESTKIT = "umbel-testkit"
FUZZER = "umbel-fuzz"


class Import:
    """One import of a module of the package. `typing_only`: under `if TYPE_CHECKING`."""

    def __init__(self, target: str, line: int, typing_only: bool) -> None:
        self.target, self.line, self.typing_only = target, line, typing_only


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))} | {"_native": PACKAGE / "_native.pyi"}


def imports(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            target = resolve(name)
            if target is not None:
                yield Import(target, node.lineno, id(node) in typing_only)


def resolve(name: str) -> str | None:
    """The module of the package that a dotted name leads to; None for other packages."""
    if name != "umbel" and not name.startswith("umbel."):
        return None
    inner = name.removeprefix("umbel").removeprefix(".")
    while inner and inner not in MODULES:
        inner = inner.rpartition(".")[0]
    return inner or "__init__"


GRAPH = {module: list(imports(path)) for module, path in MODULES.items() if module != "_native"}


def test_every_module_has_its_place() -> None:
    assert {module.partition(".")[0] for module in MODULES} <= set(RANK)


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_imports_point_down(module: str) -> None:
    own = module.partition(".")[0]
    for found in GRAPH[module]:
        target = found.target.partition(".")[0]
        assert target == own or RANK[target] < RANK[own], (
            f"{module}:{found.line} imports {found.target}, which is above"
        )


def cycle(graph: dict[str, list[str]]) -> list[str] | None:
    """One cycle of a graph, or None."""
    done: set[str] = set()
    path: list[str] = []

    def visit(node: str) -> list[str] | None:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        path.append(node)
        for target in graph.get(node, ()):
            found = visit(target)
            if found:
                return found
        path.pop()
        done.add(node)
        return None

    return next((found for node in sorted(graph) if (found := visit(node))), None)


def test_no_cycle_even_inside_packages_and_functions() -> None:
    graph = {
        module: [found.target for found in targets if not found.typing_only and found.target != module]
        for module, targets in GRAPH.items()
    }
    # Importing a module runs the packages it is in; a package that merely lists its modules' names is no cycle.
    listed = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    graph = {
        module: [target for target in targets if not (target in listed and module.startswith(target + "."))]
        for module, targets in graph.items()
    }
    assert cycle(graph) is None


def test_the_search_for_cycles_finds_one() -> None:
    assert cycle({"a": ["b"], "b": ["c"], "c": ["a"]}) == ["a", "b", "c", "a"]
    assert cycle({"a": ["b", "c"], "b": ["c"], "c": []}) is None


# --- crates


def manifests() -> dict[str, dict[str, list[str]]]:
    """Crate to kind of dependency to names of our own crates."""
    if sys.version_info < (3, 11):
        pytest.skip("tomllib came with Python 3.11")
    import tomllib

    found = {}
    for path in sorted((ROOT / "rust").glob("*/Cargo.toml")):
        manifest = tomllib.loads(path.read_text())
        found[manifest["package"]["name"]] = {
            kind: [name for name in manifest.get(kind, {}) if name.startswith("umbel-")]
            for kind in ("dependencies", "build-dependencies", "dev-dependencies")
        }
    return found


def test_every_crate_has_its_place() -> None:
    assert set(manifests()) <= {*CRATES, TESTKIT, FUZZER}


def test_crates_use_only_those_before_them() -> None:
    for crate, kinds in manifests().items():
        used = kinds["dependencies"] + kinds["build-dependencies"]
        if crate in {TESTKIT, FUZZER}:
            continue
        for name in used:
            assert name in CRATES, f"{crate} depends on {name}"
            assert CRATES.index(name) < CRATES.index(crate), f"{crate} depends on {name}, which is above"


def test_the_test_kit_is_for_tests_alone() -> None:
    for crate, kinds in manifests().items():
        used = kinds["dependencies"] + kinds["build-dependencies"]
        assert FUZZER not in used, crate
        assert TESTKIT not in used or crate == FUZZER, crate


def test_only_one_crate_knows_python() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("tomllib came with Python 3.11")
    import tomllib

    for path in sorted((ROOT / "rust").glob("*/Cargo.toml")):
        manifest = tomllib.loads(path.read_text())
        if manifest["package"]["name"] != "umbel-python":
            assert "pyo3" not in manifest.get("dependencies", {}), path
