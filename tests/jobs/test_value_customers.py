"""CDNOW through the pipeline by YAML only: the published parameters, back-test and customers; and stored models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.value_models import orders_known, value_date, value_model
from tests.builders import DAY, days_before, event, frame, identity
from tests.nights import night, run_steps
from transforms.contracts import gold, silver
from transforms.orders import build_order_lines, build_orders
from transforms.values.bgnbd import BgNbd, expected_orders, p_alive
from transforms.values.clv import lifetime_value
from transforms.values.gamma_gamma import GammaGamma, expected_order_value

DATA = Path(__file__).parents[3] / "shared" / "data" / "cdnow"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")

SETTINGS = """
timezone: UTC
sources: sources
identity:
  types:
    - {type: customer, label: 客户, description: Number of the customer in the sample., anchor: true}
rfm: {zero_value_orders: count}       # eight purchases cost nothing
value: {unit: weeks, fitted: daily, holdout_days: 273}
"""
SOURCE = """
name: cdnow
label: 唱片订单
channel: ecommerce
format: csv
options: {header: false, delimiter: " "}
columns: [master, customer, day, discs, amount]
files: cdnow.txt
arrival_date: fixed 1998-06-30
records:
  - name: order
    event_type: order
    event_at: {column: day, format: yyyyMMdd}
    identifiers: {customer: customer}
    fields: {amount: amount}
"""
FROM_RAW = ("ingest-events", "clean-events")
FROM_EVENTS = (
    "resolve-identities", "build-orders", "build-customers", "build-activity", "compute-tags", "value-customers",
)  # fmt: skip
END = date(1998, 6, 30)


UNTIL = pd.Timestamp(END)


@dataclass
class Valued:
    """What a lake holds after its night, and the context of it."""

    ctx: JobContext
    values: pd.DataFrame
    checks: dict[tuple[str, str, str], Row]

    def of(self, model: str, check: str) -> dict[str, Row]:
        """The rows of one check, by bin."""
        return {bin: row for (m, c, bin), row in self.checks.items() if (m, c) == (model, check)}

    def parameters(self, model: str, check: str) -> list[float]:
        """Parameters of a model, in the order in which they are written."""
        names = {"bgnbd": ("r", "alpha", "a", "b"), "gamma_gamma": ("p", "q", "v")}[model]
        return [float(self.of(model, check)[name].actual) for name in names]


@pytest.fixture(scope="module")
def cdnow(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Valued:
    root = tmp_path_factory.mktemp("cdnow")
    (root / "settings.yaml").write_text(SETTINGS)
    (root / "sources").mkdir()
    (root / "sources/cdnow.yaml").write_text(SOURCE)
    (root / "landing").mkdir()
    log = (DATA / "CDNOW_sample.txt").read_text().splitlines()  # columns of fixed width
    (root / "landing/cdnow.txt").write_text("".join(" ".join(line.split()) + "\n" for line in log))
    ctx = night(root / "lake", root / "landing", END, [str(root / "settings.yaml")])
    with ctx.interpreted(len(log)):  # as a night does
        run_steps(ctx, *FROM_RAW)
        with ctx.kept_events(ctx.event_count):
            run_steps(ctx, *FROM_EVENTS)
    owners = ctx.tables.read(silver.IDENTITIES).select("customer_id", F.col("identifier").alias("customer"))
    values = ctx.tables.read(gold.CUSTOMER_VALUES).join(owners, "customer_id").toPandas().set_index("customer")
    checks = {(row.model, row.check, row.bin): row for row in ctx.tables.read(gold.MODEL_CHECKS).collect()}
    return Valued(ctx, values.sort_index(), checks)


def histories(until: pd.Timestamp) -> pd.DataFrame:
    """x, t_x, T in weeks and mean repeat value of each customer, by pandas."""
    names = ["master", "customer", "day", "discs", "amount"]
    log = pd.read_csv(DATA / "CDNOW_sample.txt", sep=r"\s+", names=names, dtype={"customer": str})
    days = log.assign(day=pd.to_datetime(log["day"].astype(str))).query("day <= @until")
    days = days.groupby(["customer", "day"], as_index=False)["amount"].sum()
    first = days.groupby("customer")["day"].transform("min")
    paid = days[(days["day"] > first) & (days["amount"] > 0)].groupby("customer")["amount"]
    bought = days.groupby("customer")["day"].agg(["min", "max", "count"])
    return pd.DataFrame(
        {
            "x": bought["count"] - 1,
            "t_x": (bought["max"] - bought["min"]).dt.days / 7,
            "T": (until - bought["min"]).dt.days / 7,
            "paid": paid.size().reindex(bought.index, fill_value=0),
            "mean": paid.mean().reindex(bought.index, fill_value=0),
        }
    ).sort_index()


@needs_data
def test_published_parameters(cdnow: Valued) -> None:
    """Fitted on the 39 weeks up to 1997-09-30: the back-test's calibration."""
    assert cdnow.parameters("bgnbd", "backtest_parameter") == pytest.approx([0.2426, 4.4136, 0.7929, 2.4259], rel=1e-4)
    reached = cdnow.checks["bgnbd", "backtest_fit", "log_likelihood"]
    assert float(reached.actual) == pytest.approx(-9582.429, abs=0.01)
    assert (reached.customers, reached.is_passed) == (2357, True)
    assert cdnow.parameters("gamma_gamma", "backtest_parameter") == pytest.approx([6.25, 3.74, 15.44], rel=0.01)
    required = cdnow.of("gamma_gamma", "backtest_precondition")
    measured = {name: float(row.actual) for name, row in required.items()}
    assert measured == pytest.approx({"repeat_customers": 946, "not_positive": 0, "correlation": 0.113888}, abs=1e-5)
    assert all(row.is_passed for row in required.values())


