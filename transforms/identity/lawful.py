"""From components to lawful customers: components first, audit second, replay of the unlawful ones only.

Nearly all components break no rule, so the cost of the rules falls on the few that do.
"""

from __future__ import annotations

from datetime import date, datetime, timezone
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.identity.identifiers import IdentityRules
from transforms.identity.nodes import KEY, PAIR, with_component
from transforms.identity.replay import Limits, Link, replay

MUST_LINK = "must_link"
_COLUMNS = (*PAIR, "reason", "part")
_REPLAYED = ", ".join(f"{name} string" for name in _COLUMNS)


def place(seen: DataFrame, components: DataFrame) -> DataFrame:
    """Every identifier with its component, null where it has no link; key (identifier_type, identifier).

    Args:
        seen: `links.identifiers_seen`.
        components: (node_high, node_low, component) over all links.
    """
    return with_component(seen, components)


def unlawful_components(placed: DataFrame, apart: DataFrame, as_of: date, rules: IdentityRules) -> DataFrame:
    """(component,), key component: those that break a rule; few, where evidence is any good.

    Args:
        placed: `place`.
        apart: pairs (type_a, value_a, type_b, value_b) that are never one customer.
        as_of: the run date; a limit with a period counts values last seen in (as_of - period, as_of].
    """
    broken: list[Column] = []
    for kind in rules.types:
        is_kind = F.col("identifier_type") == kind.type
        if kind.unique:
            broken.append(F.count_if(is_kind) > 1)
        if kind.max_per_customer:
            broken.append(F.count_if(is_kind & counts(kind.period_days, as_of)) > kind.max_per_customer)
    if rules.max_customer_size:
        broken.append(F.count("*") > rules.max_customer_size)
    too_many = reduce(lambda left, right: left | right, broken, F.lit(False))
    linked = placed.where("component is not null")
    by_rule = linked.groupBy("component").agg(too_many.alias("is_broken")).where("is_broken").select("component")
    few = F.broadcast(apart)
    ends = [
        linked.select(
            F.col("identifier_type").alias(f"type_{end}"),
            F.col("identifier").alias(f"value_{end}"),
            F.col("component").alias(f"component_{end}"),
        ).join(few.select(f"type_{end}", f"value_{end}"), [f"type_{end}", f"value_{end}"], "left_semi")
        for end in "ab"
    ]
    together = apart.join(ends[0], ["type_a", "value_a"]).join(ends[1], ["type_b", "value_b"])
    by_decision = together.where("component_a = component_b").select(F.col("component_a").alias("component"))
    return by_rule.union(by_decision).distinct()


def replay_unlawful(
    placed: DataFrame, unlawful: DataFrame, links: DataFrame, apart: DataFrame, as_of: date, rules: IdentityRules
) -> DataFrame:
    """Every component that breaks a rule, rebuilt alone, tier by tier.

    Args:
        placed, unlawful, apart, as_of: as in `unlawful_components`.
        links: silver.identity_links.

    Returns:
        Rows of two kinds, for `lawful_components` and `refused_links`: a refused link with its `reason`, and an
        identifier (`type_b` null) with its `part`, null where it keeps no link.
    """
    return _replayed(placed.join(F.broadcast(unlawful), "component"), links, apart, as_of, rules)


def lawful_components(placed: DataFrame, replayed: DataFrame) -> DataFrame:
    """`place` with the parts of rebuilt components as their components, null where an identifier stands alone now.

    Added: `is_ambiguous`.

    Args:
        replayed: `replay_unlawful`; few, so broadcast.
    """
    nodes = replayed.where("type_b is null").select(
        F.col("type_a").alias("identifier_type"),
        F.col("value_a").alias("identifier"),
        F.struct("part", F.coalesce(F.col("reason") == "ambiguous", F.lit(False)).alias("is_ambiguous")).alias("_new"),
    )
    joined = placed.join(F.broadcast(nodes), KEY, "left")
    lawful = F.col("component").cast("string")
    return joined.select(
        *[name for name in placed.columns if name != "component"],
        F.when(F.col("_new").isNotNull(), F.col("_new.part")).otherwise(lawful).alias("component"),
        F.coalesce(F.col("_new.is_ambiguous"), F.lit(False)).alias("is_ambiguous"),
    )


