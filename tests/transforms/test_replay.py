"""Rebuilding an unlawful component: each rule of DESIGN 5.2 step 3 by itself, then what holds for any graph."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.identity.replay import Limits, Link, Node, Outcome, replay

TIERS = {"member": 0, "phone": 1, "device": 2, "cookie": 3}
LIMITS = Limits(tier=TIERS, unique=frozenset({"member"}), most={"phone": 2}, max_size=6)
EARLY, LATE = (1, 1), (2, 1)


def node(text: str) -> Node:
    """`m1` is member 1."""
    return {"m": "member", "p": "phone", "d": "device", "c": "cookie"}[text[0]], text


def link(a: str, b: str, strength: tuple[int, int] = EARLY, is_must: bool = False) -> Link:
    return Link(node(a), node(b), strength, is_must)


def customers(outcome: Outcome) -> set[str]:
    return {" ".join(sorted(value for _, value in group)) for group in outcome.customers}


def refused(outcome: Outcome) -> dict[str, str]:
    return {f"{a[1]} {b[1]}": reason for (a, b), reason in outcome.refused.items()}


ALL = [node(f"{kind}{n}") for kind in "mpdc" for n in range(6)]


def test_a_lawful_component_comes_out_whole() -> None:
    found = replay([link("m1", "p1"), link("m1", "d1"), link("p1", "c1")], LIMITS, ALL)
    assert (customers(found), found.ambiguous, found.refused) == ({"c1 d1 m1 p1"}, set(), {})


def test_a_device_of_two_members_is_ambiguous_and_links_nothing_in_any_tier() -> None:
    links = [link("m1", "d1"), link("m2", "d1", LATE), link("m1", "p1"), link("m2", "p2"), link("d1", "c1")]
    found = replay(links, LIMITS, ALL)
    assert customers(found) == {"m1 p1", "m2 p2"}
    assert found.ambiguous == {node("d1")}
    assert refused(found) == {"m1 d1": "ambiguous", "m2 d1": "ambiguous", "d1 c1": "ambiguous"}


def test_neighbours_without_unique_ids_make_nothing_ambiguous() -> None:
    """A member's device that a phone without a member shares: the phone is that member's too."""
    found = replay([link("m1", "d1"), link("p1", "d1")], LIMITS, ALL)
    assert customers(found) == {"d1 m1 p1"}


def test_two_neighbours_in_one_customer_make_nothing_ambiguous() -> None:
    found = replay([link("m1", "p1"), link("m1", "d1"), link("p1", "d1")], LIMITS, ALL)
    assert customers(found) == {"d1 m1 p1"}


def test_two_members_over_a_chain_of_weaker_values_are_told_apart() -> None:
    """The cookie joins first to the phone's customer, since it was seen there last; the other link is refused."""
    links = [link("m1", "p1"), link("m2", "d1"), link("p1", "c1", LATE), link("d1", "c1")]
    found = replay(links, LIMITS, ALL)
    assert found.ambiguous == {node("c1")}  # its neighbours' customers have different members
    assert customers(found) == {"m1 p1", "d1 m2"}


def test_the_limit_keeps_what_was_seen_last() -> None:
    links = [link("m1", "p1", (1, 9)), link("m1", "p2", (3, 1)), link("m1", "p3", (2, 1))]
    found = replay(links, LIMITS, ALL)
    assert customers(found) == {"m1 p2 p3"}
    assert refused(found) == {"m1 p1": "over_limit"}


def test_values_outside_the_period_do_not_count() -> None:
    links = [link("m1", "p1"), link("m1", "p2"), link("m1", "p3")]
    found = replay(links, LIMITS, [node("p2"), node("p3")])
    assert (customers(found), found.refused) == ({"m1 p1 p2 p3"}, {})


def test_of_equally_recent_links_the_one_with_more_events_goes_first_then_by_value() -> None:
    found = replay([link("m1", "p1", (1, 1)), link("m1", "p2", (1, 2)), link("m1", "p3", (1, 1))], LIMITS, ALL)
    assert customers(found) == {"m1 p1 p2"}


