"""RFM: windows, scopes, methods, ties, classes and tiers, and the published numbers of the R package `rfm`."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pyspark.sql import DataFrame, Row, SparkSession

from transforms.contracts import conform, gold
from transforms.rfm import RfmRules, score_rfm

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
D = date(2026, 6, 30)

LINE = (
    "customer_id string, order_id string, order_date date, gross_amount decimal(18,2), net_amount decimal(18,2),"
    "province string, store_id string, category string, channel string, is_purchase boolean"
)
RETURN = (
    "customer_id string, event_date date, returned_amount decimal(18,2), channel string, store_id string,"
    "province string, category string"
)


def line(customer: str, order: str, days_ago: int, net: Any, gross: Any = None, **over: Any) -> Row:
    values = {
        "customer_id": customer,
        "order_id": order,
        "order_date": D - timedelta(days=days_ago),
        "gross_amount": Decimal(str(net if gross is None else gross)),
        "net_amount": Decimal(str(net)),
        "province": "浙江",
        "store_id": "s1",
        "category": "tea",
        "channel": "app",
        "is_purchase": True,
    }
    return Row(**{**values, **over})


def loose_return(customer: str, days_ago: int, amount: Any, **over: Any) -> Row:
    place = {"channel": "app", "store_id": "s1", "province": None, "category": "tea"}
    amount = Decimal(str(amount))
    return Row(
        customer_id=customer, event_date=D - timedelta(days=days_ago), returned_amount=amount, **{**place, **over}
    )


def run(
    spark: SparkSession,
    lines: Iterable[Row],
    returns: Iterable[Row] = (),
    others: Iterable[str] = (),
    frozen: DataFrame | None = None,
    as_of: date = D,
    **rules: Any,
) -> tuple[dict[tuple[str, str, str], Row], dict[tuple[str, str, str, int], Row]]:
    """Scores and thresholds by key; the population is everybody in `lines` and `others`."""
    lines = list(lines)
    population = sorted({row.customer_id for row in lines} | set(others))
    scores, thresholds = score_rfm(
        spark.createDataFrame(lines, LINE) if lines else spark.createDataFrame([], LINE),
        spark.createDataFrame(list(returns), RETURN),
        spark.createDataFrame([(c,) for c in population], "customer_id string"),
        as_of,
        RfmRules(**rules),
        frozen,
    )
    scored = conform(scores, gold.RFM_SCORES).collect()
    cuts = conform(thresholds, gold.RFM_THRESHOLDS).collect()
    by_customer = {(r.scope, r.scope_value, r.customer_id): r for r in scored}
    by_cut = {(r.scope, r.scope_value, r.dimension, r.cut): r for r in cuts}
    assert len(by_customer) == len(scored)
    assert len(by_cut) == len(cuts)
    return by_customer, by_cut


def test_purchases_count_inside_the_window_only(spark: SparkSession) -> None:
    lines = [
        line("edges", "o1", 0, 10),  # on D: inside
        line("edges", "o2", 29, 20),  # D - 29: the first day inside (D - 30, D]
        line("edges", "o3", 30, 40),  # D - 30: outside
        line("edges", "o4", -1, 80),  # tomorrow: not seen
        line("edges", "o5", 5, 0, 160, is_purchase=False),  # fully returned: neither counted nor summed
        line("two_lines", "o6", 3, 1),  # one order of two lines is one purchase
        line("two_lines", "o6", 3, 2),
        line("before", "o7", 31, 5),  # bought, but before the window
    ]
    scores, _ = run(spark, lines, others=["never"], window_days=30)

    def measures(customer: str) -> tuple:
        row = scores["chain", "all", customer]
        return row.recency_days, row.frequency, row.monetary

    assert measures("edges") == (0, 2, Decimal(30))
    assert measures("two_lines") == (3, 1, Decimal(3))
    for customer in ("before", "never"):
        row = scores["chain", "all", customer]
        assert measures(customer) == (None, 0, Decimal(0))
        assert (row.r_score, row.f_score, row.m_score, row.rfm_score) == (0, 0, 0, 0)
        assert (row.rfm_class, row.rfm_tier) == (None, None)
    assert {row.run_date for row in scores.values()} == {D}


def test_returns_without_order_reduce_net_money_on_their_own_date(spark: SparkSession) -> None:
    lines = [line("a", "o1", 40, 100, 120)]  # 20 were given back by a return that names the order
    returns = [
        loose_return("a", 0, 7),  # on D
        loose_return("a", 365, 1000),  # D - 365: outside
        loose_return("a", -1, 1000),  # tomorrow
        loose_return("b", 5, 3),  # bought nothing: keeps a row, scores 0
    ]
    net, _ = run(spark, lines, returns, others=["b"])
    gross, _ = run(spark, lines, returns, others=["b"], monetary="gross")
    lifetime, _ = run(spark, lines, returns, others=["b"], window_days="lifetime")
    a, b = ("chain", "all", "a"), ("chain", "all", "b")
    assert net[a].monetary == 100 - 7
    assert gross[a].monetary == 120
    assert lifetime[a].monetary == 100 - 7 - 1000
    assert (net[b].frequency, net[b].monetary, net[b].rfm_score) == (0, -3, 0)


def test_scopes_count_lines_and_their_own_population(spark: SparkSession) -> None:
    lines = [
        line("a", "o1", 1, 10, category="tea", store_id="s1"),  # one order over two categories and two stores
        line("a", "o1", 1, 30, category="cake", store_id="s2"),
        line("b", "o2", 9, 5, store_id=None, province="江苏"),  # a line without a store is in no store
        line("c", "o3", 400, 8),  # bought tea at s1 before the window: there with score 0
        line("d", "o4", 2, 0, is_purchase=False),  # never a purchase that counts: in the chain only
    ]
    returns = [loose_return("a", 3, 4, store_id="s2", category="cake")]
    scopes = ["chain", "region", "store", "category", "channel"]
    scores, thresholds = run(spark, lines, returns, scopes=scopes)

    seen = {key: (row.frequency, row.monetary) for key, row in scores.items()}
    assert {key: value for key, value in seen.items() if key[0] != "chain"} == {
        ("store", "s1", "a"): (1, 10),
        ("store", "s2", "a"): (1, 30 - 4),
        ("store", "s1", "c"): (0, 0),
        ("category", "tea", "a"): (1, 10),
        ("category", "cake", "a"): (1, 30 - 4),
        ("category", "tea", "b"): (1, 5),
        ("category", "tea", "c"): (0, 0),
        ("channel", "app", "a"): (1, 40 - 4),
        ("channel", "app", "b"): (1, 5),
        ("channel", "app", "c"): (0, 0),
        ("region", "浙江", "a"): (1, 40),  # the return has no province
        ("region", "江苏", "b"): (1, 5),
        ("region", "浙江", "c"): (0, 0),
    }
    assert {c for scope, _, c in scores if scope == "chain"} == {"a", "b", "c", "d"}
    assert {key[:2] for key in thresholds} == {key[:2] for key, row in scores.items() if row.frequency > 0}


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # Each list is one store: its customers' (days ago of the last purchase, purchases, cents); few values, many ties.
    stores=st.lists(
        st.lists(
            st.tuples(st.integers(0, 6), st.integers(1, 4), st.sampled_from([-150, 0, 1, 2, 3, 99, 100])),
            min_size=1,
            max_size=14,
        ),
        min_size=8,
        max_size=10,
    ),
    bins=st.integers(2, 6),
    method=st.sampled_from(["quantile", "quantile", "mean", "fixed"]),
)
def test_scores_equal_the_definition(spark: SparkSession, stores: list, bins: int, method: str) -> None:
    fixed = {
        "recency": [Decimal(j) for j in range(1, bins)],
        "frequency": [Decimal(j) / 2 for j in range(1, bins)],
        "monetary": [Decimal(j) / 100 for j in range(1, bins)],
    }
    lines = [
        line(f"c{c}", f"o{s}-{c}-{n}", recency + n, Decimal(cents) / 100 if n == 0 else 0, store_id=f"s{s}")
        for s, customers in enumerate(stores)
        for c, (recency, frequency, cents) in enumerate(customers)
        for n in range(frequency)
    ]
    rules = {"cuts": fixed} if method == "fixed" else {}
    scores, thresholds = run(spark, lines, scopes=["store"], bins=bins, method=method, **rules)

    for s, customers in enumerate(stores):
        observed = {
            "recency": [Decimal(r) for r, _, _ in customers],
            "frequency": [Decimal(f) for _, f, _ in customers],
            "monetary": [Decimal(cents) / 100 for _, _, cents in customers],
        }
        expected = {}
        for dimension, values in observed.items():
            cuts = _cuts_by_definition(values, bins, method, fixed[dimension])
            stored = [thresholds["store", f"s{s}", dimension, j + 1] for j in range(len(cuts))]
            if method != "mean":  # the mean has more decimals than the table
                assert [row.value for row in stored] == cuts
            below = [sum(value <= cut for value in values) for cut in cuts]
            assert [row.customers_below for row in stored] == below
            assert [row.is_degenerate for row in stored] == [b == a for a, b in zip([0, *below], below, strict=False)]
            passed = [bisect_left(cuts, value) for value in values]  # cuts below the value
            expected[dimension] = [len(cuts) + 1 - p if dimension == "recency" else p + 1 for p in passed]
        for c in range(len(customers)):
            row = scores["store", f"s{s}", f"c{c}"]
            r, f, m = (expected[d][c] for d in ("recency", "frequency", "monetary"))
            assert (row.r_score, row.f_score, row.m_score, row.rfm_score) == (r, f, m, 100 * r + 10 * f + m)
            high = [own * len(customers) > sum(expected[d]) for d, own in zip(expected, (r, f, m), strict=True)]
            assert row.rfm_class == _class_by_definition(*high)


def _cuts_by_definition(values: list[Decimal], bins: int, method: str, fixed: list[Decimal]) -> list[Decimal]:
    if method == "fixed":
        return fixed
    if method == "mean":
        return [sum(values) / len(values)]
    n = len(values)
    reached = {j: [v for v in values if sum(w <= v for w in values) * bins >= j * n] for j in range(1, bins)}
    return [min(reached[j]) for j in range(1, bins)]


def _class_by_definition(recent: bool, frequent: bool, rich: bool) -> str:
    kinds = {(True, True): "价值", (True, False): "发展", (False, True): "保持", (False, False): "挽留"}
    return ("重要" if rich else "一般") + kinds[recent, frequent]


def test_equal_customers_share_a_bin_and_empty_bins_are_marked(spark: SparkSession) -> None:
    # s1: one customer; s2: three equal ones; s3: nine who bought once and one who bought twice
    lines = [line("one", "o", 4, 10, store_id="s1")]
    lines += [line(f"equal{i}", f"e{i}", 4, 10, store_id="s2") for i in range(3)]
    lines += [line(f"once{i}", f"x{i}", 4, 10, store_id="s3") for i in range(9)]
    lines += [line("twice", order, 4, 10, store_id="s3") for order in ("y1", "y2")]
    scores, thresholds = run(spark, lines, scopes=["store"])

    for customer, store in (("one", "s1"), ("equal0", "s2"), ("equal2", "s2")):
        # every cut is the same value and nobody is above it: bin 1, or for recency its mirror, 5
        assert scores["store", store, customer].rfm_score == 511
        assert scores["store", store, customer].rfm_class == "一般挽留"  # nothing is above its own mean
        marks = [thresholds["store", store, "frequency", j].is_degenerate for j in (1, 2, 3, 4)]
        assert marks == [False, True, True, True]
    assert scores["store", "s3", "once0"].f_score == 1
    assert scores["store", "s3", "twice"].f_score == 5  # not renumbered to 2
    assert [thresholds["store", "s3", "frequency", j].customers_below for j in (1, 2, 3, 4)] == [9, 9, 9, 9]


def test_frozen_thresholds_score_a_later_day_as_the_earlier_did(spark: SparkSession) -> None:
    early = [line(f"c{i}", f"o{i}", 10 + i, 10 * i) for i in range(1, 11)]
    population = spark.createDataFrame([(f"c{i}",) for i in range(1, 11)], "customer_id string")
    frames = (spark.createDataFrame(early, LINE), spark.createDataFrame([], RETURN), population)
    first_day = D - timedelta(days=7)
    scopes = ["chain", "store"]
    _, thresholds = score_rfm(*frames, first_day, RfmRules(bins=4, scopes=scopes))
    stored = {(r.scope, r.dimension, r.cut): r.value for r in thresholds.collect()}

    # since then everybody spent 1000 more at s1, and somebody came to a store that the frozen run did not know
    late = [*early, *[line(f"c{i}", f"late{i}", 1, 1000) for i in range(1, 11)], line("c1", "n", 1, 5, store_id="new")]
    frozen = {"method": "frozen", "frozen_date": first_day, "scopes": scopes}
    scores, used = run(spark, late, frozen=thresholds, **frozen)

    assert {(k[0], k[2], k[3]): row.value for k, row in used.items()} == stored
    assert {row.method for row in used.values()} == {"frozen"}
    assert {row.customers_below for k, row in used.items() if k[2] == "monetary"} == {0}
    assert {row.m_score for k, row in scores.items() if k[1] == "all"} == {4}  # k comes from the frozen cuts
    assert {row.rfm_score for k, row in scores.items() if k[1] == "new"} == {None}
    with pytest.raises(ValueError, match="is not before"):
        score_rfm(*frames, first_day, RfmRules(**frozen), thresholds)
    with pytest.raises(ValueError, match="needs the thresholds"):
        score_rfm(*frames, D, RfmRules(**frozen))


def test_first_fitting_tier_wins(spark: SparkSession) -> None:
    tiers = [
        {"name": "big", "label": "大", "description": "over 50", "when": "monetary > 50"},
        {"name": "fresh", "label": "新", "description": "this week", "when": "recency_days < 7"},
    ]
    lines = [line("both", "o1", 1, 60), line("fresh", "o2", 1, 50), line("neither", "o3", 7, 50)]
    scores, _ = run(spark, lines, others=["never"], tiers=tiers)
    found = {key[2]: row.rfm_tier for key, row in scores.items()}
    assert found == {"both": "big", "fresh": "fresh", "neither": "others", "never": None}


def test_rules_that_cannot_work_are_refused() -> None:
    ascending = [1, 2, 3, 4]
    tier = {"name": "t", "label": "层", "description": "", "when": "recency_day < 7"}
    refusals = [
        ({"method": "fixed"}, "method fixed needs cuts: 4 ascending numbers"),
        (
            {"method": "fixed", "cuts": {"recency": ascending, "frequency": [1, 2, 2, 4], "monetary": [1]}},
            r"cuts.frequency: expected 4 ascending numbers, found 1, 2, 2, 4; cuts.monetary: .* found 1",
        ),
        ({"method": "frozen"}, "needs frozen_date"),
        ({"window_days": 0}, "0 is not a window"),
        ({"bins": 1}, "greater than or equal to 2"),
        ({"scopes": ["store", "store"]}, "scope store is given twice"),
        ({"tiers": [tier]}, "'recency_day' is not a column here; nearest: recency_days"),
        ({"scops": ["chain"]}, "Extra inputs"),
    ]
    for rules, message in refusals:
        with pytest.raises(ValidationError, match=message):
            RfmRules(**rules)


def test_shipped_tiers_leave_no_scored_customer_without_one() -> None:
    rules = RfmRules(**yaml.safe_load((ROOT / "conf" / "rfm.yaml").read_text(encoding="utf-8"))["rfm"])
    for r in range(1, 6):
        for f in range(1, 6):
            for m in range(1, 6):
                assert any(_holds(tier.when, r, f, m) for tier in rules.tiers), (r, f, m)


def _holds(when: str, r: int, f: int, m: int) -> bool:
    """The predicate in Python: the shipped tiers use only comparisons, and, or."""
    return eval(when.replace(" = ", " == "), {}, {"r_score": r, "f_score": f, "m_score": m})


# Published numbers: the R package `rfm`, 995 customers as of 2006-12-31 (README.md of ../shared/data, section 4)

needs_data = pytest.mark.skipif(not (DATA / "rfm").exists(), reason="../shared/data is not here")
PACKAGE_DATE = date(2006, 12, 31)


def package_scores(spark: SparkSession, **rules: Any) -> tuple[DataFrame, DataFrame]:
    orders = pd.read_csv(DATA / "rfm" / "rfm_data_orders.csv.gz")
    rows = [
        line(o.customer_id, f"o{i}", 0, o.revenue, order_date=date.fromisoformat(o.order_date))
        for i, o in enumerate(orders.itertuples())
    ]
    lines = spark.createDataFrame(rows, LINE)
    returns = spark.createDataFrame([], RETURN)
    rules = {"window_days": "lifetime", **rules}
    return score_rfm(lines, returns, lines.select("customer_id").distinct(), PACKAGE_DATE, RfmRules(**rules))


@needs_data
def test_quantile_cuts_of_the_published_data(spark: SparkSession) -> None:
    scores, thresholds = package_scores(spark)
    cuts: dict[str, list] = {"recency": [], "frequency": [], "monetary": []}
    for row in thresholds.orderBy("cut").collect():
        cuts[row.dimension].append(int(row.value))
    assert cuts == {"recency": [114, 180, 296, 481], "frequency": [3, 4, 5, 7], "monetary": [254, 381, 505, 665]}
    people = {row.customer_id: row for row in scores.collect()}
    assert (len(people), sum(row.frequency for row in people.values())) == (995, 4906)
    abbey, adyen = people["Abbey O'Reilly"], people["Add Senger"]
    assert (abbey.recency_days, abbey.frequency, abbey.monetary, abbey.rfm_score) == (205, 6, 472, 343)
    assert (adyen.recency_days, adyen.frequency, adyen.monetary, adyen.rfm_score) == (140, 3, 340, 412)


@needs_data
@pytest.mark.parametrize("number", ["1", "2"])
def test_published_segment_tables_come_out_of_tiers(spark: SparkSession, number: str) -> None:
    answers = json.loads((DATA / "answers.json").read_text())["rfm_orders"]
    bounds, published = answers[f"rules{number}"], answers[f"segments{number}"]
    codes = {f"tier_{i}": name for i, name in enumerate(bounds["names"])} | {"others": "Others"}
    tiers = []
    for i, name in enumerate(bounds["names"]):
        conditions = [
            f"{dimension[0]}_score between {bounds[f'{dimension}_lower'][i]} and {bounds[f'{dimension}_upper'][i]}"
            for dimension in ("recency", "frequency", "monetary")
        ]
        tiers.append({"name": f"tier_{i}", "label": name, "description": name, "when": " and ".join(conditions)})
    # The package's cuts 115/181/297.4/482 … are exclusive upper bounds; ours are inclusive.
    cuts = {"recency": [114, 180, 297, 481], "frequency": [3, 4, 5, 7], "monetary": [255, 381, 506, 665]}
    scores, _ = package_scores(spark, method="fixed", cuts=cuts, tiers=tiers)

    table: dict[str, Counter] = {}
    for row in scores.collect():
        sums = table.setdefault(codes[row.rfm_tier], Counter())
        sums.update(customers=1, orders=row.frequency, revenue=int(row.monetary))
    assert table == published
