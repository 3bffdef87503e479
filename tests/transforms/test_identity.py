"""Who is who: links, components, the anchors that name customers, and quality against a known truth."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from jobs.runtime.components import components_in_rounds
from tests.builders import DAY, at, days_before, event, frame, identity
from transforms.contracts import conform, silver
from transforms.events import with_lead
from transforms.identity.anchors import name_customers, with_owner
from transforms.identity.combinations import combine
from transforms.identity.components import connected_components
from transforms.identity.contraction import first_parents, with_node
from transforms.identity.identifiers import IdentifierType, IdentityRules
from transforms.identity.lawful import lawful_components, place, replay_unlawful, unlawful_components
from transforms.identity.links import bad_values, blocked_pairs, identifiers_seen, link_identifiers
from transforms.identity.nodes import NODE, with_component
from transforms.identity.quality import against_truth, alike, component_sizes, customers_of, match_rates
from transforms.identity.union_find import UnionFind

RULES = IdentityRules(
    types=(
        IdentifierType(type="member", label="会员", anchor=True),
        IdentifierType(type="phone", label="手机", anchor=True),
        IdentifierType(type="device", label="设备"),
        IdentifierType(type="cookie", label="浏览器"),
        IdentifierType(type="store_tablet", label="平板", shared=True),
    )
)
Node = tuple[str, str]


def seen_together(number: int, day: date = DAY, blocked: dict[str, str] | None = None, **held: str) -> dict[str, Any]:
    """An event that carries these identifiers."""
    return event(f"e{number}", "visit", event_date=day, identifiers=held, blocked_identifiers=blocked, source="app")


def resolved(spark: SparkSession, rows: Iterable[dict[str, Any]], rules: IdentityRules = RULES) -> DataFrame:
    """silver.identities of the events, as resolve-identities makes it."""
    return identities_of(frame(spark, silver.EVENTS, rows), rules)


def identities_of(events: DataFrame, rules: IdentityRules = RULES) -> DataFrame:
    together = with_lead(combine(events), rules.linking).localCheckpoint()
    links = link_identifiers(together, rules.linking, ["app", "web", "store_pos"])
    placed = place(identifiers_seen(together, rules.linking), connected_components(links)).localCheckpoint()
    apart = events.sparkSession.createDataFrame([], "type_a string, value_a string, type_b string, value_b string")
    unlawful = unlawful_components(placed, apart, DAY, rules).localCheckpoint()
    replayed = replay_unlawful(placed, unlawful, links, apart, DAY, rules).localCheckpoint()
    return conform(name_customers(lawful_components(placed, replayed), rules), silver.IDENTITIES)


def owners(identities: DataFrame) -> dict[Node, str | None]:
    return {(row.identifier_type, row.identifier): row.customer_id for row in identities.collect()}


def named_after(kind: str, value: str) -> str:
    """The id of a customer whose anchor is this identifier, by the formula of DESIGN 5.2."""
    return "C" + hashlib.sha256(f"{kind}:{value}".encode()).hexdigest()[:32]


# -- links -----------------------------------------------------------------------------------------------------------


def test_lead_is_linked_to_every_other_usable_identifier(spark: SparkSession) -> None:
    rows = [
        seen_together(1, member="m", phone="p", device="d"),
        seen_together(2, days_before(3), member="m", phone="p"),  # seen before: the same link, older
        {**seen_together(3, phone="p", device="d"), "source": "web"},  # led by the phone: a link of its own
        seen_together(4, member="m", cookie="c", blocked={"cookie": "null_like"}),  # blocked links nothing
        seen_together(5, member="m", store_tablet="t"),  # nor does a shared one
        seen_together(6, cookie="c2"),  # nothing to link to
        seen_together(7),  # a guest
    ]
    together = with_lead(combine(frame(spark, silver.EVENTS, rows)), RULES.linking)
    blocked = blocked_pairs(together, RULES.linking).collect()
    assert {(row.type_a, row.type_b, row.rule) for row in blocked} == {("member", "cookie", "null_like")}
    links = link_identifiers(together, RULES.linking, ["app", "web"]).collect()
    found = {(row.type_a, row.type_b): row for row in links}
    assert set(found) == {("member", "phone"), ("member", "device"), ("phone", "device")}
    told = found["member", "phone"]
    assert (told.value_a, told.value_b, told.event_count, told.sources) == ("m", "p", 2, ["app"])
    assert (told.first_arrival_date, told.last_seen_at) == (days_before(3), at(DAY).replace(tzinfo=None))
    assert found["phone", "device"].sources == ["web"]


def test_every_identifier_is_seen_with_the_rule_that_blocks_it(spark: SparkSession) -> None:
    bad = {"phone": "blocked_value"}
    rows = [
        seen_together(1, days_before(2), bad, phone="p", member="m1"),
        seen_together(2, DAY, bad, phone="p", member="m2"),
        seen_together(3, DAY, bad, phone="p", member="m2"),
        seen_together(4, DAY, bad, phone="p"),  # a guest holds nothing: two holders, not three
        seen_together(5, store_tablet="t", member="m1"),
    ]
    together = with_lead(combine(frame(spark, silver.EVENTS, rows)), RULES.linking)
    seen = identifiers_seen(together, RULES.linking)
    found = {(row.identifier_type, row.identifier): tuple(row)[2:] for row in seen.collect()}
    assert found == {  # whether it may link, first arrival, last seen, events
        ("phone", "p"): (False, days_before(2), DAY, 4),
        ("store_tablet", "t"): (False, DAY, DAY, 1),
        ("member", "m1"): (True, days_before(2), DAY, 2),
        ("member", "m2"): (True, DAY, DAY, 2),
    }
    bad = {tuple(row) for row in conform(bad_values(together, RULES.linking), silver.IDENTITY_BAD_VALUES).collect()}
    assert bad == {("phone", "p", "blocked_value", 2, 4), ("store_tablet", "t", "shared", 1, 1)}


def test_a_type_that_settings_no_longer_declare_links_nothing_and_says_so(spark: SparkSession) -> None:
    """Events keep what they carried when the type was declared."""
    rows = frame(spark, silver.EVENTS, [seen_together(1, loyalty_tag="x", member="m1")])
    bad = bad_values(with_lead(combine(rows), RULES.linking), RULES.linking).collect()
    assert {(row.identifier_type, row.identifier, row.rule) for row in bad} == {("loyalty_tag", "x", "shared")}


# -- components ------------------------------------------------------------------------------------------------------


def groups(pairs: Iterable[tuple[Any, Any]]) -> set[frozenset[Any]]:
    """Components by union-find, the plainest there is."""
    root: dict[Any, Any] = {}

    def find(node: Any) -> Any:
        root.setdefault(node, node)
        while root[node] != node:
            node = root[node]
        return node

    for one, other in pairs:
        root[find(one)] = find(other)
    members: dict[Any, set[Any]] = {}
    for node in list(root):
        members.setdefault(find(node), set()).add(node)
    return {frozenset(group) for group in members.values()}


def linked(spark: SparkSession, pairs: Iterable[tuple[Node, Node]]) -> DataFrame:
    rows = [{"type_a": a[0], "value_a": a[1], "type_b": b[0], "value_b": b[1]} for a, b in pairs]
    return frame(spark, silver.IDENTITY_LINKS, rows)


def found_groups(
    spark: SparkSession, edges: list[tuple[Node, Node]], engine: Callable[[DataFrame], DataFrame]
) -> set[frozenset[Node]]:
    """The components that an engine finds, as sets of identifiers."""
    nodes = sorted({node for edge in edges for node in edge})
    identifiers = spark.createDataFrame(nodes, "identifier_type string, identifier string")
    found: dict[object, set[Node]] = {}
    for row in with_component(identifiers, engine(linked(spark, edges))).collect():
        found.setdefault(row.component, set()).add((row.identifier_type, row.identifier))
    return {frozenset(group) for group in found.values()}


NODES = st.tuples(st.sampled_from(["member", "phone", "device"]), st.integers(0, 6).map(str))
GRAPHS = st.lists(st.lists(st.tuples(NODES, NODES), min_size=1, max_size=10), min_size=25, max_size=25)


@given(GRAPHS)
@settings(max_examples=2, phases=[Phase.generate])  # a job each; shrinking would run hundreds
def test_components_equal_union_find(spark: SparkSession, graphs: list[list[tuple[Node, Node]]]) -> None:
    """Twenty-five graphs in one job: values carry their graph's number, and colons, which values may hold."""
    edges = [
        ((a_type, f"g{n}:{a}"), (b_type, f"g{n}:{b}"))
        for n, graph in enumerate(graphs)
        for (a_type, a), (b_type, b) in graph
    ]
    assert found_groups(spark, edges, connected_components) == groups(edges)


