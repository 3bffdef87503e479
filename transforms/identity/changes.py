"""Who changed owner in a run and why; the log of it is the mapping of any past day."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import silver
from transforms.identity.lawful import MUST_LINK
from transforms.identity.nodes import KEY

KINDS = ("created", "joined", "merged", "split", "moved", "retired")
_OTHER = ["other_type", "other_value"]
Hint = Callable[[DataFrame], DataFrame]


def changed_owners(before: DataFrame, identities: DataFrame) -> DataFrame:
    """Identifiers whose owner is another than before: (identifier_type, identifier, customer_id, previous_customer_id).

    Args:
        before: (identifier_type, identifier, customer_id) of the run before, without owners left out.
        identities: silver.identities of this run.
    """
    was = before.withColumnRenamed("customer_id", "previous_customer_id")
    return was.join(_owned(identities), KEY, "full").where("not (previous_customer_id <=> customer_id)")


def told_changes(changed: DataFrame, before: DataFrame, identities: DataFrame, is_few: bool = False) -> DataFrame:
    """`changed_owners` with the `change` that each is.

    A new identifier is `created` with a new customer or has `joined` one. Of an identifier with another owner than
    before, the old customer is no more (`merged`), or the new one is new (`split`), or both were and are (`moved`).
    `retired`: it has no owner any more.

    Args:
        before, identities: the two mappings, as `changed_owners` takes them.
        is_few: whether what changed is looked up by broadcast; else millions of identifiers are shuffled for it.
    """
    hint = _hint(is_few)
    still = _existing(_owned(identities), changed, "previous_customer_id", "_is_still", hint)
    was = _existing(before, changed, "customer_id", "_was", hint)
    flagged = changed.join(hint(still), "previous_customer_id", "left").join(hint(was), "customer_id", "left")
    is_new, has_owner = F.col("previous_customer_id").isNull(), F.col("customer_id").isNotNull()
    change = (
        F.when(~has_owner, F.lit("retired"))
        .when(is_new & F.col("_was"), F.lit("joined"))
        .when(is_new, F.lit("created"))
        .when(F.col("_is_still").isNull(), F.lit("merged"))
        .when(F.col("_was").isNull(), F.lit("split"))
        .otherwise(F.lit("moved"))
    )
    return flagged.select(*KEY, "customer_id", "previous_customer_id", change.alias("change"))


def links_of_changed(
    links: DataFrame, told: DataFrame, is_few: bool = False, kinds: Collection[str] = KINDS
) -> DataFrame:
    """What may have brought identifiers to their customer: each one's links, seen from it; one row a link and end.

    Args:
        links: silver.identity_links of this run.
        told, is_few, kinds: as `identity_changes` takes them.

    Returns:
        The row of `told`, other_type and other_value of the link's other end, first_arrival_date, is_must.
    """
    changed = _hint(is_few)(_of_kind(told, kinds, "joined", "merged", "moved"))
    edges = links.withColumn("is_must", F.array_contains("sources", MUST_LINK))
    ends = [_seen_from(edges, *order, "first_arrival_date", "is_must").join(changed, KEY) for order in ("ab", "ba")]
    return ends[0].unionByName(ends[1])


def identity_changes(
    told: DataFrame,
    before: DataFrame,
    identities: DataFrame,
    links: DataFrame,
    refusals: DataFrame,
    run_date: date,
    is_few: bool = False,
    kinds: Collection[str] = KINDS,
) -> DataFrame:
    """The difference between two mappings, in the columns of silver.identity_changes.

    Args:
        told: `told_changes`.
        before, identities, is_few: as there.
        links: `links_of_changed`.
        refusals: silver.identity_refusals of this run; the causes are among these two.
        kinds: the changes that are among them; causes of others are left out of the plan, which has 70 jobs whole.
    """
    hint, now = _hint(is_few), _owned(identities)
    came = _bridges(links, before, now, hint)
    went = _partings(refusals, _of_kind(told, kinds, "split", "moved"), now, hint)
    retired = _of_kind(told, kinds, "retired").select(*KEY)
    caused = _with_cause(told, came, went, identities.join(hint(retired), KEY, "left_semi"), hint)
    return caused.withColumn("run_date", F.lit(run_date)).select(*silver.IDENTITY_CHANGES.column_names)


def mapping_before(changes: DataFrame, run_date: date) -> DataFrame:
    """(identifier_type, identifier, customer_id) as of the day before a run date, replayed from the log."""
    known = changes.where(F.col("run_date") < F.lit(run_date))
    last = known.groupBy(*KEY).agg(F.max_by("customer_id", "run_date").alias("customer_id"))
    return last.where("customer_id is not null")


def mapping_on(history: DataFrame, day: date) -> DataFrame:
    """(identifier_type, identifier, customer_id) before a run date, from silver.identity_history up to it."""
    was = (F.col("valid_from") < F.lit(day)) & F.coalesce(F.col("valid_to") >= F.lit(day), F.lit(True))
    return history.where(was).select(*KEY, "customer_id")


def identity_history(changes: DataFrame) -> DataFrame:
    """The log as days on which each identifier had one owner, in the columns of silver.identity_history."""
    in_order = Window.partitionBy(*KEY).orderBy("run_date")
    owned = changes.select(
        *KEY, "customer_id", F.col("run_date").alias("valid_from"), F.lead("run_date").over(in_order).alias("valid_to")
    )
    return owned.where("customer_id is not null").select(*silver.IDENTITY_HISTORY.column_names)


def extend_history(history: DataFrame, changes: DataFrame, day: date, is_few: bool = False) -> DataFrame:
    """silver.identity_history with the changes of its newest run date, which may be in it already.

    Args:
        changes: silver.identity_changes of that date.
        is_few: whether they are looked up by broadcast.
    """
    earlier = history.where(F.col("valid_from") < F.lit(day))
    closing = _hint(is_few)(changes.select(*KEY, F.lit(True).alias("_is_over")))
    # What this very date closed is open again, if the date is found again to leave it.
    is_closed = F.col("valid_to") < F.lit(day)
    until = F.when(is_closed, F.col("valid_to")).when(F.col("_is_over"), F.lit(day))
    closed = earlier.join(closing, KEY, "left").withColumn("valid_to", until)
    new = changes.where("customer_id is not null").select(
        *KEY, "customer_id", F.lit(day).alias("valid_from"), F.lit(None).cast("date").alias("valid_to")
    )
    columns = silver.IDENTITY_HISTORY.column_names
    return closed.select(*columns).unionByName(new.select(*columns))


def with_other_rows(history: DataFrame, changes: DataFrame, day: date) -> DataFrame:
    """(identifier_type, identifier) of the rows of silver.identity_history that `extend_history` leaves otherwise.

    Owners who were found on that very date or after it, and the owners of before that the changes end.
    """
    ended = changes.where("previous_customer_id is not null").select(*KEY)
    found = history.where((F.col("valid_from") >= F.lit(day)) | (F.col("valid_to") >= F.lit(day))).select(*KEY)
    return ended.union(found).distinct()


def id_change_rate(changes: DataFrame, known: DataFrame, anchor_types: list[str]) -> DataFrame:
    """One row `id_change_rate`: of the customers that had an anchor-type identifier, the share whose id is another now.

    Anonymous visitors, whose id changes once when they are identified, are so left out. Null on the first run.

    Args:
        changes: silver.identity_changes of a run date.
        known: `anchored_customers` of the run before.
    """
    moved = changes.where(F.col("change").isin("merged", "split", "moved", "retired"))
    lost = moved.where(F.col("identifier_type").isin(anchor_types)).agg(
        F.countDistinct("previous_customer_id").alias("n")
    )
    rate = F.try_divide("n", "known").cast("double")
    return lost.crossJoin(known).select(F.round(rate, 6).alias("id_change_rate"))


def anchored_customers(mapping: DataFrame, anchor_types: list[str]) -> DataFrame:
    """One row `known`: how many customers of a mapping have an identifier of an anchor type."""
    anchored = mapping.where(F.col("identifier_type").isin(anchor_types))
    return anchored.agg(F.countDistinct("customer_id").alias("known"))


def _of_kind(told: DataFrame, kinds: Collection[str], *wanted: str) -> DataFrame:
    """The changes of some kinds; where there are none, a frame that Spark knows to be empty."""
    present = [kind for kind in wanted if kind in kinds]
    return told.where(F.col("change").isin(*present) if present else F.lit(False))


def _hint(is_few: bool) -> Hint:
    return F.broadcast if is_few else lambda frame: frame


def _owned(identities: DataFrame) -> DataFrame:
    return identities.where("customer_id is not null").select(*KEY, "customer_id")


def _existing(mapping: DataFrame, changed: DataFrame, named: str, flag: str, hint: Hint) -> DataFrame:
    """Which of the customers in a column of `changed` the mapping knows."""
    sought = changed.select(F.col(named).alias("customer_id")).where("customer_id is not null").distinct()
    known = mapping.join(hint(sought), "customer_id", "left_semi").select("customer_id").distinct()
    return known.select(F.col("customer_id").alias(named), F.lit(True).alias(flag))


def _with_cause(
    changed: DataFrame, bridges: DataFrame, partings: DataFrame, identities: DataFrame, hint: Hint
) -> DataFrame:
    """Each change with the evidence that came (a link) or that ceased to count (a refusal, a block, a withdrawal)."""
    of_identifier = bridges.groupBy(*KEY).agg(F.max("evidence").alias("own"))
    of_customer = bridges.groupBy("previous_customer_id", "customer_id").agg(F.max("evidence").alias("bridge"))
    rules = identities.select(*KEY, F.col("status").alias("_status"))
    joined = (
        changed.join(hint(of_identifier), KEY, "left")
        .join(hint(of_customer), ["previous_customer_id", "customer_id"], "left")
        .join(hint(partings), ["previous_customer_id", "customer_id"], "left")
        .join(hint(rules), KEY, "left")
    )
    is_new = F.col("change") == "joined"
    came = F.when(is_new, F.col("own")).when(F.col("change").isin("merged", "moved"), F.col("bridge"))
    link = F.when(came["is_must"], F.lit(MUST_LINK)).otherwise(F.lit("link"))
    retired = F.when(F.col("_status").isNull(), F.lit("erased")).otherwise(F.lit("blocked_value"))
    cause = (
        F.when(came.isNotNull(), link)
        .when(F.col("change") == "created", F.lit("first_seen"))
        .when(F.col("change") == "retired", retired)
        .when(F.col("parting").isNotNull(), F.col("parting.reason"))
        .otherwise(F.lit("withdrawn"))
    )
    other = F.coalesce(came["other"], F.when(F.col("change").isin("split", "moved"), F.col("parting.other")))
    return joined.withColumn("cause_type", cause).withColumn("cause_identifier", other)


def _bridges(links: DataFrame, before: DataFrame, now: DataFrame, hint: Hint) -> DataFrame:
    """Those of `links_of_changed` that were followed, to others of the customer that had another owner before.

    Columns: the changed identifier, its customer before and now, `evidence` (struct, the greatest is the latest).
    """
    others = links.select(*_OTHER).distinct()
    bridging = (
        links.join(hint(_renamed(before, "other_before", others, hint)), _OTHER, "left")
        .join(hint(_renamed(now, "other_now", others, hint)), _OTHER)
        .where("customer_id = other_now and not (previous_customer_id <=> other_before)")
    )
    evidence = F.struct("first_arrival_date", _named("other_type", "other_value").alias("other"), "is_must")
    return bridging.select(*KEY, "previous_customer_id", "customer_id", evidence.alias("evidence"))


def _partings(refusals: DataFrame, changed: DataFrame, now: DataFrame, hint: Hint) -> DataFrame:
    """Refused links from changed identifiers' customers to others: (previous_customer_id, customer_id, parting)."""
    new = changed.select("customer_id").distinct()
    inside = now.join(hint(new), "customer_id", "left_semi")
    ends = [_seen_from(refusals, *order, "reason", "last_seen_at").join(hint(inside), KEY) for order in ("ab", "ba")]
    both = ends[0].unionByName(ends[1])
    others = both.select(*_OTHER).distinct()
    owned = both.join(hint(_renamed(now, "previous_customer_id", others, hint)), _OTHER)
    why = F.struct("last_seen_at", _named("other_type", "other_value").alias("other"), "reason")
    return owned.groupBy("previous_customer_id", "customer_id").agg(F.max(why).alias("parting"))


def _seen_from(pairs: DataFrame, this: str, other: str, *columns: str) -> DataFrame:
    return pairs.select(
        F.col(f"type_{this}").alias("identifier_type"),
        F.col(f"value_{this}").alias("identifier"),
        F.col(f"type_{other}").alias("other_type"),
        F.col(f"value_{other}").alias("other_value"),
        *columns,
    )


def _renamed(owners: DataFrame, name: str, sought: DataFrame, hint: Hint) -> DataFrame:
    """Owners of the sought identifiers, named as the other end of a link."""
    named = owners.select(
        F.col("identifier_type").alias("other_type"),
        F.col("identifier").alias("other_value"),
        F.col("customer_id").alias(name),
    )
    return named.join(hint(sought), _OTHER, "left_semi")


def _named(kind: str, value: str) -> Column:
    return F.concat(F.col(kind), F.lit(":"), F.col(value))
