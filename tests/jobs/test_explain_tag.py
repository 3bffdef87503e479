"""`portraits explain tag`: what a person reads who asks where a customer's value comes from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from jobs import cli
from jobs.explain_tag import explain_tag
from jobs.runtime.publications import PublishedTables
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.tables import Tables
from tests.builders import DAY, TIERS, at, days_before, event, frame, identity
from transforms.activity import build_activity
from transforms.contracts import gold, ops, silver
from transforms.orders import build_order_lines
from transforms.tags import TagRules, compute_tags, tag_columns


def tag(measure: str = "count", **keys: Any) -> dict[str, Any]:
    return {"label": "标签", "description": "A tag.", "type": "behaviour", "measure": measure} | keys


RULES = TagRules.model_validate(
    {
        "spent": tag("sum(net_amount)", window=30),
        "lines": tag(window=30, where="event_type = 'order' and day_order_count > 0"),
        "mean_line": tag("ratio(spent, lines)"),
        "level": tag(
            "case", cases=[{"when": "mean_line >= 30 and gender = 'female'", "then": "good"}], otherwise="new"
        ),
        "liked": tag("top(category, event_count)", window=7, where="event_type = 'view'", null_policy="keep_last"),
        "growth": tag("trend(spent, 30, 30)"),
        "town": tag("attribute(city_tier)"),
    }
)

USUAL = {"order_id": "store_pos:1", "event_date": days_before(10)}
EVENTS = [
    event("e1", line_id="1", amount=60, category="tea", product_id="P1", **USUAL),
    event("e2", line_id="2", amount=40, category="cake", product_id="P2", **USUAL),
    event("gift", line_id="3", amount=0, category="tea", product_id="P1", is_gift=True, **USUAL),
    # brought back by phone to the service, and another order: another customer's, whatever the line looks like
    event("r1", "return", source="service", channel="service", order_id="store_pos:1", line_id="2", amount=40,
          event_date=days_before(5), identifiers={"phone": "p"}),
    event("e3", order_id="store_pos:3", amount=30, category="tea", event_date=days_before(29)),
    event("e4", order_id="store_pos:4", amount=25, category="tea", event_date=days_before(30)),  # just outside
    event("other", line_id="1", amount=60, category="tea", product_id="P1", identifiers={"member": "M2"},
          **{**USUAL, "order_id": "store_pos:2"}),
    event("v1", "view", category="rice", event_date=days_before(20)),
    event("v2", "view", category="rice", event_date=days_before(20)),
    event("v3", "view", category="tea", event_date=days_before(20)),
    event("v4", "view", category="tea", event_date=days_before(21)),  # the window of the last day holds that day alone
    event("said", "profile_update", attributes={"city": "杭州"}, event_at=at(days_before(50), 3, 30)),
]  # fmt: skip


@pytest.fixture(scope="module")
def interpreted(spark: SparkSession) -> Iterator[None]:
    """A dozen rows a plan are not worth compiling it."""
    said = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    before = {key: str(spark.conf.get(key)) for key in said}
    for key, value in said.items():
        spark.conf.set(key, value)
    yield
    for key, value in before.items():
        spark.conf.set(key, value)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, interpreted: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Silver as its jobs would leave it, tags of the small rules, published as DAY."""
    lake = tmp_path_factory.mktemp("explain") / "lake"
    tables = Tables(spark, str(lake), "test", DAY)
    identities = [identity("member", "M1", "C1"), identity("phone", "p", "C1"), identity("member", "M2", "C2"),
                  identity("member", "M3", "C3")]  # fmt: skip
    golden = [{"customer_id": "C1", "gender": "female", "city_tier": "new_tier_1"}, {"customer_id": "C2"},
              {"customer_id": "C3"}]  # fmt: skip
    events = frame(spark, silver.EVENTS, EVENTS)
    owners = frame(spark, silver.IDENTITIES, identities)
    activity = build_activity(events, DAY, "Asia/Shanghai", TIERS, "exclude").localCheckpoint()
    customers = frame(spark, silver.CUSTOMERS, golden)
    lead = [owners.identifier_type == activity.lead_identifier_type, owners.identifier == activity.lead_identifier]
    owned = activity.join(owners, lead).select(*activity.columns, "customer_id")
    tags = compute_tags(owned, customers, DAY, RULES).withColumn("run_date", F.lit(DAY))
    made = {
        silver.EVENTS: events,
        silver.IDENTITIES: owners,
        silver.ACTIVITY: activity,
        silver.CUSTOMERS: customers,
        silver.ORDER_LINES: build_order_lines(events, DAY, TIERS, "exclude"),
        gold.customer_tags_table(tag_columns(RULES)): tags,
    }
    for table, rows in made.items():
        tables.replace(table, rows)
    listed = [
        {"run_id": "r", "run_date": DAY, "table": table.full_name, "delta_version": 0, "row_count": 0,
         "published_at": datetime(2026, 7, 1), "is_current": True, "settings_digest": ""}
        for table in made
    ]  # fmt: skip
    tables.replace(ops.PUBLICATIONS, frame(spark, ops.PUBLICATIONS, listed))
    return lake


