"""Rebuilding one unlawful component from nothing, strongest tier first, so that as much evidence as is lawful stays.

Plain Python over one component's links; `lawful.replay_unlawful` sends the components here, grouped, in Arrow. Two
customers who share a device are one component and two lawful customers: which links to give up is a matter of order,
so the order is part of the meaning (DESIGN 5.2, step 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Node = tuple[str, str]  # (type, value)


@dataclass(frozen=True)
class Link:
    """Evidence that two identifiers are one customer; `a` the stronger end.

    `strength` sorts links of one tier: the greater goes first. `is_must` marks a person's decision, `probability` a
    likeness of two records: a tier of its own, after all others.
    """

    a: Node
    b: Node
    strength: tuple[int, int] = (0, 0)
    is_must: bool = False
    probability: float | None = None


@dataclass(frozen=True)
class Limits:
    """What a lawful customer is.

    Attributes:
        tier: type to its place in the priority order.
        unique: types of which two values are never one customer.
        most: type to the number of its values that one customer may have.
        max_size: identifiers that one customer may have.
    """

    tier: Mapping[str, int]
    unique: frozenset[str] = frozenset()
    most: Mapping[str, int] = field(default_factory=dict)
    max_size: int | None = None


@dataclass(frozen=True)
class Outcome:
    """Customers as sets of identifiers, values that link nothing, and the links that were refused, with reasons."""

    customers: list[list[Node]]
    ambiguous: set[Node]
    refused: dict[tuple[Node, Node], str]


def replay(
    links: Sequence[Link], limits: Limits, counted: Iterable[Node] = (), apart: Iterable[tuple[Node, Node]] = ()
) -> Outcome:
    """The lawful customers of one component.

    Args:
        links: all links of the component.
        counted: identifiers that count towards `most` (seen within the type's period).
        apart: pairs that are never one customer (cannot-links).

    Terminates: every link is looked at once per pass, and there is one pass per tier.
    """
    groups = _Groups(links, limits, frozenset(counted), [*apart])
    ambiguous: set[Node] = set()
    refused: dict[tuple[Node, Node], str] = {}
    seen = [link for link in links if not link.is_must and link.probability is None]
    for tier in sorted({limits.tier[link.b[0]] for link in seen}):
        own = [link for link in seen if limits.tier[link.b[0]] == tier]
        free = [link for link in own if link.a not in ambiguous]
        ambiguous |= _torn(free, groups)
        _add(sorted(own, key=_order), groups, ambiguous, refused)
    # A likeness makes nothing ambiguous: that would take away links that were seen.
    likely = [link for link in links if not link.is_must and link.probability is not None]
    _add(sorted(likely, key=_likeliest), groups, ambiguous, refused)
    return Outcome(groups.members(), ambiguous, refused)


def _add(links: Iterable[Link], groups: _Groups, ambiguous: set[Node], refused: dict[tuple[Node, Node], str]) -> None:
    """Join the ends of each link that breaks no rule; say why of each that does."""
    for link in links:
        if link.a in ambiguous or link.b in ambiguous:
            refused[link.a, link.b] = "ambiguous"
        elif broken := groups.breaks(link.a, link.b):
            refused[link.a, link.b] = broken
        else:
            groups.join(link.a, link.b)


def _order(link: Link) -> tuple[int, int, Node, Node]:
    """Most recently seen first, more events first, then type and value of both ends."""
    return (-link.strength[0], -link.strength[1], link.a, link.b)


def _likeliest(link: Link) -> tuple[float, Node, Node]:
    """The most probable first, then type and value of both ends."""
    return (-(link.probability or 0), link.a, link.b)


def _torn(links: Iterable[Link], groups: _Groups) -> set[Node]:
    """Values whose stronger neighbours lie in customers with different unique ids, found before any is joined."""
    held: dict[Node, set[tuple[str, Node]]] = {}
    for link in links:
        held.setdefault(link.b, set()).update(groups.unique_ids(link.a))
    return {value for value, ids in held.items() if len({kind for kind, _ in ids}) < len(ids)}


class _Groups:
    """Union-find over identifiers that knows what each group holds."""

    def __init__(
        self, links: Sequence[Link], limits: Limits, counted: frozenset[Node], apart: list[tuple[Node, Node]]
    ) -> None:
        nodes = sorted({node for link in links for node in (link.a, link.b)})
        self._limits = limits
        self._root = {node: node for node in nodes}
        self._size = dict.fromkeys(nodes, 1)
        self._counts: dict[Node, dict[str, int]] = {
            node: {node[0]: 1} if node[0] in limits.most and node in counted else {} for node in nodes
        }
        self._apart = [pair for pair in apart if pair[0] in self._root and pair[1] in self._root]
        self._ids: dict[Node, set[tuple[str, Node]]] = {node: set() for node in nodes}
        for link in links:  # a person's decision comes before every rule
            if link.is_must:
                self.join(link.a, link.b)
        for node in nodes:  # so that values which a person declared one count as one unique id
            if node[0] in limits.unique:
                self._ids[self._find(node)].add((node[0], self._find(node)))

    def join(self, one: Node, other: Node) -> None:
        """Make two groups one, the smaller into the larger."""
        small, large = sorted((self._find(one), self._find(other)), key=lambda root: (self._size[root], root))
        if small == large:
            return
        self._root[small] = large
        self._size[large] += self._size.pop(small)
        for kind, count in self._counts.pop(small).items():
            self._counts[large][kind] = self._counts[large].get(kind, 0) + count
        self._ids[large] |= self._ids.pop(small)

    def breaks(self, one: Node, other: Node) -> str | None:
        """The rule that joining two groups would break."""
        left, right = self._find(one), self._find(other)
        if left == right:
            return None
        if any({self._find(x), self._find(y)} == {left, right} for x, y in self._apart):
            return "cannot_link"
        ids = self._ids[left] | self._ids[right]
        if len({kind for kind, _ in ids}) < len(ids):
            return "unique_conflict"
        counts = self._counts[left], self._counts[right]
        if any(sum(count.get(kind, 0) for count in counts) > most for kind, most in self._limits.most.items()):
            return "over_limit"
        size = self._size[left] + self._size[right]
        return "super_cluster" if self._limits.max_size and size > self._limits.max_size else None

    def unique_ids(self, node: Node) -> set[tuple[str, Node]]:
        """Unique ids that the node's group holds."""
        return self._ids[self._find(node)]

    def members(self) -> list[list[Node]]:
        """Groups of more than one identifier, in order."""
        groups: dict[Node, list[Node]] = {}
        for node in self._root:
            groups.setdefault(self._find(node), []).append(node)
        return sorted(group for group in groups.values() if len(group) > 1)

    def _find(self, node: Node) -> Node:
        path = []
        while self._root[node] != node:
            path.append(node)
            node = self._root[node]
        for passed in path:
            self._root[passed] = node
        return node