@needs_data
def test_published_holdout(cdnow: Valued) -> None:
    """Orders per customer in the 39 weeks after, by repeat purchases before."""
    rows = cdnow.of("bgnbd", "backtest")
    whole = rows.pop("all")
    assert [*rows] == ["0", "1", "2", "3", "4", "5", "6", "7+"]
    assert [row.customers for row in rows.values()] == [1411, 439, 214, 100, 62, 38, 29, 64]
    assert [float(row.actual) for row in rows.values()] == pytest.approx(
        [0.2367, 0.6970, 1.3925, 1.5600, 2.5323, 2.9474, 3.8621, 6.3594], abs=5e-5
    )
    assert [float(row.expected) for row in rows.values()] == pytest.approx(
        [0.2251, 0.5231, 1.0441, 1.5203, 2.1638, 2.6538, 3.5040, 6.1570], rel=2e-4
    )
    assert (whole.customers, float(whole.actual) * 2357) == (2357, pytest.approx(1882, abs=0.01))
    spent = cdnow.checks["clv", "backtest", "all"]
    assert float(spent.actual) * 2357 == pytest.approx(_amount_after(date(1997, 9, 30)), abs=0.01)


@needs_data
def test_every_customer_has_the_values_of_their_own_history(cdnow: Valued) -> None:
    """Against pandas' histories, by the parameters that the checks hold; at the end of June, 1998."""
    expected, values = histories(UNTIL), cdnow.values
    assert [*values.index] == [*expected.index]
    assert [*values["bgnbd_frequency"]] == [*expected["x"]]
    x, t_x, T = (expected[name].to_numpy(dtype=float) for name in ("x", "t_x", "T"))
    assert values["bgnbd_recency"].astype(float).to_numpy() == pytest.approx(t_x, abs=1e-6)
    assert values["bgnbd_age"].astype(float).to_numpy() == pytest.approx(T, abs=1e-6)
    orders = BgNbd(*cdnow.parameters("bgnbd", "parameter"))
    worth = expected_order_value(
        GammaGamma(*cdnow.parameters("gamma_gamma", "parameter")), expected["paid"], expected["mean"]
    )
    by_name = {
        "p_alive": p_alive(orders, x, t_x, T),
        "expected_orders_90d": expected_orders(orders, x, t_x, T, 90 / 7),
        "expected_orders_365d": expected_orders(orders, x, t_x, T, 365 / 7),
        "expected_order_value": worth,
        "clv_365d": lifetime_value(orders, worth, x, t_x, T, 365 / 7, 30 / 7, 0.01),
    }
    for name, numbers in by_name.items():
        half_a_digit = 0.0051 if name in ("expected_order_value", "clv_365d") else 5.1e-7
        assert values[name].astype(float).to_numpy() == pytest.approx(numbers, abs=half_a_digit), name
    assert set(values["value_basis"]) == {"model"}
    worth_as_much = values["clv_365d"].astype(float).rank(method="max", ascending=False) / len(values)
    tops = {"platinum": 0.01, "gold": 0.05, "silver": 0.1, "bronze": 0.25, "medium": 0.5, "low": 1}
    tiers = worth_as_much.map(lambda share: next(tier for tier, top in tops.items() if share <= top))
    assert [*values["value_tier"]] == [*tiers]
    assert (values["value_tier"] == "platinum").sum() == 23


