"""Why two identifiers are one customer, or are not: the shortest chain of evidence.

Works on the links of a few customers, held as plain rows: a customer has at most `max_customer_size` identifiers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transforms.identity.replay import Node


@dataclass(frozen=True)
class Evidence:
    """One link or refusal as a person reads it."""

    a: Node
    b: Node
    told: Mapping[str, Any]

    @property
    def is_refused(self) -> bool:
        """Whether nothing follows from it."""
        return bool(self.told.get("reason"))

    @property
    def is_likeness(self) -> bool:
        """Whether it is a probability and nothing that was seen."""
        return self.told.get("probability") is not None


def shortest_chain(evidence: Iterable[Evidence], start: Node, end: Node) -> list[Evidence] | None:
    """The fewest links from one identifier to another; of equally short chains the first by type and value.

    Refusals count as links here, so that two customers' chain shows what stands between them; one with fewer
    refusals, then one with fewer likenesses, is preferred to a shorter one. None where nothing connects them.
    """
    beside: dict[Node, list[tuple[Node, Evidence]]] = {}
    for link in sorted(evidence, key=lambda e: (e.a, e.b)):
        beside.setdefault(link.a, []).append((link.b, link))
        beside.setdefault(link.b, []).append((link.a, link))
    # Costs are (refusals, likenesses, links): a refusal is the last resort; a node whose cost falls is looked at again.
    cost = {start: (0, 0, 0)}
    came: dict[Node, tuple[Node, Evidence]] = {}
    waiting: deque[Node] = deque([start])
    while waiting:
        node = waiting.popleft()
        for other, link in sorted(beside.get(node, []), key=lambda step: (step[1].is_refused, step[0])):
            refusals, likenesses, links = cost[node]
            reached = (refusals + link.is_refused, likenesses + link.is_likeness, links + 1)
            if other not in cost or reached < cost[other]:
                cost[other], came[other] = reached, (node, link)
                waiting.append(other)
    if end not in cost:
        return None
    chain = []
    while end != start:
        end, link = came[end]
        chain.append(link)
    return chain[::-1]


def density(size: int, links: Sequence[Evidence]) -> float | None:
    """Links as a share of all pairs; null for one identifier."""
    return None if size < 2 else round(2 * len(links) / (size * (size - 1)), 6)
