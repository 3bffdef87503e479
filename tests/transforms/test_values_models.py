"""BG/NBD, Gamma-Gamma and lifetime values: the published answers for CDNOW, and what holds for any customers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta, betaprime

from transforms.values import bgnbd, gamma_gamma
from transforms.values.backtest import backtest
from transforms.values.bgnbd import BgNbd, expected_orders, expected_orders_of_new, p_alive
from transforms.values.clv import lifetime_value
from transforms.values.gamma_gamma import GammaGamma, Preconditions, expected_order_value
from transforms.values.likelihood import CannotFit, merged, most_likely

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "cdnow"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")

# x, t_x, T (in days) and customers of a shop
SHOP = pd.DataFrame(
    [
        (0, 0, 90, 400),
        (0, 0, 364, 900),
        (1, 7, 364, 120),
        (1, 70, 90, 60),
        (1, 280, 364, 50),
        (2, 35, 364, 30),
        (3, 315, 364, 60),
        (5, 70, 90, 12),
        (8, 350, 364, 20),
        (8, 60, 364, 5),
    ],
    columns=["frequency", "recency", "age", "customers"],
)
SHOP["mean_amount"] = [0, 0, 9.5, 30, 14, 22, 18, 40, 17, 8]
CDNOW = BgNbd(0.2426, 4.4136, 0.7929, 2.4259)  # as published, in weeks


@cache
def summary() -> pd.DataFrame:
    """CDNOW's customers on 1997-09-30, in weeks: the columns of a histogram, by customer."""
    names = {"x": "frequency", "t_x": "recency", "T": "age", "zbar": "mean_amount"}
    table = pd.read_csv(DATA / "cdnow_customers_summary_with_transactions.csv", index_col="ID")
    return table.rename(columns=names).assign(customers=1)


@cache
def purchase_days() -> pd.DataFrame:
    """Days on which a CDNOW customer bought, from the log of their transactions."""
    names = ["master", "customer", "day", "discs", "amount"]
    log = pd.read_csv(DATA / "CDNOW_sample.txt", sep=r"\s+", names=names)
    days = log[["customer", "day"]].drop_duplicates()
    return days.assign(day=pd.to_datetime(days["day"].astype(str)))


def calibration(end: str = "1997-09-30", unit: float = 7) -> pd.DataFrame:
    """x, t_x and T of each customer who had bought by `end`, in units of so many days."""
    bought = purchase_days().query("day <= @end").groupby("customer")["day"].agg(["min", "max", "count"])
    return pd.DataFrame(
        {
            "frequency": bought["count"] - 1,
            "recency": (bought["max"] - bought["min"]).dt.days / unit,
            "age": (pd.Timestamp(end) - bought["min"]).dt.days / unit,
            "customers": 1,
        }
    )


# -- published answers ------------------------------------------------------------------------------------------------


@needs_data
def test_bgnbd_finds_the_published_parameters() -> None:
    """Paper and BTYD walkthrough; the log itself, then the summary rounded to a hundredth of a week."""
    for customers in (calibration(), summary()):
        model = bgnbd.fit(customers)
        assert (model.r, model.alpha, model.a, model.b) == pytest.approx((0.2426, 4.4136, 0.7929, 2.4259), rel=1e-4)
        assert bgnbd.log_likelihood(model, customers) == pytest.approx(-9582.429, abs=0.01)


@needs_data
def test_summary_is_the_log_by_customer() -> None:
    columns = ["frequency", "recency", "age"]
    assert np.abs(calibration()[columns].to_numpy() - summary()[columns].to_numpy()).max() < 0.006


def test_published_predictions() -> None:
    """Of BTYD's walkthrough, up to its rounded parameters: a new customer, customer 1516, others."""
    assert expected_orders_of_new(CDNOW, 52) == pytest.approx(1.444004, rel=1e-4)
    assert expected_orders(CDNOW, 26, 30.857, 31, 52) == pytest.approx(25.75659, rel=1e-4)
    assert p_alive(CDNOW, 26, 30.857, 31) == pytest.approx(0.9688523, abs=1e-6)
    falling = expected_orders(CDNOW, [10, 15, 20], 20, 39, 52)
    assert falling == pytest.approx([0.3474606, 0.04283391, 0.004158973], rel=2e-4)
    assert expected_orders(CDNOW, 2, 30.43, 38.86, 39) == pytest.approx(1.226, abs=1e-3)  # the paper's spreadsheet