def test_nodes_that_share_half_their_bits_stay_apart() -> None:
    """Pairs of nodes, each pair twice with the same first halves, in batches so many that every table grows."""
    graph, count = UnionFind(), 200_000
    spread = np.arange(2 * count) * np.int64(-7046029254386353131)  # as hashes are
    one, other, low = spread[:count], spread[count:], np.zeros(count, dtype=np.int64)
    for start in range(0, count, 50_000):
        part = slice(start, start + 50_000)
        for half in (low, low + 1):
            graph.add(one[part], half[part], other[part], half[part])
    firsts, seconds, roots = graph.labels()
    groups: dict[int, set[tuple[int, int]]] = {}
    for root, first, second in zip(roots.tolist(), firsts.tolist(), seconds.tolist(), strict=True):
        groups.setdefault(root, set()).add((first, second))
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    assert {frozenset(group) for group in groups.values()} == {
        frozenset({(a, half), (b, half)}) for a, b in pairs for half in (0, 1)
    }


def test_a_long_chain_is_one_component(spark: SparkSession) -> None:
    chain = [(("device", str(n)), ("device", str(n + 1))) for n in range(3_000)]  # no scheme by rounds would end soon
    assert {row.component for row in connected_components(linked(spark, chain)).collect()} == {0}


def test_without_links_there_are_no_components(spark: SparkSession) -> None:
    assert connected_components(linked(spark, [])).collect() == []