def test_a_cannot_link_stands_between_two_identifiers() -> None:
    links = [link("m1", "p1"), link("p1", "d1", LATE), link("m1", "d1")]
    found = replay(links, LIMITS, ALL, apart=[(node("m1"), node("d1"))])
    assert customers(found) == {"m1 p1"}
    assert refused(found) == {"p1 d1": "cannot_link", "m1 d1": "cannot_link"}


def test_a_must_link_makes_two_members_one_customer_against_the_rule() -> None:
    links = [link("m1", "m2", is_must=True), link("m1", "p1"), link("m2", "p1"), link("m2", "p2"), link("m3", "p2")]
    found = replay(links, LIMITS, ALL)
    assert customers(found) == {"m1 m2 p1"}
    assert found.ambiguous == {node("p2")}  # m3 was never declared the same


def test_a_customer_grows_to_the_guarded_size_only() -> None:
    found = replay([link("m1", f"d{n}", (n, 1)) for n in range(1, 9)], LIMITS, ALL)
    assert customers(found) == {"d4 d5 d6 d7 d8 m1"}
    assert refused(found) == {f"m1 d{n}": "super_cluster" for n in (1, 2, 3)}


NODES = {kind: [node(f"{kind}{n}") for n in range(3)] for kind in "mpdc"}
PAIRS = [(a, b) for i, x in enumerate("mpdc") for y in "mpdc"[i + 1 :] for a in NODES[x] for b in NODES[y]]
LINKS = st.lists(
    st.builds(lambda pair, at, n: Link(*pair, (at, n)), st.sampled_from(PAIRS), st.integers(0, 3), st.integers(1, 2)),
    min_size=1,
    max_size=25,
    unique_by=lambda found: (found.a, found.b),
)
APART = st.lists(st.sampled_from(PAIRS), max_size=2)


@given(LINKS, APART, st.randoms(use_true_random=False))
def test_whatever_the_graph(links: list[Link], apart: list[tuple[Node, Node]], chance: random.Random) -> None:
    counted = {end for found in links for end in (found.a, found.b)}
    outcome = replay(links, LIMITS, counted, apart)
    owner = {member: number for number, group in enumerate(outcome.customers) for member in group}
    for group in outcome.customers:  # every customer is lawful
        assert sum(kind == "member" for kind, _ in group) <= 1
        assert sum(kind == "phone" for kind, _ in group) <= 2
        assert len(group) <= 6
    assert not [pair for pair in apart if pair[0] in owner and owner[pair[0]] == owner.get(pair[1])]
    assert not outcome.ambiguous & set(owner)  # an ambiguous value belongs to nobody but itself
    for found in links:  # a link is followed, or refused with its reason
        is_inside = found.a in owner and owner[found.a] == owner.get(found.b)
        assert is_inside or (found.a, found.b) in outcome.refused
    shuffled = list(links)
    chance.shuffle(shuffled)
    assert replay(shuffled, LIMITS, counted, apart) == outcome


@pytest.mark.parametrize("size", [20_000])
def test_a_chain_of_many_hops_and_a_hub_come_to_an_end(size: int) -> None:
    """A chain in which every customer is at its limit, and a hub with a third of all links."""
    wide = Limits(tier=LIMITS.tier, unique=LIMITS.unique, most={"phone": 2})
    chain = [Link(("phone", f"{n}"), ("device", f"{n + step}")) for n in range(size) for step in (0, 1)]
    hub = [Link(("phone", f"{n}"), ("cookie", "hub")) for n in range(size)]
    found = replay([*chain, *hub], wide, [("phone", f"{n}") for n in range(size)])
    assert max(sum(kind == "phone" for kind, _ in group) for group in found.customers) == 2
    assert sum(reason == "over_limit" for reason in found.refused.values()) >= size // 2
