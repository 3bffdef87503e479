"""report-kpis over a small lake: late events restate yesterday as it stood, once; `explain kpi` says the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from jobs import report_kpis
from jobs.explain_kpi import explain_kpi
from jobs.runtime.job import DONE, FAILED, JobContext
from tests.builders import DAY, days_before, event, frame, identity
from tests.nights import night
from transforms.activity import build_activity
from transforms.contracts import Table, gold, ops, silver
from transforms.kpis import KpiRules
from transforms.orders import build_order_lines, build_orders

YESTERDAY = days_before(1)
RULES = ("revenue", "order_count", "buyers", "customer_count", "first_purchase_customers", "churn_rate")


def sold(order: str, member: str, days_ago: int, arrived: int | None = None, **said: Any) -> dict[str, Any]:
    days = {"event_date": days_before(days_ago), "arrival_date": days_before(days_ago if arrived is None else arrived)}
    return event(order, identifiers={"member": member}, **{"store_id": "S1", **days, **said})


# Customer C1 is member M1, and so on; each order is 100.00.
EVENTS = [
    sold("o1", "M1", 4),
    sold("o2", "M2", 3),
    # happened yesterday at the latest, and came today
    sold("o3", "M2", 2, arrived=0, store_id="S2"),
    sold("o4", "M3", 1, arrived=0),  # nobody knew of C3 yesterday
    # o2 came back today: yesterday it still counted
    event("r", "return", identifiers={"member": "M2"}, order_id="store_pos:o2", line_id="1", amount=100, quantity=1),
    sold("o5", "M1", 0),
]
EXPECTED = {  # as known yesterday; of yesterday as known today; today: revenue, orders, buyers, customers, first bought
    (YESTERDAY, YESTERDAY): [200, 2, 2, 2, 2],
    (YESTERDAY, DAY): [400, 4, 3, 3, 3],
    (DAY, DAY): [400, 4, 3, 3, 3],
}


@dataclass
class Lake:
    """What the nights left."""

    ctx: JobContext
    known_then: dict[str, Any]


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    root = tmp_path_factory.mktemp("kpis")
    with night(root, root / "landing", DAY).interpreted(0):  # as a night of few rows is
        then = _night(root, YESTERDAY)
        known_then = _chain(then, YESTERDAY)
        yield Lake(_night(root, DAY), known_then)


def test_late_events_restate_yesterday_as_it_stood(lake: Lake) -> None:
    """With what is known today of yesterday, and not with what happened after it."""
    found = {
        (YESTERDAY, YESTERDAY): lake.known_then,
        (YESTERDAY, DAY): _chain(lake.ctx, YESTERDAY),
        (DAY, DAY): _chain(lake.ctx, DAY),
    }
    told = {dates: [values[code] for code in RULES[:5]] for dates, values in found.items()}
    assert told == EXPECTED
    rows = lake.ctx.tables.read(gold.KPI_VALUES).groupBy("kpi_date").agg(F.max("known_at_date"), F.min("known_at_date"))
    assert {tuple(row) for row in rows.collect()} == {(YESTERDAY, DAY, DAY), (DAY, DAY, DAY)}
    # C3, of whom yesterday's run knew nothing, is in today's segment; C1 in yesterday's
    by_segment = lake.ctx.tables.read(gold.KPI_VALUES).where("kpi = 'buyers' and grain = 'segment' and period = 'day'")
    yesterdays = {row.segment: row.value for row in by_segment.where(F.col("kpi_date") == F.lit(YESTERDAY)).collect()}
    assert yesterdays == {"active": 2, "new_customer": 1}
    changes = lake.ctx.tables.read(ops.RESTATEMENTS).collect()
    assert [(row.table, row.partition, row.cause) for row in changes] == [("gold.kpi_values", YESTERDAY, "late_events")]


def test_running_again_restates_nothing_and_an_earlier_night_replaces_nothing(lake: Lake) -> None:
    before = lake.ctx.tables.read(gold.KPI_VALUES).localCheckpoint()
    report_kpis.run(lake.ctx)
    earlier = _context(Path(lake.ctx.tables.lake), YESTERDAY)
    report_kpis.run(earlier)
    after = lake.ctx.tables.read(gold.KPI_VALUES)
    assert before.exceptAll(after).count() + after.exceptAll(before).count() == 0
    assert lake.ctx.tables.read(ops.RESTATEMENTS).count() == 1


class View:
    """A run's own tables as a publication of them, one perhaps with other rows."""

    def __init__(self, ctx: JobContext, instead: dict[str, DataFrame] | None = None) -> None:
        self._ctx, self._instead, self.run_date = ctx, instead or {}, ctx.run_date

    def read(self, table: Table | str) -> DataFrame:
        name = table if isinstance(table, str) else table.full_name
        return self._instead[name] if name in self._instead else self._ctx.tables.read(table)

    def read_or_empty(self, table: Table) -> DataFrame:
        return self._ctx.tables.read_or_empty(table)