@needs_data
def test_a_model_is_fitted_again_only_where_what_it_was_made_of_changed(cdnow: Valued) -> None:
    ctx, files = cdnow.ctx, cdnow.ctx.tables.files
    path = f"{ctx.tables.lake}/models/value/{END}.json"
    stored = json.loads(files.read_text(path))
    files.write_text(path, json.dumps({**stored, "checks": []}))
    assert value_model(ctx, END)["checks"] == []  # trusted: it was made of the same
    files.write_text(path, json.dumps({**stored, "checks": [], "made_of": {}}))
    assert value_model(ctx, END) == stored


def _amount_after(day: date) -> float:
    names = ["master", "customer", "day", "discs", "amount"]
    log = pd.read_csv(DATA / "CDNOW_sample.txt", sep=r"\s+", names=names)
    return float(log[log["day"] > int(day.strftime("%Y%m%d"))]["amount"].sum())


def test_orders_as_they_were_known_on_an_earlier_date(spark: SparkSession, tmp_path: Path) -> None:
    """Ten days ago, from tonight's tables: what came or happened since is undone, whatever it names."""
    ctx = night(tmp_path / "lake", tmp_path, DAY)
    with ctx.interpreted(0):
        _undone(spark, ctx)


def _undone(spark: SparkSession, ctx: JobContext) -> None:
    then, ago = days_before(10), days_before
    who = ["plain", "returned before", "returned since", "came late", "one line late", "since", "clock ahead"]
    sold = [
        event(name, event_date=ago(20), identifiers={"member": name})
        for name in who
        if name not in ("since", "clock ahead")
    ]
    sold[3]["arrival_date"] = ago(5)
    events = [
        *sold,
        event("back", "return", event_date=ago(15), order_id="store_pos:returned before", amount=30, quantity=None),
        event("all back", "return", event_date=ago(5), order_id="store_pos:returned since"),
        event(
            "second line",
            event_date=ago(20),
            arrival_date=ago(5),
            order_id="store_pos:one line late",
            line_id="2",
            amount=7,
            identifiers={"member": "one line late"},
        ),
        event("since", event_date=ago(5), identifiers={"member": "since"}),
        event("ahead", event_date=ago(9), arrival_date=then, identifiers={"member": "clock ahead"}),
    ]
    ctx.tables.replace(silver.EVENTS, frame(spark, silver.EVENTS, events))
    ctx.tables.replace(silver.IDENTITIES, frame(spark, silver.IDENTITIES, [identity("member", n, n) for n in who]))
    ctx.tables.replace(silver.CUSTOMERS, frame(spark, silver.CUSTOMERS, []))  # nobody is staff
    lines = build_order_lines(ctx.events(), DAY, ctx.settings.identity.tier, "exclude")
    ctx.tables.replace(silver.ORDERS, build_orders(lines))

    def paid(orders: DataFrame) -> dict[str, int]:
        sums = orders.where("is_purchase").groupBy("customer_id").agg(F.sum("net_amount").alias("net"))
        return {row.customer_id: int(row.net) for row in sums.collect()}

    now = {name: 100 for name in who} | {"returned before": 70, "one line late": 107}
    assert paid(orders_known(ctx, DAY)) == {name: net for name, net in now.items() if name != "returned since"}
    assert paid(orders_known(ctx, then)) == {
        "plain": 100,
        "returned before": 70,
        "returned since": 100,
        "one line late": 100,
    }
    # Four lines were known from 20 days ago, one more on the 21st (its date), three on the 25th of June.
    rules, dates = ctx.settings.value, {}
    for least, fitted in ((5, "monthly"), (9, "monthly"), (5, "daily")):
        changed = rules.model_copy(update={"least_order_lines": least, "fitted": fitted})
        ctx.settings = ctx.settings.model_copy(update={"value": changed})
        dates[least, fitted] = value_date(ctx)
    assert dates == {
        (5, "monthly"): ago(9),
        (9, "monthly"): None,
        (5, "daily"): DAY,
    }
