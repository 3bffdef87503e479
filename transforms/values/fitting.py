"""The value models of a date: fitted, checked, tested on what they had not seen, and what stands in for them.

Gamma-Gamma is used only where its preconditions hold. Whatever the models do, the means of customers who bought
equally often are taken too: a customer is valued by these where there is no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from transforms.digits import six_digits
from transforms.values import bgnbd, gamma_gamma
from transforms.values.backtest import backtest
from transforms.values.bgnbd import BgNbd
from transforms.values.checks import Check, check_row
from transforms.values.gamma_gamma import GammaGamma
from transforms.values.likelihood import CannotFit
from transforms.values.rules import DAYS, ValueRules

LAST_BIN = 7  # it holds all who bought again as often or more, as in the published back-tests of CDNOW

_Fitted = TypeVar("_Fitted", BgNbd, GammaGamma)


def fit_values(sample: pd.DataFrame, rules: ValueRules) -> dict[str, Any]:
    """The models that a sample of customers teaches, as JSON can hold them; the same for any order of the rows.

    Args:
        sample: `purchases.split_histories`, a row a customer, all of them whole numbers: amounts in cents, and -1
            where a customer was none on the calibration date.

    Returns:
        `bgnbd` and `gamma_gamma` (parameters in days or weeks and in money, or None), `segment_means` (bin,
        orders_per_day, order_value) and `checks`: rows of gold.model_checks without date.
    """
    ordered = sample.sort_values(list(sample.columns), ignore_index=True)
    time, money = _histograms(ordered, "", rules)
    orders, order_checks = _fit_bgnbd(time, rules)
    values, value_checks = _fit_gamma_gamma(money, rules)
    means = _segment_means(ordered, rules)
    checks = [*order_checks, *value_checks, *_backtest(ordered, rules), *_mean_checks(means)]
    return {
        "bgnbd": asdict(orders) if orders else None,
        "gamma_gamma": asdict(values) if values else None,
        "segment_means": [{name: mean[name] for name in ("bin", "orders_per_day", "order_value")} for mean in means],
        "checks": checks,
    }


def _histograms(sample: pd.DataFrame, prefix: str, rules: ValueRules) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What BG/NBD and what Gamma-Gamma is fitted on, of the customers known on the date that the prefix stands for."""
    known = sample[sample[f"{prefix}frequency"] >= 0]
    unit = DAYS[rules.unit]
    time = pd.DataFrame(
        {
            "frequency": known[f"{prefix}frequency"],
            "recency": known[f"{prefix}recency_days"] / unit,
            "age": known[f"{prefix}age_days"] / unit,
            "customers": 1,
        }
    )
    count = known[f"{prefix}repeat_paid_count"]
    mean = known[f"{prefix}repeat_amount"] / 100 / np.maximum(count, 1)
    return time, pd.DataFrame({"frequency": count, "mean_amount": mean, "customers": 1})


def _fit_bgnbd(histogram: pd.DataFrame, rules: ValueRules, check: str = "") -> tuple[BgNbd | None, list[Check]]:
    """The model and its checks, whose names begin with `check`."""
    repeat = int((histogram["frequency"] > 0).sum())
    enough = check_row(
        "bgnbd",
        f"{check}precondition",
        "repeat_customers",
        repeat,
        expected=rules.min_repeat_customers,
        actual=repeat,
        is_passed=repeat >= rules.min_repeat_customers,
    )
    fitted, checks = _fitted(
        "bgnbd",
        BgNbd,
        check,
        len(histogram),
        lambda: bgnbd.fit(histogram, rules.min_repeat_customers),
        lambda model: bgnbd.log_likelihood(model, histogram),
    )
    return fitted, [enough, *checks]


def _fit_gamma_gamma(
    histogram: pd.DataFrame, rules: ValueRules, check: str = ""
) -> tuple[GammaGamma | None, list[Check]]:
    """The model, where its preconditions hold, and its checks."""
    found = gamma_gamma.preconditions(histogram)
    is_independent = not abs(found.correlation) > rules.most_correlation  # not a number: one of the two is constant
    measures = (
        (
            "repeat_customers",
            rules.min_repeat_customers,
            found.repeat_customers,
            found.repeat_customers >= rules.min_repeat_customers,
        ),
        ("not_positive", 0, found.not_positive, found.not_positive == 0),
        ("correlation", rules.most_correlation, found.correlation, is_independent),
    )
    checks = [
        check_row(
            "gamma_gamma",
            f"{check}precondition",
            name,
            found.repeat_customers,
            expected=limit,
            actual=measured,
            is_passed=is_passed,
        )
        for name, limit, measured, is_passed in measures
    ]

    def fit() -> GammaGamma:
        if not is_independent and found.repeat_customers >= rules.min_repeat_customers:
            raise CannotFit(
                f"Gamma-Gamma: frequency and order value are correlated ({found.correlation:.3f}; at most "
                f"{rules.most_correlation} is allowed): orders are valued by segment means."
            )
        return gamma_gamma.fit(histogram, rules.min_repeat_customers)

    fitted, more = _fitted(
        "gamma_gamma",
        GammaGamma,
        check,
        found.repeat_customers,
        fit,
        lambda model: gamma_gamma.log_likelihood(model, histogram),
    )
    return fitted, [*checks, *more]