@needs_data
def test_published_holdout_table() -> None:
    """Fitted on 39 weeks, held against the 39 weeks after them."""
    customers = calibration()
    later = purchase_days().query("day > '1997-09-30'")["customer"].value_counts()
    actual = later.reindex(customers.index, fill_value=0)
    model = bgnbd.fit(customers)
    x, t_x, T = (customers[name] for name in bgnbd.STATISTICS)
    table = backtest(x, actual, expected_orders(model, x, t_x, T, 39))
    assert [*table["bin"]] == ["0", "1", "2", "3", "4", "5", "6", "7+"]
    assert [*table["customers"]] == [1411, 439, 214, 100, 62, 38, 29, 64]
    assert [*table["actual"]] == pytest.approx(
        [0.2367, 0.6970, 1.3925, 1.5600, 2.5323, 2.9474, 3.8621, 6.3594], abs=5e-5
    )
    assert [*table["expected"]] == pytest.approx(
        [0.2251, 0.5231, 1.0441, 1.5203, 2.1638, 2.6538, 3.5040, 6.1570], rel=1e-4
    )
    assert (table["actual"] * table["customers"]).sum() == pytest.approx(1882)


@needs_data
def test_gamma_gamma_finds_the_published_parameters_and_values() -> None:
    """Paper, and the quickstart of the package `lifetimes`."""
    customers = summary()
    model = gamma_gamma.fit(customers)
    assert (model.p, model.q, model.v) == pytest.approx((6.25, 3.74, 15.44), rel=2e-3)
    found = gamma_gamma.preconditions(customers)
    assert (found.repeat_customers, found.not_positive) == (946, 0)
    assert found.correlation == pytest.approx(0.113884, abs=5e-7)
    values = expected_order_value(model, customers["frequency"], customers["mean_amount"])
    assert values[:4] == pytest.approx([24.658619, 18.911489, 35.170981, 35.170981], rel=1e-6)
    assert values.mean() == pytest.approx(35.2529588, rel=1e-6)
    assert customers.query("frequency > 0")["mean_amount"].mean() == pytest.approx(35.0785518)


@needs_data
def test_published_lifetime_values() -> None:
    """The quickstart again; it takes a month for 30 of the data's units, which are weeks."""
    customers = summary()
    x, t_x, T, mean = (customers[name] for name in (*bgnbd.STATISTICS, "mean_amount"))
    order_value = expected_order_value(gamma_gamma.fit(customers), x, mean)
    values = lifetime_value(bgnbd.fit(customers), order_value, x, t_x, T, horizon=360, month=30)
    published = [140.096211, 18.943467, 38.180574, 38.180574, 38.180574, 1003.868107, 28.109683, 38.180574, 167.418216]
    assert values[:9] == pytest.approx(published, rel=1e-6)


# -- the same customers, the same model -------------------------------------------------------------------------------


