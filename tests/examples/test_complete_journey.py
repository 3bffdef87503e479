"""Complete Journey by YAML only: what comes out of its night is what pandas finds in the files.

The night of January reads the first five weeks of the transactions only: ingesting a year takes longer than the rest.
"""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.runtime.tables import Tables
from tests.nights import run_night
from transforms.contracts import gold, ops, silver

ROOT = Path(__file__).parents[2]
DATA = (ROOT / "../shared/data/completejourney").resolve()
SETTINGS = (str(ROOT / "examples/complete_journey/settings.yaml"),)

pytestmark = [
    pytest.mark.soak,  # 1.47 million lines: minutes of a night, too long for `make test`
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the data set is not in the repository, nor at {DATA}"),
]

JANUARY = date(2017, 1, 31)
FIVE_WEEKS = date(2017, 2, 4)
WHOLE_YEAR = date(2018, 1, 2)


@pytest.fixture(scope="module")
def january(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("complete_journey_january")
    (folder / "landing").mkdir()
    for name in ("campaigns", "coupon_redemptions", "demographics"):
        shutil.copyfile(DATA / f"{name}.parquet", folder / "landing" / f"{name}.parquet")
    # INT96 as in the original: Spark does not read the nanoseconds that pandas writes by default.
    _sales(FIVE_WEEKS).to_parquet(
        folder / "landing/transactions.parquet", index=False, use_deprecated_int96_timestamps=True
    )
    run_night(folder / "lake", folder / "landing", JANUARY, SETTINGS)
    return Tables(spark, str(folder / "lake"), "test", None)


@pytest.fixture(scope="module")
def year(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    lake = tmp_path_factory.mktemp("complete_journey") / "lake"
    run_night(lake, DATA, WHOLE_YEAR, SETTINGS)
    return Tables(spark, str(lake), "test", None)


def _money(values: pd.Series) -> Decimal:
    return Decimal(int((values * 100).round().sum())) / 100


def _sales(until: date) -> pd.DataFrame:
    lines = pd.read_parquet(DATA / "transactions.parquet")
    return lines[lines.transaction_timestamp < pd.Timestamp(until + timedelta(days=1))]


def _touches(until: date) -> pd.DataFrame:
    campaigns = pd.read_parquet(DATA / "campaign_descriptions.parquet")
    begun = campaigns[campaigns.start_date <= pd.Timestamp(until)]
    return pd.read_parquet(DATA / "campaigns.parquet").merge(begun, on="campaign_id")


def _redemptions(until: date) -> pd.DataFrame:
    redeemed = pd.read_parquet(DATA / "coupon_redemptions.parquet")
    return redeemed[redeemed.redemption_date <= pd.Timestamp(until)]


def _sold(tables: Tables) -> tuple[object, ...]:
    """Households, baskets, stores, products, sales and discounts as silver.order_lines has them."""
    found = tables.read(silver.ORDER_LINES).agg(
        F.countDistinct("lead_identifier"),
        F.countDistinct("order_id"),
        F.countDistinct("store_id"),
        F.countDistinct("product_id"),
        F.sum("gross_amount"),
        F.sum("discount_amount"),
    )
    return tuple(found.head() or ())


def _contacts(tables: Tables, event_type: str) -> tuple[object, ...]:
    """Events of a type, their households, and their pairs of household and campaign."""
    events = tables.read(silver.EVENTS).where(F.col("event_type") == event_type)
    pair = F.struct("lead_identifier", "campaign_id")
    return tuple(events.agg(F.count("*"), F.countDistinct("lead_identifier"), F.countDistinct(pair)).head() or ())


def _accounts(tables: Tables) -> dict[str, tuple[int, int, int]]:
    """Rows read, accepted and not yet due, by file."""
    ledger = tables.read(ops.LANDING_FILES).groupBy("source_file")
    rows = ledger.agg(*[F.sum(f"rows_{name}").alias(name) for name in ("read", "accepted", "not_due")]).collect()
    return {row.source_file: (row["read"], row.accepted, row.not_due) for row in rows}


def test_january_night_sees_january_only(january: Tables) -> None:
    sales = _sales(JANUARY)
    found = _sold(january)
    assert found == (
        sales.household_id.nunique(),
        sales.basket_id.nunique(),
        sales.store_id.nunique(),
        sales.product_id.nunique(),
        _money(sales.sales_value),
        _money(sales.retail_disc) + _money(sales.coupon_disc),
    )
    assert (found[0], found[1], found[4]) == (1_982, 12_721, Decimal("370886.93"))  # as published


def test_campaigns_that_have_begun_are_touches(january: Tables) -> None:
    touches = _touches(JANUARY)  # of the three that began in 2016
    assert _contacts(january, "touch") == (len(touches), touches.household_id.nunique(), len(touches))
    redeemed = _redemptions(JANUARY)
    pairs = redeemed.drop_duplicates(["household_id", "campaign_id"])
    assert _contacts(january, "coupon_redeem") == (len(redeemed), redeemed.household_id.nunique(), len(pairs))
    dates = january.read(silver.EVENTS).where("event_type = 'touch'").select("campaign_id", "event_date").distinct()
    begun = touches.drop_duplicates("campaign_id")
    assert dict(dates.collect()) == dict(zip(begun.campaign_id.astype(str), begun.start_date.dt.date, strict=True))


def test_rows_after_the_night_are_not_due_yet(january: Tables) -> None:
    sizes = {
        "transactions": len(_sales(FIVE_WEEKS)),
        "campaigns": 6_589,
        "coupon_redemptions": 2_102,
        "demographics": 801,
    }
    due = {
        "transactions": len(_sales(JANUARY)),
        "campaigns": len(_touches(JANUARY)),
        "coupon_redemptions": len(_redemptions(JANUARY)),
        "demographics": 801,
    }
    expected = {f"{name}.parquet": (size, due[name], size - due[name]) for name, size in sizes.items()}
    assert _accounts(january) == expected


def test_demographics_are_attributes_of_their_household(january: Tables) -> None:
    said = january.read(silver.EVENTS).where("event_type = 'profile_update'").select("lead_identifier", "attributes")
    delivered = pd.read_parquet(DATA / "demographics.parquet").astype(object)
    delivered = delivered.where(delivered.notna(), None)
    expected = {
        str(row.pop("household_id")): {name: str(value) for name, value in row.items() if value is not None}
        for row in delivered.to_dict("records")
    }
    assert dict(said.collect()) == expected


def test_whole_year_has_the_published_numbers(year: Tables) -> None:
    sales = _sales(WHOLE_YEAR)
    discounts = _money(sales.retail_disc) + _money(sales.coupon_disc)
    assert _sold(year) == (2_469, 155_848, 457, 68_509, Decimal("4596039.58"), discounts)
    orders = year.read(silver.ORDERS)
    totals = orders.agg(F.count("*"), F.sum("gross_amount"), F.sum("net_amount"), F.count_if("is_purchase")).head()
    baskets = sales.groupby("basket_id").agg(paid=("sales_value", "sum"), pieces=("quantity", "sum"))
    purchases = int(((baskets.paid.round(2) > 0) & (baskets.pieces > 0)).sum())  # the others are no purchases
    assert tuple(totals or ()) == (155_848, Decimal("4596039.58"), Decimal("4596039.58"), purchases)
    scored = year.read(gold.RFM_SCORES).agg(F.count("*"), F.sum("frequency"), F.sum("monetary")).head()
    paid = baskets[(baskets.paid.round(2) > 0) & (baskets.pieces > 0)].paid
    assert tuple(scored or ()) == (2_469, purchases, _money(paid))


def test_best_fifth_of_households_has_the_published_share(year: Tables) -> None:
    spent = year.read(silver.ORDERS).groupBy("lead_identifier").agg(F.sum("gross_amount").alias("spent")).toPandas()
    ranked = spent.sort_values("spent", ascending=False).spent
    assert round(float(ranked.head(493).sum() / ranked.sum()), 4) == 0.5451
    assert (spent.loc[ranked.index[0], "lead_identifier"], ranked.iloc[0]) == ("1023", Decimal("24879.75"))
    pareto = {row.top_percent: row for row in year.read(gold.PARETO).collect()}
    assert round(pareto[20].amount_share, 4) == Decimal("0.5451")
    assert pareto[20].profit_share == pareto[20].amount_share  # the data knows no costs
    mean_difference = sum((2 * rank - len(ranked) - 1) * float(amount) for rank, amount in enumerate(ranked[::-1], 1))
    assert float(pareto[20].gini) == pytest.approx(mean_difference / len(ranked) / float(ranked.sum()), abs=1e-6)
    best = year.read(gold.SEGMENT_SUMMARY).where("segment = 'pareto_top20'").head()
    assert best is not None
    assert (best.customers, round(best.amount_share, 4)) == (493, Decimal("0.5451"))


@pytest.mark.parametrize(
    ("month", "sales", "households", "baskets"),
    [
        ("2017-01", "370886.93", 1_982, 12_721),
        ("2017-06", "373512.59", 2_027, 13_015),
        ("2017-12", "421882.29", 2_057, 13_090),
    ],
)
def test_months_have_the_published_numbers(year: Tables, month: str, sales: str, households: int, baskets: int) -> None:
    orders = year.read(silver.ORDERS).where(F.date_format("order_date", "yyyy-MM") == month)
    found = orders.agg(F.sum("gross_amount"), F.countDistinct("lead_identifier"), F.count("*")).head()
    assert tuple(found or ()) == (Decimal(sales), households, baskets)


def test_whole_year_has_the_published_contacts(year: Tables) -> None:
    assert _contacts(year, "touch") == (6_589, 1_559, 6_589)
    assert _contacts(year, "coupon_redeem") == (2_102, 410, 792)
    events = year.read(silver.EVENTS)
    pairs = [
        events.where(F.col("event_type") == kind).select("lead_identifier", "campaign_id").distinct()
        for kind in ("coupon_redeem", "touch")
    ]
    assert pairs[0].join(pairs[1], ["lead_identifier", "campaign_id"]).count() == 792  # all by targeted households
    kinds = events.where("event_type = 'touch'").groupBy("content_type").count()
    assert dict(kinds.collect()) == {"Type A": 3_647, "Type B": 2_368, "Type C": 574}


def test_every_row_of_the_year_is_accounted_for(year: Tables) -> None:
    sizes = {"transactions": 1_469_307, "campaigns": 6_589, "coupon_redemptions": 2_102, "demographics": 801}
    assert _accounts(year) == {f"{name}.parquet": (size, size, 0) for name, size in sizes.items()}


def test_campaigns_redeem_as_published(year: Tables) -> None:
    last = year.read(gold.CAMPAIGN_RESULTS).where("attribution = 'last' and segment = 'all'")
    of_type = last.where("channel <> 'all'").groupBy("content_type")
    found = of_type.agg(F.sum("targeted").alias("targeted"), F.sum("coupons_redeemed").alias("redeemed")).collect()
    shares = {row.content_type: (row.redeemed, row.targeted, round(row.redeemed / row.targeted, 4)) for row in found}
    assert shares == {
        "Type A": (604, 3_647, 0.1656),
        "Type B": (154, 2_368, 0.0650),
        "Type C": (34, 574, 0.0592),
    }
    totals = last.where("channel = 'all'")
    whole = totals.agg(F.sum("targeted"), F.sum("coupons_redeemed"), F.sum("revenue")).head()
    purchases = year.read(silver.ORDERS).where("is_purchase").agg(F.sum("net_amount")).head()
    assert tuple(whole or ()) == (6_589, 792, (purchases or (None,))[0])
    ids = {row.campaign_id: (row.coupons_redeemed, row.targeted) for row in totals.collect()}
    assert (ids["18"], ids["13"], ids["8"], ids["24"]) == ((214, 1_133), (196, 1_077), (158, 1_076), (0, 12))