def refused_links(replayed: DataFrame) -> DataFrame:
    """(type_a, value_a, type_b, value_b, reason), key the pair."""
    return replayed.where("type_b is not null").select(*PAIR, "reason")


def counts(period_days: int | None, as_of: date) -> Column:
    """Whether a value of silver.identities counts towards its type's limit as of a date."""
    return F.lit(True) if period_days is None else F.col("last_seen_date") > F.date_sub(F.lit(as_of), period_days)


def _replayed(placed: DataFrame, links: DataFrame, apart: DataFrame, as_of: date, rules: IdentityRules) -> DataFrame:
    """Rows of two kinds: a refused link with its reason, and an identifier (`type_b` null) with its part.

    One task works on one component at a time, so a component must fit a worker's memory.
    """
    period = {kind.type: kind.period_days for kind in rules.types if kind.max_per_customer}
    counted = [(F.col("identifier_type") == name) & counts(days, as_of) for name, days in period.items()]
    is_counted = reduce(lambda left, right: left | right, counted, F.lit(False))
    nodes = placed.select(
        "component",
        F.col("identifier_type").alias("type_a"),
        F.col("identifier").alias("value_a"),
        *[F.lit(None).cast("string").alias(name) for name in ("type_b", "value_b")],
        F.when(is_counted, F.lit("counted")).otherwise(F.lit("node")).alias("role"),
        F.lit(None).cast("timestamp").alias("last_seen_at"),
        F.lit(None).cast("bigint").alias("event_count"),
        F.lit(None).cast("double").alias("probability"),
    )
    of_node = placed.select("component", *[F.col(k).alias(n) for k, n in zip(KEY, ("type_a", "value_a"), strict=True)])
    role = F.when(F.array_contains("sources", MUST_LINK), F.lit(MUST_LINK)).otherwise(F.lit("link"))
    edges = links.join(F.broadcast(of_node), ["type_a", "value_a"]).select(
        "component", *PAIR, role.alias("role"), "last_seen_at", "event_count", "probability"
    )
    cannot = apart.join(of_node, ["type_a", "value_a"]).select(
        "component",
        *PAIR,
        F.lit("cannot_link").alias("role"),
        F.lit(None).cast("timestamp").alias("last_seen_at"),
        F.lit(None).cast("bigint").alias("event_count"),
        F.lit(None).cast("double").alias("probability"),
    )
    limits = limits_of(rules)

    together = nodes.unionByName(edges).unionByName(cannot)
    return together.groupBy("component").applyInArrow(lambda table: _rebuilt(table, limits), _REPLAYED)


def _rebuilt(table: pa.Table, limits: Limits) -> pa.Table:
    """One component's rows, rebuilt."""
    links, nodes, counted, apart = [], [], [], []
    for row in table.to_pylist():
        one, other = (row["type_a"], row["value_a"]), (row["type_b"], row["value_b"])
        if row["role"] in ("node", "counted"):
            nodes.append(one)
            counted += [one] if row["role"] == "counted" else []
        elif row["role"] == "cannot_link":
            apart.append((one, other))
        else:
            strength = (_micros(row["last_seen_at"]), row["event_count"])
            links.append(Link(one, other, strength, row["role"] == MUST_LINK, row["probability"]))
    outcome = replay(links, limits, counted, apart)
    part_of = {node: f"{table['component'][0]}.{n}" for n, group in enumerate(outcome.customers) for node in group}
    rows: list[tuple[str | None, ...]] = [(*a, *b, reason, None) for (a, b), reason in sorted(outcome.refused.items())]
    rows += [
        (*node, None, None, "ambiguous" if node in outcome.ambiguous else None, part_of.get(node))
        for node in sorted(nodes)
    ]
    columns = zip(*rows, strict=True)
    return pa.table({name: pa.array(values, pa.string()) for name, values in zip(_COLUMNS, columns, strict=True)})


def _micros(at: datetime | None) -> int:
    """Microseconds since 1970; a decision has no time."""
    return 0 if at is None else int(at.replace(tzinfo=timezone.utc).timestamp()) * 1_000_000 + at.microsecond


def limits_of(rules: IdentityRules) -> Limits:
    """The rules as the replay takes them."""
    return Limits(
        tier=rules.tier,
        unique=frozenset(kind.type for kind in rules.types if kind.unique),
        most={kind.type: kind.max_per_customer for kind in rules.types if kind.max_per_customer},
        max_size=rules.max_customer_size,
    )
