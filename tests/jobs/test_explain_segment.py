"""`portraits explain segment`: what a person reads who asks why a customer is in a segment, and why not in another."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from rich.console import Console

from jobs.explain_segment import explain_segment
from jobs.runtime.settings import load_settings
from tests.builders import DAY, days_before, frame
from transforms.contracts import Table, gold, silver
from transforms.segments import SegmentRules
from transforms.tags import TagRules, tag_columns

TAG = {"label": "标签", "description": "A tag.", "type": "value", "measure": "sum(net_amount)"}
TAGS = TagRules.model_validate(
    {"net_amount_lifetime": TAG, "days_since_last_order": {**TAG, "type": "behaviour", "measure": "days_since"}}
)


def declared(code: str, when: str) -> dict[str, str]:
    return {"code": code, "label": f"客群 {code}", "description": f"About {code}.", "when": when}


RULES = SegmentRules.model_validate(
    {
        "primary": [
            declared("best", "m_score >= 4 and f_score >= 4 and (city = '杭州' or days_since_last_order <= 90)"),
            declared("worth", "value_tier = 'gold' and m_score >= 3"),
            declared("fair", "m_score >= 3"),
            declared("other", "true"),
        ],
        "secondary": [
            declared("top", "amount_top_percent <= 50"),
            declared("quiet", "days_since_last_order > 90"),
            declared("rising", "size(high_potential_reasons) > 0"),
        ],
    }
)


class Shelf:
    """Tables of a publication, as `PublishedTables` gives them."""

    def __init__(self, tables: dict[str, DataFrame], run_date: date | None) -> None:
        self._tables, self.run_date = tables, run_date

    def read(self, table: Table | str) -> DataFrame:
        return self._tables[table if isinstance(table, str) else table.full_name]

    read_or_empty = read


@pytest.fixture(scope="module")
def shelf(spark: SparkSession) -> Shelf:
    """C1 scores 4 and 3 and is worth nothing known; C2 is staff; what is stored of C3 is not what the rules say."""
    tags = gold.customer_tags_table(tag_columns(TAGS))
    amounts = {"C1": 30, "C2": 90, "C3": 10}
    rows: dict[Table, list[dict[str, Any]]] = {
        silver.CUSTOMERS: [{"customer_id": c, "city": "上海", "is_staff": c == "C2"} for c in amounts],
        tags: [
            {"customer_id": c, "run_date": DAY, "net_amount_lifetime": Decimal(amount), "days_since_last_order": 90}
            for c, amount in amounts.items()
        ],
        gold.RFM_SCORES: [
            {"run_date": DAY, "scope": "chain", "scope_value": "all", "customer_id": c, "m_score": 4, "f_score": 3}
            for c in amounts
        ],
        gold.CUSTOMER_VALUES: [
            {"run_date": DAY, "customer_id": c, "high_potential_reasons": ["views: 9"] if c == "C1" else []}
            for c in amounts
        ],
        gold.SEGMENT_MEMBERS: [
            {"run_date": DAY, "segment": segment, "customer_id": c, "kind": kind, "reasons": []}
            for c, segment, kind in [
                ("C1", "fair", "primary"), ("C1", "top", "secondary"), ("C1", "rising", "secondary"),
                ("C2", "fair", "primary"), ("C3", "other", "primary"),
            ]
        ],
        gold.SEGMENT_HISTORY: [
            {"segment": "fair", "kind": "primary", "customer_id": "C1", "entered_date": since, "exited_date": until}
            for since, until in ((days_before(50), days_before(40)), (days_before(9), None))
        ],
        silver.ORDER_LINES: [],
        silver.IDENTITIES: [],
    }  # fmt: skip
    return Shelf({table.full_name: frame(spark, table, found) for table, found in rows.items()}, DAY)


@pytest.fixture
def told(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> Any:
    settings = load_settings().model_copy(update={"tags": TAGS, "segments": RULES})

    def explained(customer: str, view: Shelf = shelf) -> tuple[int, list[str]]:
        console = Console(highlight=False, markup=False, soft_wrap=True)
        code = explain_segment(view, console, settings, customer)  # type: ignore[arg-type]
        return code, capsys.readouterr().out.splitlines()

    return explained


def test_the_rule_that_matched_those_tried_before_and_the_secondary_ones(told: Any) -> None:
    code, lines = told("C1")
    assert code == 0
    best = RULES.primary[0].when
    assert lines == [
        f"C1 on {DAY}",
        f"primary: fair 客群 fair, since {days_before(9)}: About fair.",
        "  m_score >= 3 (m_score=4)",
        "tried before it:",
        f"  best 客群 best: {best}",
        "    f_score >= 4: does not hold (f_score=3)",  # the others do: 90 days are not more than 90
        "  worth 客群 worth: value_tier = 'gold' and m_score >= 3",
        "    value_tier = 'gold': unknown, so it does not hold (value_tier=null)",
        "secondary: 2 of 3",
        "  top 客群 top: About top.",
        "    amount_top_percent <= 50 (amount_top_percent=50)",  # the better of two: C2 is staff
        "  rising 客群 rising: About rising.",
        "    size(high_potential_reasons) > 0 (high_potential_reasons=[views: 9])",
        "  do not hold: quiet",
        "stored memberships: the same",
    ]


def test_what_is_stored_may_be_something_else(told: Any) -> None:
    code, lines = told("C3")
    assert code == 1
    assert lines[-1] == "stored memberships: THEY DO NOT AGREE (only stored: other; not stored: fair)"


def test_staff_are_not_ranked_and_strangers_not_known(told: Any, shelf: Shelf) -> None:
    code, lines = told("C2")
    assert (code, "secondary: none of 3" in lines) == (0, True)
    assert told("C9") == (1, [f"C9 is no customer on {DAY}"])
    code, lines = told("C1", Shelf({}, None))
    assert (code, "never published" in lines[0]) == (1, True)