# -- anchors ---------------------------------------------------------------------------------------------------------

OLD, NEW = days_before(100), days_before(1)

# What happened, then which anchor names whom. Each case lives in values of its own.
STORIES: dict[str, tuple[list[dict[str, Any]], dict[Node, Node | None]]] = {
    "the older anchor names the customer": (
        [seen_together(1, OLD, phone="1p"), seen_together(2, NEW, phone="1p", member="1m")],
        {("phone", "1p"): ("phone", "1p"), ("member", "1m"): ("phone", "1p")},
    ),
    "of anchors that came together the stronger": (
        [seen_together(3, NEW, phone="2p", member="2m")],
        {("phone", "2p"): ("member", "2m"), ("member", "2m"): ("member", "2m")},
    ),
    "of anchors of one type and day the lesser value": (
        [seen_together(4, NEW, member="3m", phone="3b"), seen_together(5, NEW, member="3a", phone="3b")],
        {("member", "3m"): ("member", "3a"), ("member", "3a"): ("member", "3a"), ("phone", "3b"): ("member", "3a")},
    ),
    "a merge keeps the older customer's id": (
        [
            seen_together(6, OLD, member="4old", device="4d"),
            seen_together(7, days_before(50), member="4new", device="4e"),
            seen_together(8, NEW, member="4new", device="4d"),
        ],
        {
            ("member", "4old"): ("member", "4old"),
            ("member", "4new"): ("member", "4old"),
            ("device", "4d"): ("member", "4old"),
            ("device", "4e"): ("member", "4old"),
        },
    ),
    "an anonymous visitor is named by the cookie": (
        [seen_together(9, OLD, cookie="5c")],
        {("cookie", "5c"): ("cookie", "5c")},
    ),
    "and once identified by the member, however new": (
        [seen_together(10, OLD, cookie="6c"), seen_together(11, NEW, cookie="6c", member="6m")],
        {("cookie", "6c"): ("member", "6m"), ("member", "6m"): ("member", "6m")},
    ),
    "blocked and shared ones have no customer": (
        [
            seen_together(12, OLD, {"phone": "blocked_value"}, phone="7p", member="7m"),
            seen_together(13, OLD, {"phone": "blocked_value"}, phone="7p", member="7n"),
            seen_together(14, OLD, store_tablet="7t", member="7n"),
        ],
        {
            ("phone", "7p"): None,
            ("store_tablet", "7t"): None,
            ("member", "7m"): ("member", "7m"),
            ("member", "7n"): ("member", "7n"),
        },
    ),
}
ROWS = [row for rows, _ in STORIES.values() for row in rows]


