"""The shortest chain of evidence between two identifiers."""

from __future__ import annotations

import pytest

from transforms.identity.explain import Evidence, density, shortest_chain
from transforms.identity.replay import Node


def node(name: str) -> Node:
    return ("phone" if name.startswith("p") else "member"), name


def link(a: str, b: str, reason: str | None = None) -> Evidence:
    return Evidence(node(a), node(b), {"reason": reason} if reason else {})


LINKS = [link("m1", "p1"), link("p1", "m2"), link("m2", "p2"), link("m1", "p3"), link("p3", "p2")]


@pytest.mark.parametrize(
    ("evidence", "start", "end", "expected"),
    [
        (LINKS, "m1", "m2", ["m1 p1", "p1 m2"]),
        (LINKS, "m2", "m1", ["p1 m2", "m1 p1"]),  # from the other end
        (LINKS, "m1", "p2", ["m1 p3", "p3 p2"]),  # two links, not three
        (LINKS, "m1", "m1", []),
        (LINKS, "m1", "m9", None),
        # A refused link is the last resort, however short it is: it tells what stands between two customers.
        ([*LINKS, link("m1", "m2", "ambiguous")], "m1", "m2", ["m1 p1", "p1 m2"]),
        ([link("m1", "p1"), link("p1", "m2", "cannot_link")], "m1", "m2", ["m1 p1", "p1 m2"]),
        (
            [link("m1", "p1", "over_limit"), link("p1", "m2", "over_limit"), link("m1", "p2"), link("p2", "m2", "x")],
            "m1",
            "m2",
            ["m1 p2", "p2 m2"],
        ),
    ],
)
def test_shortest_chain(evidence: list[Evidence], start: str, end: str, expected: list[str] | None) -> None:
    chain = shortest_chain(evidence, node(start), node(end))
    assert (chain and [f"{found.a[1]} {found.b[1]}" for found in chain]) == expected or (chain == expected == [])
    assert shortest_chain(reversed(evidence), node(start), node(end)) == chain


def test_density_is_the_share_of_pairs_that_are_linked() -> None:
    assert density(1, []) is None
    assert density(4, LINKS[:3]) == 0.5
