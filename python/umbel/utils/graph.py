"""Graphs of results, and how they are drawn by Graphviz."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, Generic, TextIO, TypeVar

__all__ = ["CycleError", "DependencyGraph", "GraphFormatter"]

T = TypeVar("T")


class DependencyGraph(Generic[T]):
    """A directed graph: each object and those that depend on it or follow from it, in the order in which they were
    added."""

    def __init__(
        self, it: Iterable[tuple[T, Iterable[T]]] | None = None, formatter: GraphFormatter | None = None
    ) -> None:
        """`it`: pairs of an object and its successors."""
        self.formatter = formatter or GraphFormatter()
        self.adjacent: dict[T, list[T]] = {}
        if it is not None:
            self.update(it)

    def add_arc(self, obj: T) -> None:
        """Adds an object."""
        self.adjacent.setdefault(obj, [])

    def add_edge(self, start: T, end: T) -> None:
        """Adds an edge. Raises KeyError if `start` was not added."""
        self.adjacent[start].append(end)

    def connect(self, graph: DependencyGraph[T]) -> None:
        """Takes over the objects of another graph."""
        self.adjacent.update(graph.adjacent)

    def update(self, it: Iterable[tuple[T, Iterable[T]]]) -> None:
        """Adds pairs of an object and its successors."""
        pairs = list(it)
        for obj, _ in pairs:
            self.add_arc(obj)
        for obj, successors in pairs:
            for successor in successors:
                self.add_edge(obj, successor)

    def topsort(self) -> list[T]:
        """The objects, each after its successors. Raises CycleError if there is no such order."""
        return list(TopologicalSorter(self.adjacent).static_order())

    def valency_of(self, obj: T) -> int:
        """Number of edges that can be walked from an object."""
        successors = self.adjacent.get(obj, [])
        return len(successors) + sum(self.valency_of(one) for one in successors)

    def edges(self) -> Iterator[T]:
        """Objects that have successors."""
        return (obj for obj, successors in self.adjacent.items() if successors)

    def items(self) -> Iterable[tuple[T, list[T]]]:
        """Objects and their successors."""
        return self.adjacent.items()

    def to_dot(self, fh: TextIO, formatter: GraphFormatter | None = None) -> None:
        """Writes the graph in Graphviz's language."""
        draw = formatter or self.formatter
        seen = set()
        print(draw.head(), file=fh)
        for obj, successors in self.adjacent.items():
            if draw.label(obj) not in seen:
                seen.add(draw.label(obj))
                print(draw.node(obj) if successors else draw.terminal_node(obj), file=fh)
            for successor in successors:
                print(draw.edge(obj, successor), file=fh)
        print(draw.tail(), file=fh)

    def format(self, obj: T) -> Any:
        """What the formatter calls an object."""
        return self.formatter.label(obj)

    def __iter__(self) -> Iterator[T]:
        return iter(self.adjacent)

    def __getitem__(self, node: T) -> list[T]:
        return self.adjacent[node]

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, obj: object) -> bool:
        return obj in self.adjacent

    def __repr__(self) -> str:
        return "\n".join(line for node in self for line in self._lines(node, 0))

    def _lines(self, node: T, level: int) -> Iterator[str]:
        yield f"{'     ' * level}{node}({self.valency_of(node)})"
        for successor in self.adjacent.get(node, ()):
            yield from self._lines(successor, level + 1)


class GraphFormatter:
    """How a graph looks. Attributes of Graphviz may be given by keyword; subclasses change `label`."""

    node_scheme: Mapping[str, Any] = {"fillcolor": "palegreen3", "color": "palegreen4"}
    term_scheme: Mapping[str, Any] = {"fillcolor": "palegreen1", "color": "palegreen2"}
    edge_scheme: Mapping[str, Any] = {"color": "darkseagreen4", "arrowcolor": "black", "arrowsize": 0.7}
    graph_scheme: Mapping[str, Any] = {"bgcolor": "mintcream"}
    scheme: Mapping[str, Any] = {
        "shape": "box",
        "arrowhead": "vee",
        "style": "filled",
        "fontname": "HelveticaNeue",
    }

    def __init__(
        self,
        root: Any = None,
        type: str | None = None,
        id: str | None = None,
        indent: int = 0,
        inw: str = "    ",
        **scheme: Any,
    ) -> None:
        """`root`: label of the first node. `type`: `digraph` or `graph`. `indent`: how often `inw` begins a line."""
        self.id = id or "dependencies"
        self.root = root
        self.type = type or "digraph"
        self._arrow = {"graph": "--", "digraph": "->"}[self.type]
        self._outer, self._inner = inw * indent, inw * (indent + 1)
        self.scheme = {**self.scheme, **scheme}

    def label(self, obj: Any) -> Any:
        """What a node is called."""
        return obj

    def head(self, **attrs: Any) -> str:
        """The first lines."""
        shown = self._attrs({**self.graph_scheme, "root": self.label(self.root), **attrs})
        return f"{self._outer}{self.type} {self.id} {{\n{self._inner}graph [{shown}]"

    def tail(self) -> str:
        """The last line."""
        return f"{self._outer}}}"

    def node(self, obj: Any, **attrs: Any) -> str:
        """The line of an object with successors."""
        return self._node(obj, {**self.node_scheme, **attrs})

    def terminal_node(self, obj: Any, **attrs: Any) -> str:
        """The line of an object without."""
        return self._node(obj, {**self.term_scheme, **attrs})

    def edge(self, start: Any, end: Any, **attrs: Any) -> str:
        """The line of an edge."""
        shown = self._attrs({**self.edge_scheme, **attrs})
        return f'{self._inner}"{self.label(start)}" {self._arrow} "{self.label(end)}" [{shown}]'

    def _node(self, obj: Any, attrs: Mapping[str, Any]) -> str:
        return f'{self._inner}"{self.label(obj)}" [{self._attrs(attrs)}]'

    def _attrs(self, attrs: Mapping[str, Any]) -> str:
        return ", ".join(f'{name}="{value}"' for name, value in {**self.scheme, **attrs}.items())