def test_anchors_name_customers(spark: SparkSession) -> None:
    identities = resolved(spark, ROWS).collect()
    found = {(row.identifier_type, row.identifier): row for row in identities}
    for story, (_, expected) in STORIES.items():
        ids = {node: found[node].customer_id for node in expected}
        assert ids == {node: anchor and named_after(*anchor) for node, anchor in expected.items()}, story
    assert len(found) == len(identities) == sum(len(expected) for _, expected in STORIES.values())  # none lost or twice
    status = {node: row.status for node, row in found.items()}
    assert (status["phone", "7p"], status["store_tablet", "7t"]) == ("blocked", "blocked")
    assert (status["cookie", "5c"], status["cookie", "6c"]) == ("alone", "linked")
    assert (found["phone", "1p"].first_arrival_date, found["phone", "1p"].last_seen_date) == (OLD, NEW)


def test_order_and_partitions_of_events_change_nothing(spark: SparkSession) -> None:
    shuffled = list(ROWS)
    random.Random(7).shuffle(shuffled)
    expected = owners(resolved(spark, ROWS))
    assert owners(identities_of(frame(spark, silver.EVENTS, shuffled).repartition(5))) == expected


def test_a_split_leaves_the_id_with_the_anchor(spark: SparkSession) -> None:
    """The event that joined two persons turns out wrong: the part with the older anchor keeps the id."""
    apart = [seen_together(1, OLD, member="a", device="x"), seen_together(2, NEW, member="b", device="y")]
    joined = owners(resolved(spark, [*apart, seen_together(3, NEW, member="b", device="x")]))
    assert set(joined.values()) == {named_after("member", "a")}
    split = owners(resolved(spark, apart))
    assert split["member", "a"] == split["device", "x"] == named_after("member", "a")
    assert split["member", "b"] == split["device", "y"] == named_after("member", "b")


def test_owner_is_that_of_the_lead(spark: SparkSession) -> None:
    identities = frame(spark, silver.IDENTITIES, [identity("member", "m", "C1"), identity("phone", "p", None)])
    rows = [
        event("owned", identifiers={"member": "m", "phone": "p"}),
        event("blocked", identifiers={"phone": "p"}),  # led by a value that lost its owner
        event("guest", identifiers=None),
    ]
    owned = with_owner(frame(spark, silver.EVENTS, rows), identities).collect()
    assert {row.event_id: row.customer_id for row in owned} == {"owned": "C1", "blocked": None, "guest": None}


# -- quality ---------------------------------------------------------------------------------------------------------


def metrics(rows: Iterable[Row]) -> dict[str, float]:
    return {row.metric: row.value for row in rows}


