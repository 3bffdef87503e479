"""The eleven feeds: which function makes each one's rows, the form of its files and the dirt in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.simulation.apps import app, mini_program, social
from transforms.simulation.care import crm, service
from transforms.simulation.dirt import Dirt, broken, delivered, soiled
from transforms.simulation.money import finance
from transforms.simulation.outreach import marketing
from transforms.simulation.plan import SimulationPlan
from transforms.simulation.shops import ecommerce, marketplace, store_pos
from transforms.simulation.stock import erp


@dataclass(frozen=True)
class Feed:
    """One source's files.

    Attributes:
        rows: from people (or ids, for stock) and the plan to raw rows.
        extension: of its files; `.gz` means gzip.
        delimiter: between the columns of a CSV line; none for JSON lines and Parquet.
        resends: whether a night's file comes twice.
        repeats: share of rows that stand twice in their file.
    """

    name: str
    rows: Callable[[DataFrame, SimulationPlan], DataFrame]
    extension: str
    dirt: Sequence[Dirt]
    delimiter: str | None = None
    resends: bool = False
    repeats: float = 0.0

    @property
    def is_parquet(self) -> bool:
        """Whether it is written with types rather than as lines of text."""
        return self.extension == "parquet"


FEEDS: dict[str, Feed] = {
    feed.name: feed
    for feed in (
        Feed(
            "store_pos", store_pos, "csv.gz", delimiter="|", resends=True, repeats=0.002,
            dirt=(
                Dirt("txn_time", ("20261399250000", "00000000000000", "20991231120000"), 0.001),
                Dirt("amt_fen", ("12,50", "abc", "--"), 0.0008),
                Dirt("qty", ("-1", "0"), 0.0012),
                Dirt("store_code", ("TEST", "S9"), 0.0008),
                Dirt("txn_type", ("X",), 0.0006),
                Dirt("txn_type", ("T",), 0.001),
            ),
        ),
        Feed(
            "ecommerce", ecommerce, "jsonl", resends=True,
            dirt=(
                Dirt("ts", ("not-a-time", "4102444800000", ""), 0.001),
                Dirt("pay_amount", ("free", "1e"), 0.001, "evt = 'order'"),
                Dirt("num", ("-2", "0"), 0.0015, "evt = 'order'"),
                Dirt("evt", ("undefined",), 0.0008),
                Dirt("cookie", ("null", "undefined", "-"), 0.004),
            ),
        ),
        Feed(
            "mini_program", mini_program, "jsonl.gz",
            dirt=(
                Dirt("time", ("2026-02-30T25:00:00+08:00", "yesterday"), 0.001),
                Dirt("stay", ("-3", "long"), 0.001, "stay is not null"),
                Dirt("act", ("??",), 0.0008),
                Dirt("open_id", ("null", "undefined"), 0.002),
            ),
        ),
        Feed(
            "app", app, "parquet", repeats=0.003,
            dirt=(
                Dirt("event_time", ("4102444800", "none"), 0.001),
                Dirt("stay_sec", ("-20",), 0.001, "stay_sec is not null"),
                Dirt("action", ("v1ew",), 0.0008),
                Dirt("device_id", ("00000000", "unknown", "N/A"), 0.003),
            ),
        ),
        Feed(
            "social", social, "json", repeats=0.003,
            dirt=(
                Dirt("created_at", ("31/31/2026", "2099-12-31T00:00:00Z"), 0.001),
                Dirt("kind", ("spam",), 0.001),
                Dirt("account", ("anonymous", "匿名"), 0.005),
            ),
        ),
        Feed(
            "marketplace", marketplace, "csv", delimiter=",", resends=True, repeats=0.002,
            dirt=(
                Dirt("ActionTime", ("2026/00/00 00:00", "2099/12/31 00:00"), 0.0012),
                Dirt("Payment", ("¥?", "面议"), 0.0015, "Status <> 'RATED'"),
                Dirt("Stars", ("9", "0"), 0.003, "Status = 'RATED'"),
                Dirt("Status", ("UNKNOWN",), 0.0008),
                Dirt("BuyerNick", ("匿名", "N/A"), 0.003),
            ),
        ),
        Feed(
            "crm", crm, "csv", delimiter=",", repeats=0.002,
            dirt=(
                Dirt("op_time", ("0000-00-00 00:00:00", "2099-01-01 00:00:00"), 0.001),
                Dirt("email", ("test@test.com", "none", "no@no.com"), 0.006, "email is not null"),
                Dirt("birth", ("1900-01-01", "1990/5/1"), 0.006, "birth is not null"),
                Dirt("member_no", ("??",), 0.001),
                Dirt("op", ("MERGE?",), 0.0008),
                Dirt("op", ("SYNC",), 0.001),
            ),
        ),
        Feed(
            "erp", erp, "parquet",
            dirt=(
                Dirt("on_hand", ("-7",), 0.002),
                Dirt("biz_date", ("20261332",), 0.001),
                Dirt("kind", ("DRAFT",), 0.003),
            ),
        ),
        Feed(
            "service", service, "csv", delimiter=";", repeats=0.003,
            dirt=(
                Dirt("opened", ("99.99.2026 10:00", "31.12.2099 10:00"), 0.001),
                Dirt("refund", ("全额", "x"), 0.004, "kind in ('RT', 'CX')"),
                Dirt("score", ("11", "-"), 0.003, "kind = 'RATE'"),
                Dirt("kind", ("OTHER",), 0.001),
            ),
        ),
        Feed(
            "finance", finance, "csv", delimiter=",", repeats=0.002,
            dirt=(
                Dirt("biz_date", ("2026.13.01", "2099.12.31"), 0.001),
                Dirt("amount", ("-1,000.00", "N/A"), 0.002),
                Dirt("biz_type", ("???",), 0.001),
            ),
        ),
        Feed(
            "marketing", marketing, "jsonl.gz",
            dirt=(
                Dirt("at", ("soon", "2099-12-31T00:00:00Z"), 0.0008),
                Dirt("unit_cost", ("-1",), 0.001, "unit_cost is not null"),
                Dirt("action", ("bounce_unknown",), 0.0008),
                Dirt("campaign_id", ("",), 0.001, "campaign_id is not null"),
            ),
        ),
    )
}  # fmt: skip


def simulate_feed(feed: Feed, people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """The raw rows that `feed` delivers.

    Returns:
        The source's own columns, and `_dt` (arrival date), `_file` (number in that folder), `_date`, `_second`,
        `_key` (together the order within a file).
    """
    rows = soiled(feed.rows(people, plan), plan, feed.name, feed.dirt)
    return delivered(rows, plan, feed.name, resends=feed.resends, repeats=feed.repeats).drop("_batch")


def source_columns(rows: DataFrame) -> list[str]:
    """The columns that the source itself writes."""
    return [name for name in rows.columns if not name.startswith("_")]


def as_lines(feed: Feed, rows: DataFrame, plan: SimulationPlan) -> DataFrame:
    """The same rows as lines of text: column `value` in place of the source's columns; a few lines are broken."""
    line = _line(feed, [F.col(name) for name in source_columns(rows)])
    kept = [name for name in rows.columns if name.startswith("_")]
    return rows.select(*kept, broken(plan, feed.name, line, feed.delimiter).alias("value"))


def header_line(feed: Feed, rows: DataFrame) -> str | None:
    """The first line of each of the feed's files; none but in CSV."""
    return feed.delimiter.join(source_columns(rows)) if feed.delimiter else None


def _line(feed: Feed, columns: Sequence[Column]) -> Column:
    if feed.delimiter is None:
        return F.to_json(F.struct(*columns))
    # Not every reader takes Spark's backslash for a quote inside quotes; all take a doubled quote.
    return F.to_csv(F.struct(*columns), {"delimiter": feed.delimiter, "quote": '"', "escape": '"'})
