"""Orders: lines of one order together, with the returns that name them taken off.

Amounts are what was paid after discounts. Returns reduce an order from the date they happen on; inside windows they
count on their order's date. Returns that name no order that is known stay on their own date. What was given away
(`is_gift`) is no purchase: of its lines and their returns nothing counts, an order of gifts only is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Literal

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.window import WindowSpec

from transforms.contracts import MONEY, QUANTITY, silver

ZeroValueOrders = Literal["exclude", "count"]
RETURN_TYPES = ("return", "cancel")

_DIMENSIONS = ("channel", "store_id", "city", "province", "product_id", "category", "brand")


def build_order_lines(
    events: DataFrame, as_of: date, tiers: Mapping[str, int], zero_value: ZeroValueOrders
) -> DataFrame:
    """Order lines as of a date, in the columns of silver.order_lines; key event_id.

    Args:
        events: silver.events that had arrived by `as_of`.
        tiers: identifier type to its place in the priority order; an order is led by its lines' strongest lead.
        zero_value: whether an order that cost nothing counts as a purchase.
    """
    lines = priced_lines(events, as_of, tiers, zero_value)
    returns = match_returns(events, lines, as_of).where("is_matched")
    netted = _net_lines(lines.where("not is_gift"), returns)
    per_order = Window.partitionBy("order_id")
    net = F.sum("net_amount").over(per_order)
    left = F.sum(F.col("quantity") - F.col("returned_quantity")).over(per_order)
    still_counts = F.col("is_sale") & (left > 0) & ((net > 0) | (F.col("order_gross") == 0))
    known_at = F.greatest(F.max("arrival_date").over(per_order), F.col("returns_arrived"))
    counted = netted.withColumn("is_purchase", still_counts).withColumn("known_at_date", known_at)
    return counted.select(*silver.ORDER_LINES.column_names)


def build_orders(lines: DataFrame) -> DataFrame:
    """One row per order from silver.order_lines, in the columns of silver.orders; key order_id."""
    first = F.struct("line_rank", *_DIMENSIONS)
    ranked = lines.withColumn("line_rank", F.struct(F.col("line_id"), F.col("event_id")))
    summed = ranked.groupBy("order_id").agg(
        F.min(first).alias("first"),
        F.count("*").alias("item_count"),
        *[F.sum(name).cast(MONEY).alias(name) for name in _MONEY_COLUMNS],
        F.sum("quantity").cast(QUANTITY).alias("quantity"),
        F.sum("returned_quantity").alias("returned_quantity"),
        *[F.min(name).alias(name) for name in ("coupon_id", "campaign_id", "order_date", *LEAD)],
        F.max("known_at_date").alias("known_at_date"),
        F.bool_or("is_purchase").alias("is_purchase"),
    )
    all_back = (F.col("returned_amount") > 0) & (F.col("net_amount") <= 0)
    pieces_back = (F.col("returned_quantity") > 0) & (F.col("returned_quantity") >= F.col("quantity"))
    named = summed.select(
        "*",
        *[F.col("first")[name].alias(name) for name in _DIMENSIONS],
        (all_back | pieces_back).alias("is_fully_returned"),
    )
    return named.select(*silver.ORDERS.column_names)


def order_events(events: DataFrame) -> DataFrame:
    """Events of orders: lines, returns and cancels, with their `order_id`.

    A line without an order number is an order of its own; a return without one (null) belongs to none.
    """
    alone = F.when(F.col("event_type") == "order", F.concat_ws(":", "source", "event_id"))
    of_orders = events.where(F.col("event_type").isin("order", *RETURN_TYPES))
    return of_orders.withColumn("order_id", F.coalesce("order_id", alone))


def touched_orders(events: DataFrame) -> DataFrame:
    """(order_id, has_line), key order_id: orders that the events name, and whether one of them is a line."""
    named = order_events(events).where("order_id is not null").groupBy("order_id")
    return named.agg(F.bool_or(F.col("event_type") == "order").alias("has_line"))


LEAD = ("lead_identifier_type", "lead_identifier")
_MONEY_COLUMNS = ("gross_amount", "discount_amount", "returned_amount", "net_amount", "cost_amount")


def priced_lines(events: DataFrame, as_of: date, tiers: Mapping[str, int], zero_value: ZeroValueOrders) -> DataFrame:
    """Order events up to `as_of` with what their whole order says; one shuffle by order_id.

    Added: order_date (of the first line), the order's lead on every line, order_gross, order_quantity,
    is_first_line, is_sale (a purchase before any return). An event without an order number is its own order; a
    missing quantity is one piece. Gift lines stay, marked by is_gift, for `match_returns` to know them; what is said
    of their order does not see them.
    """
    sold = order_events(events).where((F.col("event_type") == "order") & (F.col("event_date") <= F.lit(as_of)))
    lines = sold.select(
        *[name for name in sold.columns if name not in ("quantity", "amount", "is_gift")],
        F.coalesce("is_gift", F.lit(False)).alias("is_gift"),
        F.coalesce("quantity", F.lit(1).cast(QUANTITY)).alias("quantity"),
        F.coalesce("amount", F.lit(0).cast(MONEY)).alias("gross_amount"),
    )
    per_order = Window.partitionBy("order_id")
    tier = F.lit(len(tiers))
    for name, place in tiers.items():
        tier = F.when(F.col("lead_identifier_type") == name, F.lit(place)).otherwise(tier)
    strength = F.struct(tier.alias("tier"), *LEAD)
    is_bought = ~F.col("is_gift")
    lead = F.min(F.when(is_bought & F.col("lead_identifier").isNotNull(), strength)).over(per_order)
    first_line = F.row_number().over(per_order.orderBy("is_gift", "event_at", "line_id", "event_id")) == 1
    whole = lines.select(
        *[name for name in lines.columns if name not in LEAD],
        *[lead[name].alias(name) for name in LEAD],
        F.min(F.when(is_bought, F.col("event_date"))).over(per_order).alias("order_date"),
        F.sum(F.when(is_bought, F.col("gross_amount"))).over(per_order).alias("order_gross"),
        F.sum(F.when(is_bought, F.col("quantity"))).over(per_order).alias("order_quantity"),
        first_line.alias("is_first_line"),
    )
    costs_nothing = (F.col("order_gross") == 0) & F.lit(zero_value == "count")
    return whole.withColumn("is_sale", (F.col("order_quantity") > 0) & ((F.col("order_gross") > 0) | costs_nothing))


def match_returns(events: DataFrame, lines: DataFrame, as_of: date) -> DataFrame:
    """Returns and cancels up to `as_of`, each with what it takes off and from which order; key event_id.

    A return or cancel without an amount takes what is left of its line, or of its order. Added to the event's
    columns: is_matched, is_line (it names one line), order_date and lead of its order, returned_amount,
    returned_quantity, ends_purchase (the return by which the order ceases to be a purchase). Unmatched ones keep
    their own lead and have no order_date. Returns of gifts are left out: they name a gift line or an order of gifts
    only, or say so themselves.
    """
    back = events.where(F.col("event_type").isin(*RETURN_TYPES) & (F.col("event_date") <= F.lit(as_of)))
    found = back.join(_sold(lines, back), "order_id", "left").withColumns(
        {f"line_{name}": F.col("lines_by_id")[F.col("line_id")][name] for name in ("gross", "quantity", "is_gift")}
        | {"line": F.col("lines_by_id")[F.col("line_id")]["first"]}
    )
    of_gifts = F.coalesce("is_gift", F.lit(False)) | F.coalesce("line_is_gift", "order_is_gift", F.lit(False))
    return _resolve_amounts(found.where(~of_gifts).drop("order_is_gift", "line_is_gift", "lines_by_id"))


def _sold(lines: DataFrame, back: DataFrame) -> DataFrame:
    """What returns ask of the orders that they name, and of their lines; key order_id.

    One frame, since each further look at `lines` would have Spark plan their windows again.
    """
    is_bought = ~F.col("is_gift")
    of_order = ("order_date", "order_gross", "order_quantity", "is_sale", *LEAD)
    named = lines.join(back.select("order_id").distinct(), "order_id", "left_semi")
    totals = named.groupBy("order_id", "line_id").agg(
        F.sum(F.when(is_bought, F.col("gross_amount"))).alias("gross"),
        F.sum(F.when(is_bought, F.col("quantity"))).alias("quantity"),
        F.min(F.when(is_bought, F.struct("event_id", *_DIMENSIONS))).alias("first"),
        F.bool_and("is_gift").alias("is_gift"),
        *[F.first(name).alias(name) for name in of_order],  # equal on all lines of an order
    )
    line = F.when(F.col("line_id").isNotNull(), F.struct("line_id", F.struct("gross", "quantity", "first", "is_gift")))
    return totals.groupBy("order_id").agg(
        F.lit(True).alias("is_matched"),
        F.map_from_entries(F.collect_list(line)).alias("lines_by_id"),
        F.bool_and("is_gift").alias("order_is_gift"),
        *[F.first(name).alias(f"order_{name}" if name in LEAD else name) for name in of_order],
    )


def _resolve_amounts(found: DataFrame) -> DataFrame:
    """What each return takes off; line by line first, then what is left of the order."""
    is_matched = F.coalesce(F.col("is_matched"), F.lit(False))
    is_line = is_matched & F.col("line_gross").isNotNull()
    said = found.select(
        *[name for name in found.columns if name not in ("is_matched", "amount", "quantity", *LEAD, *_DIMENSIONS)],
        is_matched.alias("is_matched"),
        is_line.alias("is_line"),
        *[F.when(is_matched, F.col(f"order_{name}")).otherwise(F.col(name)).alias(name) for name in LEAD],
        *[F.coalesce(F.col(name), F.col("line")[name]).alias(name) for name in _DIMENSIONS],
        F.abs("amount").alias("said_amount"),
        F.abs("quantity").alias("said_quantity"),
        F.coalesce("order_id", "event_id").alias("_group"),  # unmatched ones stand alone
        F.when(is_line, F.col("line_id")).alias("_line"),
    ).repartition("_group")  # once: windows over an expression, or over lines too, would each move all rows again
    in_time = ("event_at", "event_id")
    of_line = Window.partitionBy("_group", "_line").orderBy(*in_time)
    of_order = Window.partitionBy("_group").orderBy(*in_time)
    takes_all = F.col("said_amount").isNull()
    whole = takes_all & ~F.col("is_line")
    order_gone = F.coalesce(F.max(whole).over(of_order.rowsBetween(Window.unboundedPreceding, -1)), F.lit(False))
    line_rest = takes_all & F.col("is_line")

    def off_line(said_name: str, total: str) -> Column:  # nothing is left of a line once all of its order is gone
        return F.when(line_rest & order_gone, F.lit(0)).otherwise(_left(of_line, said_name, total, line_rest))

    by_line = said.withColumn("_amount", off_line("said_amount", "line_gross"))
    by_line = by_line.withColumn("_quantity", off_line("said_quantity", "line_quantity"))
    resolved = by_line.withColumn("returned_amount", _left(of_order, "_amount", "order_gross", whole)).withColumn(
        "returned_quantity", _left(of_order, "_quantity", "order_quantity", whole)
    )
    upto = of_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    money_back = (F.sum("returned_amount").over(upto) >= F.col("order_gross")) & (F.col("order_gross") > 0)
    is_over = money_back | (F.sum("returned_quantity").over(upto) >= F.col("order_quantity"))
    ended = resolved.withColumn("_is_over", F.coalesce(is_over, F.lit(False)))
    first_end = F.col("_is_over") & ~F.lag("_is_over", 1, False).over(of_order)
    return (
        ended.withColumn("ends_purchase", first_end & F.coalesce(F.col("is_sale"), F.lit(False)))
        .withColumn("returned_amount", F.col("returned_amount").cast(MONEY))
        .withColumn("returned_quantity", F.col("returned_quantity").cast(QUANTITY))
        .drop("_amount", "_quantity", "_is_over", "_group", "_line", "said_amount", "said_quantity")
    )


def _left(window: WindowSpec, said: str, total: str, takes_all: Column) -> Column:
    """What a return says it takes, or for one that takes all: the total less what earlier ones took, never below 0."""
    before = window.rowsBetween(Window.unboundedPreceding, -1)
    taken = F.coalesce(F.sum(said).over(before), F.lit(0))
    all_gone = F.coalesce(F.max(takes_all).over(before), F.lit(False))
    rest = F.when(~all_gone, F.greatest(F.coalesce(F.col(total), F.lit(0)) - taken, F.lit(0))).otherwise(F.lit(0))
    return F.when(takes_all, rest).otherwise(F.coalesce(F.col(said), F.lit(0)))


def _net_lines(lines: DataFrame, returns: DataFrame) -> DataFrame:
    """Lines with returned and net amounts: returns of a line go to it, those of the order fill its lines in turn."""
    same_line = Window.partitionBy("order_id", "line_id").orderBy("event_id")
    numbered = lines.withColumn("_is_line_head", F.row_number().over(same_line) == 1)
    own = F.col("returned_by_line")[F.col("line_id")]
    joined = numbered.join(_returned(returns), "order_id", "left").withColumns(
        {"line_amount": own["amount"], "line_pieces": own["pieces"]}
    )
    in_turn = Window.partitionBy("order_id").orderBy("line_id", "event_id")
    amount = _filled(in_turn, "gross_amount", "line_amount", "order_amount")
    pieces = _filled(in_turn, "quantity", "line_pieces", "order_pieces")
    return joined.select(
        *lines.columns,
        "returns_arrived",
        amount.cast(MONEY).alias("returned_amount"),
        (F.col("gross_amount") - amount).cast(MONEY).alias("net_amount"),
        pieces.cast(QUANTITY).alias("returned_quantity"),
    )


def _returned(returns: DataFrame) -> DataFrame:
    """What came back of an order as a whole, and of each line of it that a return names; key order_id."""
    summed = returns.groupBy("order_id", F.when(F.col("is_line"), F.col("line_id")).alias("line_id")).agg(
        F.sum("returned_amount").alias("amount"),
        F.sum("returned_quantity").alias("pieces"),
        F.max("arrival_date").alias("arrived"),
    )
    is_whole = F.col("line_id").isNull()
    line = F.when(~is_whole, F.struct("line_id", F.struct("amount", "pieces")))
    return summed.groupBy("order_id").agg(
        F.map_from_entries(F.collect_list(line)).alias("returned_by_line"),
        F.max(F.when(is_whole, F.col("amount"))).alias("order_amount"),
        F.max(F.when(is_whole, F.col("pieces"))).alias("order_pieces"),
        F.max("arrived").alias("returns_arrived"),
    )


def _filled(in_turn: WindowSpec, size: str, direct: str, spread: str) -> Column:
    """What a line gives back: its own returns, then its turn of the order's; the last line takes what is left over."""
    own = F.when(F.col("_is_line_head"), F.coalesce(F.col(direct), F.lit(0))).otherwise(F.lit(0))
    room = F.greatest(F.col(size) - own, F.lit(0))
    before = F.coalesce(F.sum(room).over(in_turn.rowsBetween(Window.unboundedPreceding, -1)), F.lit(0))
    due = F.greatest(F.coalesce(F.col(spread), F.lit(0)) - before, F.lit(0))
    is_last = F.lead("event_id").over(in_turn).isNull()
    return own + F.when(is_last, due).otherwise(F.least(room, due))