def test_quality_against_truth(spark: SparkSession) -> None:
    """Person 1 is found whole, person 2 in two parts, one of them with a stranger; person 3 left no evidence."""
    found = [
        *[identity("device", value, "C1") for value in ("a", "b", "c")],
        *[identity("device", value, "C2") for value in ("d", "e", "x")],  # x is person 4's
        identity("device", "f", "C3"),
        *[identity("device", value, f"C{value}", status="alone") for value in ("g", "h")],
        identity("phone", "blocked", None),  # no customer: not judged
        identity("device", "unheard", "C1"),  # the truth does not know it
    ]
    persons = {"1": "abc", "2": "def", "3": "gh", "4": "x"}
    truth = [("device", value, person) for person, values in persons.items() for value in values]
    truth.append(("phone", "blocked", "1"))
    told = spark.createDataFrame(truth, "identifier_type string, identifier string, person_id string")
    # ef was refused; gh were never seen together; ex joins two persons, so it is no evidence of one.
    links = linked(spark, [(("device", a), ("device", b)) for a, b in ("ab", "bc", "de", "ef", "ex")])
    quality = metrics(against_truth(frame(spark, silver.IDENTITIES, found), told, links).collect())
    found_pairs = 3 + 3  # C1: ab ac bc; C2: de dx ex
    right_pairs = 3 + 1  # C1 whole; of C2 only de
    real_pairs = 3 + 3 + 1  # person 1, person 2, person 3
    assert quality == {
        "pairwise_precision": pytest.approx(right_pairs / found_pairs, abs=1e-6),
        "pairwise_recall": pytest.approx(right_pairs / (real_pairs - 1), abs=1e-6),  # gh: no chain of evidence
        "pairwise_recall_all": pytest.approx(right_pairs / real_pairs, abs=1e-6),
        "cluster_precision": pytest.approx(1 / 5, abs=1e-6),  # of C1 C2 C3 Cg Ch only C1 is a person
        "cluster_recall": pytest.approx(1 / 4, abs=1e-6),
        "pairwise_f1": pytest.approx(2 * right_pairs / (found_pairs + real_pairs - 1), abs=1e-6),
        "cluster_f1": pytest.approx(2 * 1 / (5 + 4), abs=1e-6),
    }


def test_sizes_of_components(spark: SparkSession) -> None:
    sizes = [1, 1, 1, 5]
    rows = [identity("device", f"{n}.{k}", f"C{n}") for n, size in enumerate(sizes) for k in range(size)]
    identities = frame(spark, silver.IDENTITIES, [*rows, identity("phone", "b", None)])
    customers = customers_of(identities, frame(spark, silver.EVENTS, []), ["app"], ["member"])
    found = metrics(component_sizes(alike(customers)).collect())
    assert found == {
        "customers": 4,
        "identifiers": 8,
        "component_size_p50": 1,
        "component_size_p90": 5,
        "component_size_p99": 5,
        "component_size_max": 5,
    }