@pytest.fixture
def told(spark: SparkSession, lake: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    settings: Settings = load_settings().model_copy(update={"tags": RULES})

    def explained(customer: str, name: str) -> tuple[int, list[str]]:
        view = PublishedTables(Tables(spark, str(lake), "explain", None))
        code = explain_tag(view, Console(highlight=False, markup=False, soft_wrap=True), settings, customer, name)
        return code, [line.strip() for line in capsys.readouterr().out.splitlines()]

    return explained


def test_sum_count_ratio_and_case_down_to_their_events(told: Any) -> None:
    code, lines = told("C1", "level")
    assert code == 0
    titles = [line.split(" ")[0] for line in lines if " 标签 of C1 on " in line]
    assert titles == ["spent", "lines", "mean_line", "level"]  # what is read comes first
    spent, lines_, mean, level = (lines[lines.index(next(x for x in lines if x.startswith(f"{a} "))) :] for a in titles)
    first, last = days_before(29), DAY
    assert f"window: {first} to {last}" in spent
    bought, back = days_before(10), days_before(5)
    here = spent[: spent.index(lines_[0])]
    assert f"{bought} order store_pos tea P1: gives 60.00" in here
    assert f"{bought} 12:00 UTC store_pos order order store_pos:1 product P1 amount 60.00 event_id e1" in here
    assert f"{bought} (happened {back}) return service cake P2: gives -40.00" in here
    assert f"{back} 12:00 UTC service return order store_pos:1 amount 40.00 event_id r1" in here
    assert f"{first} order store_pos tea: gives 30.00" in here
    shown = {line.rsplit(" ", 1)[1] for line in here if "event_id" in line}
    assert shown == {"e1", "e2", "r1", "e3"}  # no gift, nobody else's, nothing from outside the window
    assert "stored 90.00, from these rows 90.00: they agree" in here  # 60 + 40 + 30 - 40
    assert "stored 3, from these rows 3: they agree" in lines_
    assert "reads spent = 90.00, lines = 3" in mean
    assert "stored 30.000000, from these rows 30.000000: they agree" in mean
    assert "reads mean_line = 30.000000, gender" in level
    assert level[-1] == "stored good, from these rows good: they agree"
    assert not [line for line in lines if "events found" in line]  # every row has its events


def test_keep_last_goes_back_to_the_last_window_that_held_something(told: Any) -> None:
    code, lines = told("C1", "liked")
    day = days_before(20)
    assert code == 0
    assert f"window: {day} to {days_before(14)}" in lines  # seven days from the last view on
    assert f"{day} view store_pos rice: gives rice 2" in lines
    assert f"{day} view store_pos tea: gives tea 1" in lines
    shown = [line.rsplit(" ", 1)[1] for line in lines if "event_id" in line]
    assert shown == ["v1", "v2", "v3"]
    assert lines[-1] == "stored rice, from these rows rice: they agree"


def test_trend_and_attribute(told: Any) -> None:
    code, lines = told("C1", "growth")
    assert code == 0
    assert f"recent: {days_before(29)} to {DAY}" in lines
    assert f"earlier: {days_before(59)} to {days_before(30)}" in lines
    assert f"{days_before(30)} order store_pos tea: gives 25.00" in lines
    assert lines[-1] == "stored 2.600000, from these rows 2.600000: they agree"  # 90 against 25, less 1
    code, lines = told("C1", "town")
    assert code == 0
    assert f"{days_before(50)} 03:30 UTC store_pos profile_update says 杭州" in lines
    assert lines[-1] == "stored new_tier_1, from these rows new_tier_1: they agree"


def test_a_customer_without_rows(told: Any) -> None:
    code, lines = told("C3", "mean_line")
    assert code == 0
    assert lines.count("rows of silver.activity that count: none") == 2
    assert lines[-1] == "stored null, from these rows null: they agree"


def test_what_is_not_known_is_said_with_what_is_like_it(
    lake: Path, told: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told("C1", "spend") == (1, ["spend is not a tag; nearest: spent"])
    assert told("C9", "spent") == (1, [f"C9 is no customer on {DAY}; nearest: C1, C2, C3"])
    ask = ["explain", "tag", "C1", "order_count_30", "--lake", str(lake)]  # as a person types it
    assert cli.run(ask) == 1
    assert "order_count_30d" in capsys.readouterr().out
    assert cli.run([*ask[:3], "order_count_30d", *ask[4:], "--date", "2020-01-01"]) == 1
    assert "never published" in capsys.readouterr().out


def test_a_value_that_its_rows_do_not_give_is_said_so(spark: SparkSession, lake: Path, told: Any) -> None:
    """Last, because it spoils the lake."""
    path = str(lake / "gold/customer_tags")
    rows = spark.read.format("delta").load(path).withColumn("spent", F.expr("spent + 0.01").cast("decimal(18,2)"))
    rows.localCheckpoint().write.format("delta").mode("overwrite").save(path)  # version 1: not what was published
    code, lines = told("C1", "spent")
    assert (code, lines[-1]) == (0, "stored 90.00, from these rows 90.00: they agree")
    publications = str(lake / "ops/publications")
    moved = spark.read.format("delta").load(publications)
    moved = moved.withColumn("delta_version", F.expr("case when table = 'gold.customer_tags' then 1L else 0L end"))
    moved.localCheckpoint().write.format("delta").mode("overwrite").save(publications)
    code, lines = told("C1", "spent")
    assert (code, lines[-1]) == (1, "stored 90.01, from these rows 90.00: THEY DO NOT AGREE")
