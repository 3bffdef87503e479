"""The simulated chain: same plan, same rows; every channel, its dirt and the truth are there."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, timedelta
from importlib import resources

import pytest
import yaml
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from transforms.simulation.catalogue import BREAKOUT_SKU, PRAISE
from transforms.simulation.feeds import FEEDS, as_lines, header_line, simulate_feed, source_columns
from transforms.simulation.people import simulate_people
from transforms.simulation.plan import SimulationPlan
from transforms.simulation.truth import true_identifiers
from transforms.sources import CHANNELS, Source

PLAN = SimulationPlan(customers=300, days=70, nights=40, end_date=date(2026, 6, 30), seed=7)


def people_of(spark: SparkSession, plan: SimulationPlan, partitions: int = 1) -> DataFrame:
    return simulate_people(spark.range(0, plan.customers, 1, partitions), plan)


@pytest.fixture(scope="module")
def people(spark: SparkSession) -> DataFrame:
    """Kept as rows, so that eleven feeds do not work them out eleven times."""
    frame = people_of(spark, PLAN)
    return spark.createDataFrame(frame.collect(), frame.schema)


@pytest.fixture(scope="module")
def feeds(people: DataFrame) -> dict[str, list[Row]]:
    return {name: simulate_feed(feed, people, PLAN).collect() for name, feed in FEEDS.items()}


def source_of(name: str) -> Source:
    text = resources.files("conf").joinpath("sources", f"{name}.yaml").read_text(encoding="utf-8")
    return Source.model_validate(yaml.safe_load(text))


def test_every_channel_has_a_feed_and_rows(feeds: dict[str, list[Row]]) -> None:
    assert sorted(feeds) == sorted(CHANNELS)
    assert all(feeds.values())


@pytest.mark.parametrize("name", CHANNELS)
def test_source_file_declares_the_feeds_columns(people: DataFrame, name: str) -> None:
    declared = source_of(name)
    assert declared.channel == name
    assert list(declared.columns) == source_columns(FEEDS[name].rows(people, PLAN))


@pytest.mark.parametrize("name", ["store_pos", "service", "marketing"])
def test_same_rows_whatever_the_partitions(spark: SparkSession, feeds: dict[str, list[Row]], name: str) -> None:
    again = simulate_feed(FEEDS[name], people_of(spark, PLAN, partitions=5), PLAN).collect()
    assert Counter(again) == Counter(feeds[name])


def test_other_people_when_the_seed_differs(spark: SparkSession, feeds: dict[str, list[Row]]) -> None:
    other = SimulationPlan(customers=300, days=70, nights=40, end_date=date(2026, 6, 30), seed=8)
    rows = simulate_feed(FEEDS["social"], people_of(spark, other), other).collect()
    assert not {row.account for row in rows if row.account.startswith("wb_")} & {row.account for row in feeds["social"]}


def test_rows_arrive_in_the_backlog_or_a_night(feeds: dict[str, list[Row]]) -> None:
    for rows in feeds.values():
        assert {row["_dt"] for row in rows} <= set(PLAN.arrival_dates)
        assert all(row["_dt"] >= row["_date"] for row in rows)


def test_some_rows_are_late_and_some_too_late(feeds: dict[str, list[Row]]) -> None:
    nights = [row for rows in feeds.values() for row in rows if row["_dt"] > PLAN.backlog_date]
    delays = Counter((row["_dt"] - row["_date"]).days for row in nights)
    assert any(1 <= days <= 3 for days in delays)
    assert any(days > 7 for days in delays)


def test_a_nights_file_comes_again_under_another_number(feeds: dict[str, list[Row]]) -> None:
    first, second = PLAN.resend_dates or (None, None)

    def keys(dt: date | None, number: int) -> Counter[int]:
        return Counter(row["_key"] for row in feeds["ecommerce"] if row["_dt"] == dt and row["_file"] == number)

    assert keys(first, 0)
    assert keys(second, PLAN.night_files) == keys(first, 0)


def test_dirt_appears_and_stays_rare(feeds: dict[str, list[Row]]) -> None:
    damaged = 0
    for name, rows in feeds.items():
        bad = [(spot.column, value) for spot in FEEDS[name].dirt for value in spot.values if value]
        damaged += sum(any(str(row[column]) == value for column, value in bad) for row in rows)
    assert 0 < damaged < 0.02 * sum(map(len, feeds.values()))


def test_phones_are_keyed_in_carelessly(feeds: dict[str, list[Row]]) -> None:
    columns = {"store_pos": "phone", "ecommerce": "mobile", "crm": "mobile", "service": "tel", "finance": "phone"}
    phones = {row[column] for name, column in columns.items() for row in feeds[name] if row[column]}
    assert phones & {"13800138000", "00000000000"}
    assert any(phone.startswith("+86 1") for phone in phones)
    assert any(phone.isdigit() and not phone.isascii() for phone in phones)  # full-width digits
    assert any(row.member_no is None and row.phone is None for row in feeds["store_pos"])  # guests


def test_a_few_csv_lines_have_columns_missing_or_too_many(spark: SparkSession) -> None:
    numbers = spark.range(20_000)
    rows = numbers.select(*[F.col("id").alias(name) for name in "abcdef"], F.xxhash64("id").alias("_key"))
    assert header_line(FEEDS["store_pos"], rows) == "a|b|c|d|e|f"
    widths = Counter(row.value.count("|") for row in as_lines(FEEDS["store_pos"], rows, PLAN).collect())
    assert set(widths) == {3, 5, 7}
    assert widths[5] > 0.99 * 20_000


def test_a_few_json_lines_are_cut_short(spark: SparkSession) -> None:
    rows = spark.range(20_000).select("id", F.xxhash64("id").alias("_key"))
    assert header_line(FEEDS["ecommerce"], rows) is None
    lines = [row.value for row in as_lines(FEEDS["ecommerce"], rows, PLAN).collect()]
    assert 0 < sum(not line.endswith("}") for line in lines) < 100


def test_truth_covers_what_the_feeds_show(people: DataFrame, feeds: dict[str, list[Row]]) -> None:
    truth = true_identifiers(people, PLAN).collect()
    owners = defaultdict(set)
    for row in truth:
        owners[row.identifier_type, row.raw_value].add(row.person_id)
    assert all(len(persons) == 1 for persons in owners.values())
    shown = {("member", row.member_no.strip().upper()) for row in feeds["store_pos"] if row.member_no} | {
        ("cookie", row.cookie) for row in feeds["ecommerce"] if (row.cookie or "").startswith("ck.")
    }
    shown |= {("finance_account", row.account) for row in feeds["finance"]}
    shown |= {("openid", f"wx7f3retail:{row.open_id}") for row in feeds["mini_program"] if row.open_id.startswith("oX")}
    shown |= {("phone", f"+86{row.phone}") for row in feeds["marketing"] if row.phone}
    assert shown <= set(owners)


def test_truth_leaves_out_shared_devices(people: DataFrame, feeds: dict[str, list[Row]]) -> None:
    devices = {row.raw_value for row in true_identifiers(people, PLAN).collect() if row.identifier_type == "device"}
    seen = {row.device_id for row in feeds["app"]}
    assert any(device.startswith("f-") for device in seen)
    assert not any(device.startswith(("f-", "demo")) for device in devices)


def test_returns_name_an_order_of_the_source(feeds: dict[str, list[Row]]) -> None:
    sold = {row.txn_no for row in feeds["store_pos"] if row.txn_type == "S"}
    returned = {row.orig_txn_no for row in feeds["store_pos"] if row.orig_txn_no}
    assert returned and len(returned - sold) <= 2  # the sale may be damaged, late or still to come
    ordered = {row.order_sn for row in feeds["ecommerce"] if row.order_sn}
    about_web = {row.order_no for row in feeds["service"] if row.src == "EC"}
    assert about_web and len(about_web - ordered) <= 2


def test_few_products_and_few_customers_carry_most_sales(feeds: dict[str, list[Row]]) -> None:
    sales = [row for row in feeds["store_pos"] if row.txn_type == "S" and row.amt_fen.isdigit()]
    products = Counter(row.sku for row in sales)
    top = sum(number for _, number in products.most_common(max(1, len(products) // 5)))
    assert top > 0.35 * len(sales)
    spent: Counter[str] = Counter()
    for row in sales:
        if row.member_no:
            spent[row.member_no.strip().upper()] += int(row.amt_fen)
    best = sum(amount for _, amount in spent.most_common(len(spent) // 5))
    assert best > 0.4 * sum(spent.values())


def test_one_product_breaks_out_in_the_last_days(feeds: dict[str, list[Row]]) -> None:
    about = [row for row in feeds["social"] if row.sku == BREAKOUT_SKU and row.kind == "post"]
    last = [row for row in about if row["_date"] > PLAN.end_date - timedelta(days=10)]
    assert len(last) > 10 > len(about) - len(last)
    assert sum(row.words in PRAISE for row in last) > 0.9 * len(last)  # a few are dirt


def test_weekends_are_busier(feeds: dict[str, list[Row]]) -> None:
    start = PLAN.end_date - timedelta(days=69)
    days = Counter(row["_date"].weekday() for row in feeds["app"] if row["_date"] >= start)
    assert days[5] + days[6] > 1.2 * (days[0] + days[1])


def test_plan_refuses_more_nights_than_days() -> None:
    with pytest.raises(ValueError, match="nights is 9"):
        SimulationPlan(customers=1, days=5, nights=9, end_date=date(2026, 1, 1))