def test_a_kpi_is_explained_and_comes_again(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    def explained(code: str, places: dict[str, str], view: Any = None, period: str = "day") -> tuple[int, list[str]]:
        console = Console(highlight=False, markup=False, soft_wrap=True)
        found = explain_kpi(view or View(lake.ctx), console, lake.ctx.settings, code, period, places)
        return found, capsys.readouterr().out.splitlines()

    code, lines = explained("buyers", {})
    assert (code, lines) == (
        DONE,
        [
            f"buyers 购买人数 of the chain, day: {days_before(29)} to {DAY}",
            "Customers with a purchase; guests are nobody.",
            "numerator: customers from orders where is_purchase, in the period",
            "rows read:",
            f"  numerator: 4 rows of orders, {days_before(29)} to {DAY} of 3 customers",
            "numerator 3.000000: 3.000000 (count, better up)",
            "most by store: S1 2.000000; S2 1.000000",
            "most by customer: C1 1; C2 1; C3 1",
            "stored: the same",
        ],
    )
    code, lines = explained("revenue", {"store_id": "S1"})
    assert code == DONE
    assert "  numerator: 5 rows of activity, 2026-06-01 to 2026-06-30 of 3 customers" in lines  # o1, o2 and r, o4, o5
    assert "most by customer: C1 200.000000; C3 100.000000" in lines
    values = lake.ctx.tables.read(gold.KPI_VALUES).withColumn("value", F.col("value") + 1)
    code, lines = explained("buyers", {}, View(lake.ctx, {"gold.kpi_values": values}), "month")
    assert (code, lines[-1]) == (
        FAILED,
        "stored: THEY DO NOT AGREE (value 4.000000 stored, 3.000000 from these rows)",
    )
    assert explained("buyer", {}) == (FAILED, ["buyer is not a KPI; nearest: buyers"])
    code, lines = explained("customer_count", {"store_id": "S1"})
    assert (code, lines) == (FAILED, ["customer_count is not reported by store_id: chain, segment"])
    assert explained("buyers", {"store_id": "S9"})[1][0].startswith("buyers has no value at store_id S9")


def _context(root: Path, day: date) -> JobContext:
    ctx = night(root, root / "landing", day)
    kpis = ctx.settings.kpis.kpis
    ctx.settings = ctx.settings.model_copy(update={"kpis": KpiRules(kpis={code: kpis[code] for code in RULES})})
    return ctx


def _night(root: Path, day: date) -> JobContext:
    """The tables that earlier steps would leave, then report-kpis."""
    ctx = _context(root, day)
    tables, tiers = ctx.tables, ctx.settings.identity.tier
    if not tables.exists(silver.EVENTS):
        tables.replace(silver.EVENTS, frame(ctx.spark, silver.EVENTS, EVENTS))
    owners = [identity("member", f"M{n}", f"C{n}") for n in (1, 2, 3)]
    tables.replace(silver.IDENTITIES, frame(ctx.spark, silver.IDENTITIES, owners))
    lines = build_order_lines(ctx.events(), day, tiers, "exclude")
    tables.replace(silver.ORDERS, build_orders(lines))
    tables.replace(silver.ACTIVITY, build_activity(ctx.events(), day, ctx.settings.timezone, tiers, "exclude"))
    people = {"C1": "active", "C2": "active", **({"C3": "new_customer"} if day == DAY else {})}
    bought = {"C1": 4, "C2": 3 if day == YESTERDAY else 2, "C3": 1}
    customers = [{"customer_id": c, "first_order_date": days_before(bought[c])} for c in people]
    tables.replace(silver.CUSTOMERS, frame(ctx.spark, silver.CUSTOMERS, customers))
    members = [
        {"run_date": day, "segment": "lost" if (c, day) == ("C1", DAY) else s, "customer_id": c, "kind": "primary"}
        for c, s in people.items()
    ]
    tables.overwrite_slice(gold.SEGMENT_MEMBERS, frame(ctx.spark, gold.SEGMENT_MEMBERS, members), run_date=day)
    report_kpis.run(ctx)
    return ctx


def _chain(ctx: JobContext, day: date) -> dict[str, Any]:
    of_chain = (F.col("kpi_date") == F.lit(day)) & (F.col("grain") == "chain") & (F.col("period") == "day")
    return {row.kpi: row.value for row in ctx.tables.read(gold.KPI_VALUES).where(of_chain).collect()}