def test_percentiles_are_reached_by_that_share_of_customers(spark: SparkSession) -> None:
    """Of 100 customers of sizes 1 to 100, half have at most 50; of 101 not quite."""
    for most, half in ((100, 50), (101, 51)):
        rows = [identity("device", f"{n}.{k}", f"C{n}") for n in range(1, most + 1) for k in range(n)]
        customers = customers_of(
            frame(spark, silver.IDENTITIES, rows), frame(spark, silver.EVENTS, []), ["app"], ["member"]
        )
        found = metrics(component_sizes(alike(customers)).collect())
        assert [found[f"component_size_p{p}"] for p in (50, 90, 99)] == [
            half,
            -(-most * 90 // 100),
            -(-most * 99 // 100),
        ]


def test_match_rates_are_shares_of_the_first_channels_customers(spark: SparkSession) -> None:
    known = [
        ("C1", 2, ["app", "ecommerce"], True, 1),
        ("C2", 1, ["app"], True, 1),
        ("C3", 9, ["app"], False, 1),
        ("C4", 1, ["store_pos"], True, 1),  # nobody else knows them
        ("C5", 1, [], False, 1),  # leads no event
        ("C6", 3, ["app", "store_pos"], True, 1),  # was found one night, and is no more
        ("C6", 3, ["app", "store_pos"], True, -1),
    ]
    schema = (
        "customer_id string, identifiers bigint, channels array<string>, is_anchored boolean, customer_count bigint"
    )
    customers = spark.createDataFrame(known, schema)
    assert metrics(match_rates(alike(customers)).collect()) == {
        "match_rate:app:ecommerce": pytest.approx(1 / 3, abs=1e-6),
        "match_rate:ecommerce:app": 1,
    }


# -- in rounds -------------------------------------------------------------------------------------------------------


def in_rounds(spark: SparkSession, links: DataFrame, fits: int) -> DataFrame:
    """Each step is kept by value; a chain halves in every round, so that 25 rounds are beyond any."""
    told: list[str] = []
    found = components_in_rounds(links, fits, lambda frame: spark.createDataFrame(frame.toArrow()), told.append)
    assert len(told) < 25
    return found


@given(GRAPHS)
@settings(max_examples=1, phases=[Phase.generate])  # a dozen jobs each
def test_rounds_equal_union_find(spark: SparkSession, graphs: list[list[tuple[Node, Node]]]) -> None:
    edges = [
        ((a_type, f"g{n}:{a}"), (b_type, f"g{n}:{b}"))
        for n, graph in enumerate(graphs)
        for (a_type, a), (b_type, b) in graph
        if (a_type, a) != (b_type, b)
    ]
    assert found_groups(spark, edges, lambda links: in_rounds(spark, links, 0)) == groups(edges)


@pytest.mark.parametrize("fits", [0, 1_000])
def test_rounds_end_on_a_chain_and_a_hub(spark: SparkSession, fits: int) -> None:
    """Ten thousand hops, and a hub with a third of the links; the two meet in one node."""
    chain = [(("device", f"{n:05d}"), ("device", f"{n + 1:05d}")) for n in range(10_000)]
    hub = [(("member", f"{n:05d}"), ("device", "00500")) for n in range(5_000)]
    apart = [(("phone", "x"), ("phone", "y"))]
    links = linked(spark, [*chain, *hub, *apart])
    sizes = in_rounds(spark, links, fits).groupBy("component").count().collect()
    assert sorted(row["count"] for row in sizes) == [2, 15_001]


def test_numbers_of_any_salt_give_their_nodes_back(spark: SparkSession) -> None:
    """Another salt than the first is needed once in many million lakes."""
    links = linked(spark, [(("member", "a"), ("phone", "b")), (("member", "c"), ("phone", "b"))])
    first = first_parents(links, salt=3)
    nodes = with_node(first.withColumn("component", F.lit(0)), salt=3).select(*NODE)
    assert {*nodes.collect()} == {*connected_components(links).select(*NODE).collect()}
    assert [row.has_more for row in first.orderBy("has_more").collect()] == [False, False, True]


SNAP = Path(__file__).parents[3] / "shared/data/graphs"


@pytest.mark.skipif(not SNAP.is_dir(), reason=f"the graphs are not in the repository, nor at {SNAP}")
@pytest.mark.parametrize(("name", "components", "largest"), [("CA-GrQc", 355, 4_158), ("CA-CondMat", 567, 21_363)])
def test_published_graphs(spark: SparkSession, name: str, components: int, largest: int) -> None:
    """SNAP's collaboration networks; their self loops connect nothing but are nodes."""
    text = gzip.decompress((SNAP / f"{name}.txt.gz").read_bytes()).decode()
    pairs = [line.split()[:2] for line in text.splitlines() if line and not line.startswith("#")]
    links = linked(spark, [(("node", a), ("node", b)) for a, b in pairs])
    sizes = connected_components(links).groupBy("component").count().agg(F.count("*"), F.max("count")).head()
    assert tuple(sizes or ()) == (components, largest)