def _fitted(
    name: str,
    kind: type[_Fitted],
    check: str,
    customers: int,
    fit: Callable[[], _Fitted],
    log_likelihood: Callable[[_Fitted], float],
) -> tuple[_Fitted | None, list[Check]]:
    """A model with parameters of six digits (the last ones differ between machines), or why there is none."""
    try:
        parameters = {key: six_digits(value) for key, value in asdict(fit()).items()}
    except CannotFit as error:
        return None, [check_row(name, f"{check}fit", "log_likelihood", customers, is_passed=False, note=str(error))]
    model: _Fitted = kind(**parameters)
    reached = check_row(name, f"{check}fit", "log_likelihood", customers, actual=log_likelihood(model), is_passed=True)
    listed: list[Check] = [
        check_row(name, f"{check}parameter", key, customers, actual=value) for key, value in parameters.items()
    ]
    return model, [reached, *listed]


def _backtest(sample: pd.DataFrame, rules: ValueRules) -> list[Check]:
    """Models fitted on what was bought up to the calibration date, against what the same customers bought later."""
    known = sample[sample["calibration_frequency"] >= 0]
    time, money = _histograms(known, "calibration_", rules)
    orders, order_checks = _fit_bgnbd(time, rules, "backtest_")
    values, value_checks = _fit_gamma_gamma(money, rules, "backtest_")
    x, actual = known["calibration_frequency"], known["holdout_count"]
    checks = [*order_checks, *value_checks]
    if orders:
        t_x, T = time["recency"], time["age"]
        expected = bgnbd.expected_orders(orders, x, t_x, T, rules.holdout_days / DAYS[rules.unit])
        checks += _binned("bgnbd", x, actual, expected)
    if values:
        worth = gamma_gamma.expected_order_value(values, money["frequency"], money["mean_amount"])
        paid = known["holdout_paid_count"].to_numpy()
        mean = known["holdout_amount"].to_numpy() / 100 / np.maximum(paid, 1)
        checks += _binned("gamma_gamma", x[paid > 0], mean[paid > 0], worth[paid > 0])
        if orders:
            checks += _binned("clv", x, known["holdout_amount"] / 100, expected * worth)
    return checks


def _binned(model: str, x: Any, actual: Any, expected: Any) -> list[Check]:
    """Means per customer by repeat purchases in the calibration period, and over all bins."""
    by_bin = backtest(x, actual, expected, last_bin=LAST_BIN)
    whole = backtest(np.zeros(len(x)), actual, expected).assign(bin="all")
    return [
        check_row(model, "backtest", row["bin"], int(row["customers"]), expected=row["expected"], actual=row["actual"])
        for row in pd.concat([by_bin, whole]).to_dict("records")
    ]


def _segment_means(sample: pd.DataFrame, rules: ValueRules) -> list[dict[str, Any]]:
    """By repeat purchases: orders a day in the holdout period of who had so many before it, and mean order value.

    Sums of whole numbers, so that they are exact; divided at the very end.
    """
    known = sample[sample["calibration_frequency"] >= 0]
    then, now = (np.minimum(frame, LAST_BIN) for frame in (known["calibration_frequency"], sample["frequency"]))
    customers = known.groupby(then).size()
    orders = known["holdout_count"].groupby(then).sum()
    amount, paid = sample["paid_amount"].groupby(now).sum(), sample["paid_count"].groupby(now).sum()
    means = []
    for number in range(LAST_BIN + 1):
        placed, people, orders_paid = (int(sums.get(number, 0)) for sums in (orders, customers, paid))
        means.append(
            {
                "bin": number,
                "orders_per_day": placed / (people * rules.holdout_days) if people else None,
                "order_value": int(amount.get(number, 0)) / 100 / orders_paid if orders_paid else None,
                "holdout_customers": people,
                "customers": int((now == number).sum()),
                "holdout_orders": placed / people if people else None,
            }
        )
    return [mean for mean in means if mean["holdout_customers"] or mean["customers"]]


def _mean_checks(means: list[dict[str, Any]]) -> list[Check]:
    """The means that stand in for a model, where they are known."""
    columns = (("bgnbd", "holdout_orders", "holdout_customers"), ("gamma_gamma", "order_value", "customers"))
    return [
        check_row(model, "segment_mean", _bin_name(mean["bin"]), mean[customers], actual=mean[name])
        for model, name, customers in columns
        for mean in means
        if mean[name] is not None
    ]


def _bin_name(number: int) -> str:
    return f"{number}+" if number == LAST_BIN else str(number)