def rearranged(histogram: pd.DataFrame) -> pd.DataFrame:
    """The same customers in other rows: shuffled, with some split in three and an empty one."""
    few = histogram.assign(customers=histogram["customers"] // 3)
    rest = histogram.assign(customers=histogram["customers"] - 2 * few["customers"])
    nobody = histogram.head(1).assign(frequency=77, recency=5, age=6, customers=0)
    return pd.concat([few, rest, nobody, few]).sample(frac=1, random_state=7)


@pytest.mark.parametrize("fit", [bgnbd.fit, gamma_gamma.fit])
@pytest.mark.parametrize("source", ["shop", pytest.param("cdnow", marks=needs_data)])
def test_rows_in_any_order_and_split_give_the_same_bits(fit: Callable[[pd.DataFrame], object], source: str) -> None:
    histogram = SHOP if source == "shop" else summary()
    assert fit(rearranged(histogram)) == fit(histogram)
    assert fit(histogram.astype({"customers": float})) == fit(histogram)


@pytest.mark.parametrize("source", ["shop", pytest.param("cdnow", marks=needs_data)])
def test_units_of_time_change_only_alpha(source: str) -> None:
    days = SHOP if source == "shop" else calibration(unit=1)
    by_day = bgnbd.fit(days)
    by_week = bgnbd.fit(days.assign(recency=days["recency"] / 7, age=days["age"] / 7))
    assert (by_week.r, by_week.alpha * 7, by_week.a, by_week.b) == pytest.approx(
        (by_day.r, by_day.alpha, by_day.a, by_day.b), rel=1e-6
    )
    assert expected_orders(by_week, 3, 10, 20, 52) == pytest.approx(expected_orders(by_day, 3, 70, 140, 364), rel=1e-6)


def test_units_of_money_change_only_v() -> None:
    yuan = gamma_gamma.fit(SHOP)
    fen = gamma_gamma.fit(SHOP.assign(mean_amount=SHOP["mean_amount"] * 100))
    assert (fen.p, fen.q, fen.v) == pytest.approx((yuan.p, yuan.q, yuan.v * 100), rel=1e-6)


def test_fits_are_maxima() -> None:
    """No neighbour is likelier: the likelihood that is reported is the one that was climbed."""
    for module in (bgnbd, gamma_gamma):
        model = module.fit(SHOP)
        best = module.log_likelihood(model, SHOP)
        for name, value in vars(model).items():
            for factor in (0.98, 1.02):
                neighbour = type(model)(**{**vars(model), name: value * factor})
                assert module.log_likelihood(neighbour, SHOP) < best


# -- what holds for any model and customer ----------------------------------------------------------------------------


def spread(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers of all magnitudes."""
    return st.floats(np.log(low), np.log(high)).map(lambda value: float(np.exp(value)))


MODELS = st.builds(BgNbd, spread(1e-3, 1e3), spread(1e-3, 1e4), spread(1e-3, 1e3), spread(1e-3, 1e3))
AGES = st.one_of(st.just(0.0), spread(1e-2, 1e4))
HORIZONS = st.one_of(st.just(0.0), spread(1e-2, 1e5))


@settings(max_examples=200)
@given(MODELS, st.sampled_from([0, 1, 2, 7, 100, 5000]), AGES, st.sampled_from([0, 0.3, 1]), HORIZONS, HORIZONS)
def test_predictions_are_possible(model: BgNbd, x: int, T: float, share: float, one: float, other: float) -> None:
    alive = p_alive(model, x, share * T, T)
    assert 0 <= alive <= 1
    soon, late = sorted((one, other))
    orders = expected_orders(model, x, share * T, T, [0, soon, late])
    assert np.isfinite(orders).all()
    assert orders[0] == 0
    assert 0 <= orders[1] <= orders[2] + 1e-6 + 1e-9 * orders[2]
    unless_they_leave = alive * (model.r + x) / (model.alpha + T) * late
    assert orders[2] <= unless_they_leave * (1 + 1e-6) + 1e-6


@settings(max_examples=100)
@given(MODELS, st.sampled_from([0, 1, 30]), spread(1e-2, 1e3))
def test_both_ways_to_count_orders_agree(model: BgNbd, x: int, y: float) -> None:
    arguments = [np.array([value]) for value in (model.r + x, model.a, model.b + x, y)]
    with np.errstate(all="ignore"):
        closed = bgnbd._closed_form(*arguments)
    assume(np.isfinite(closed).all())
    assert closed == pytest.approx(bgnbd._quadrature(*arguments), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize(("a", "b"), [(1, 2.5), (1 + 1e-9, 2.5), (1 - 1e-4, 2.5), (0.4, 0.6), (0.8, 2.5), (30, 2)])
def test_expectation_is_the_mean_over_leaving(a: float, b: float) -> None:
    """Also at the poles of the closed form, a = 1 and a + b = 1. A customer with p orders (1 - (1 + p y)^-r) / p."""
    mean = quad(lambda p: beta.pdf(p, a, b) * -np.expm1(-0.3 * np.log1p(p * 12)) / p, 0, 1, epsabs=1e-10, limit=500)[0]
    assert expected_orders_of_new(BgNbd(0.3, 2, a, b), 24) == pytest.approx(mean, rel=1e-5)


def test_rounding_leaves_no_negative_orders() -> None:
    """Over horizons so short that the closed form subtracts equals."""
    assert (expected_orders_of_new(BgNbd(0.24, 4.4, 0.79, 2.4), np.geomspace(1e-14, 1e-6, 500)) >= 0).all()


def test_who_never_came_back_cannot_have_left() -> None:
    assert p_alive(CDNOW, 0, 0, [0, 39, 1e6]) == pytest.approx([1, 1, 1], abs=0)


def test_arguments_broadcast() -> None:
    table = expected_orders(CDNOW, np.array([[0], [3]]), np.array([[0], [20]]), 39, np.array([13, 26, 52]))
    assert table.shape == (2, 3)
    assert table[1, 2] == expected_orders(CDNOW, 3, 20, 39, 52)


def test_order_value_lies_between_own_mean_and_everybodys() -> None:
    model = GammaGamma(6.25, 3.74, 15.44)
    everybody = 6.25 * 15.44 / 2.74
    assert expected_order_value(model, 0, 999) == pytest.approx(everybody)
    values = expected_order_value(model, [1, 5, 5000], 100.0)
    assert everybody < values[0] < values[1] < values[2] < 100
    assert expected_order_value(model, 0, np.nan) == pytest.approx(everybody)  # no repeat purchase, no mean


def test_lifetime_value_without_discount_is_orders_times_value() -> None:
    x, t_x, T = np.array([0, 3]), np.array([0, 20.0]), np.array([39, 39.0])
    value = lifetime_value(CDNOW, [10, 20], x, t_x, T, horizon=52, month=30 / 7, monthly_rate=0)
    assert value == pytest.approx(np.array([10, 20]) * expected_orders(CDNOW, x, t_x, T, 52))


def test_lifetime_value_pays_each_month_at_its_end() -> None:
    """75 days: two months and a half one."""
    model = BgNbd(0.25, 30, 0.8, 2.5)
    days = expected_orders(model, 3, 140, 270, [30, 60, 75])
    expected = 5 * (days[0] / 1.02 + (days[1] - days[0]) / 1.02**2 + (days[2] - days[1]) / 1.02**2.5)
    assert lifetime_value(model, 5, 3, 140, 270, 75, month=30, monthly_rate=0.02) == pytest.approx(expected)
    within_a_month = lifetime_value(model, 5, 3, 140, 270, 15, month=30, monthly_rate=0.02)
    assert within_a_month == pytest.approx(5 * expected_orders(model, 3, 140, 270, 15) / 1.02**0.5)


def test_backtest_counts_customers_of_histograms() -> None:
    one_by_one = backtest([0, 0, 0, 9, 12], [1, 0, 0, 5, 6], [0.5, 0.2, 0.2, 4, 8])
    as_histogram = backtest([0, 0, 9, 12], [1, 0, 5, 6], [0.5, 0.2, 4, 8], customers=[1, 2, 1, 1])
    expected = pd.DataFrame({"bin": ["0", "7+"], "customers": [3, 2], "actual": [1 / 3, 5.5], "expected": [0.3, 6]})
    pd.testing.assert_frame_equal(one_by_one, expected)
    pd.testing.assert_frame_equal(as_histogram, expected)


# -- when there is no model -------------------------------------------------------------------------------------------


def repeat_rows(*rows: tuple[float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["frequency", "recency", "age"]).assign(customers=100)


def spending(means: np.ndarray, frequency: int = 1) -> pd.DataFrame:
    return pd.DataFrame({"frequency": frequency, "mean_amount": means, "customers": 1})


def test_too_few_repeat_customers() -> None:
    with pytest.raises(CannotFit, match=r"BG/NBD: 357 of 1,657 customers bought again, at least 358 are needed"):
        bgnbd.fit(SHOP, min_repeat_customers=358)
    with pytest.raises(CannotFit, match=r"Gamma-Gamma: 357 customers bought again, at least 358 are needed"):
        gamma_gamma.fit(SHOP, min_repeat_customers=358)
    for module in (bgnbd, gamma_gamma):
        with pytest.raises(CannotFit, match="0 .*customers bought again"):
            module.fit(SHOP[SHOP["frequency"] == 0], min_repeat_customers=0)


@pytest.mark.parametrize(
    "customers",
    [
        repeat_rows(*[(x, 50.0, 52.0) for x in range(1, 30)]),  # all still there: nobody leaves
        repeat_rows((0, 0, 52.0), (1, 10.0, 52.0)),  # everybody leaves after the second purchase
        repeat_rows((5, 50.0, 52.0)),  # everybody the same: no distribution over customers
    ],
)
def test_customers_without_a_most_likely_model(customers: pd.DataFrame) -> None:
    with pytest.raises(CannotFit, match=r"BG/NBD: r, alpha .* ran off to .*Value them by means"):
        bgnbd.fit(customers)


def test_spending_without_a_most_likely_model() -> None:
    with pytest.raises(CannotFit, match=r"Gamma-Gamma: p, q, v .* ran off to"):
        gamma_gamma.fit(spending(np.full(200, 20.0), frequency=3))
    endless = betaprime.ppf((np.arange(1000) + 0.5) / 1000, 5, 0.8)  # p = 5, q = 0.8, v = 1
    with pytest.raises(CannotFit, match=r"Gamma-Gamma: .* \(q = 0\.799\) that they have no expectation"):
        gamma_gamma.fit(spending(endless))
    with pytest.raises(CannotFit, match=r"2 of 200 repeat customers is zero or less"):
        gamma_gamma.fit(spending(np.array([-3.0, 0.0, *range(1, 199)])))


def test_preconditions_are_reported_and_never_raise() -> None:
    spent = pd.DataFrame({"frequency": [0, 1, 2, 3], "mean_amount": [0, 30, 20, -5.0], "customers": [50, 4, 2, 1]})
    of_each = spent.loc[spent.index.repeat(spent["customers"])].query("frequency > 0")
    found = gamma_gamma.preconditions(spent)
    assert (found.repeat_customers, found.not_positive) == (7, 1)
    assert found.correlation == pytest.approx(of_each["frequency"].corr(of_each["mean_amount"]))
    assert np.isnan(gamma_gamma.preconditions(spending(np.array([5.0, 6.0]))).correlation)  # all bought once again
    assert gamma_gamma.preconditions(spent[:1]) == Preconditions(0, 0, pytest.approx(np.nan, nan_ok=True))


@pytest.mark.parametrize(
    "row",
    [
        (1.5, 10, 20),  # half a purchase
        (-1, 10, 20),
        (0, 10, 20),  # a last purchase that is none
        (2, 0, 20),  # three purchases on one day are one
        (2, 21, 20),  # bought after today
        (2, np.nan, 20),
    ],
)
def test_impossible_customers_are_refused(row: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="histogram"):
        bgnbd.fit(pd.concat([SHOP, repeat_rows(row)]))


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        merged(SHOP.assign(customers=-1), bgnbd.STATISTICS)
    with pytest.raises(ValueError, match="frequency counts purchases"):
        gamma_gamma.fit(spending(np.arange(1.0, 200.0), frequency=-1))


def test_later_starts_are_tried() -> None:
    """The first start meets no number at all, the second one leads up to e."""

    def hill(values: np.ndarray) -> tuple[float, np.ndarray]:
        away = np.log(values) - 1
        return (-float((away**2).sum()), -2 * away / values) if values[0] < 100 else (np.nan, values * np.nan)

    assert most_likely("hill", "top", hill, [(500.0,), (1.0,)]) == pytest.approx([np.e])
    with pytest.raises(CannotFit, match=r"hill: top came to no rest and were left at 500 \(last of 1 starts\)"):
        most_likely("hill", "top", hill, [(500.0,)])
