"""One row per real-world event: the lead identifier, and which copy of an event stays."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import silver

# Which copy of an event stays: the earliest arrival, then event time, then content; the place it was read from
# decides between equal copies, so that also lineage is the same whatever the order of files.
ORDER_OF_COPIES = ("arrival_date", "event_at", "_content_hash", "_source_file", "_row_number")
_ID = "_id_bits"


def events_of(judged: DataFrame, linking_types: Sequence[str]) -> DataFrame:
    """The events of the rows that are not refused, with their lead.

    Args:
        judged: rows of `transforms.sources.apply_records`.
        linking_types: identifier types that may lead, strongest first.

    Returns:
        silver.events' columns and `_events_of_row`, how many there are of the same row; one row per event, copies not
        yet removed.
    """
    of_row = F.size("_events").alias("_events_of_row")
    exploded = judged.where(F.size("_problems") == 0).select(of_row, F.explode("_events").alias("event"))
    led = with_lead(exploded.select("event.*", "_events_of_row"), linking_types)
    return led.select(*silver.EVENTS.column_names, "_events_of_row")


def with_lead(events: DataFrame, linking_types: Sequence[str]) -> DataFrame:
    """Events with `lead_identifier(_type)`: the strongest identifier neither blocked nor shared; null for guests."""
    usable = [F.when(is_usable(kind), F.lit(kind)) for kind in linking_types]
    lead = F.coalesce(*usable)
    return events.withColumn("lead_identifier_type", lead).withColumn("lead_identifier", F.col("identifiers")[lead])


def repeated_ids(incoming: DataFrame, known: DataFrame | None) -> DataFrame:
    """64 bits of each event id that is there more than once, in the incoming events or in them and the table.

    Few events have copies, and whole rows need not move to find which: their ids' bits do. Of two ids of the same
    bits (one pair in 10^19) both are taken for repeated, and then judged by the whole id.

    Args:
        incoming, known: as `drop_copies` takes them.
    """
    bits = _bits_of_id().alias(_ID)
    ids = incoming.select(bits) if known is None else incoming.select(bits).union(known.select(bits))
    return ids.groupBy(_ID).agg(F.count("*").alias("copies")).where("copies > 1").select(_ID)


def with_ids(events: DataFrame, ids: DataFrame, is_among: bool) -> DataFrame:
    """The events whose id is among `repeated_ids`, or those whose is not."""
    marked = events.withColumn(_ID, _bits_of_id())
    return marked.join(ids, _ID, "left_semi" if is_among else "left_anti").drop(_ID)


def _bits_of_id() -> Column:
    return F.xxhash64("event_id")


def drop_copies(incoming: DataFrame, known: DataFrame | None) -> DataFrame:
    """Mark every incoming event as `accepted`, `known` (this very row is in the table already) or `duplicate`.

    Args:
        incoming: silver.events' columns; several rows may share an event_id. Of an event that `repeated_ids` does not
            name the answer is known: accepted.
        known: rows of silver.events that may hold the same ids (event_id and ORDER_OF_COPIES' columns); None when
            there is no table yet.

    Returns:
        The incoming rows with `_status` and `_replaces_known`, true where the copy in the table has to give way.
    """
    hashed = incoming.withColumn("_content_hash", content_hash())
    copies = Window.partitionBy("event_id").orderBy(*ORDER_OF_COPIES)
    ranked = hashed.withColumn("_copy", F.row_number().over(copies))
    if known is None:
        best: Column = F.lit(None).cast("struct<a:int>")
        mine, is_same = best, F.lit(False)
        joined = ranked
    else:
        kept = known.select("event_id", F.struct(*ORDER_OF_COPIES).alias("_known"))
        joined = ranked.join(kept, "event_id", "left")
        best, mine = F.col("_known"), F.struct(*ORDER_OF_COPIES)
        is_same = (best["_source_file"] == F.col("_source_file")) & (best["_row_number"] == F.col("_row_number"))
    wins = F.col("_copy") == 1
    status = (
        F.when(best.isNotNull() & F.coalesce(is_same, F.lit(False)), F.lit("known"))
        .when(wins & (best.isNull() | (mine < best)), F.lit("accepted"))
        .otherwise(F.lit("duplicate"))
    )
    replaces = wins & best.isNotNull() & ~F.coalesce(is_same, F.lit(False)) & (status == "accepted")
    return joined.select(*incoming.columns, status.alias("_status"), replaces.alias("_replaces_known"))


def content_hash() -> Column:
    """64 bits over what an event says; decides between copies that arrived and happened at the same time."""
    plain = [c.name for c in silver.EVENTS.columns if not c.type.startswith("map") and not c.name.startswith("_")]
    maps = [F.to_json(c.name) for c in silver.EVENTS.columns if c.type.startswith("map")]
    return F.xxhash64(*[F.col(name) for name in plain if not name.startswith("lead_")], *maps)


def is_usable(kind: str) -> Column:
    """Whether a row has an identifier of a type, and no rule blocks it."""
    has_value = F.col("identifiers")[kind].isNotNull()
    return has_value & F.coalesce(F.col("blocked_identifiers")[kind].isNull(), F.lit(True))
