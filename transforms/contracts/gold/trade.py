"""How the trade goes: who comes back, which places are loyal, what lies too long, who pays more for the same."""

from __future__ import annotations

from transforms.contracts import MONEY, QUANTITY, RATIO, Column, Table
from transforms.contracts.gold.placing import CUSTOMER_SLICE_DAYS, RUN_DATE

UNKNOWN = "unknown"  # where a row has no place, category or segment, so that rows add up to all

RETENTION_COHORTS = Table(
    layer="gold",
    name="retention_cohorts",
    label="留存队列",
    grain="one month since the first purchase of one cohort of a scope value, in one mode, of a run date",
    key=("run_date", "mode", "scope", "scope_value", "cohort_month", "month_number"),
    partition_by=("run_date",),
    retention_days=CUSTOMER_SLICE_DAYS,
    columns=(
        RUN_DATE,
        Column(
            "mode", "string", "口径", "cleaned: purchases that still count; with_cancellations: any order or return"
        ),
        Column(
            "scope", "string", "范围", "chain, channel (of the first purchase) or segment (primary, of the run date)"
        ),
        Column("scope_value", "string", "范围取值", "Its value; all for the chain"),
        Column("cohort_month", "string", "首购月份", "Month of the first purchase, yyyy-MM"),
        Column("month_number", "int", "月序", "Months since; 0 is the month of the first purchase"),
        Column("cohort_customers", "bigint", "队列人数", "Customers of the cohort"),
        Column("customers", "bigint", "留存人数", "Of them, customers who bought in that month"),
        Column("rate", RATIO, "留存率", "Customers, of cohort_customers"),
        Column("is_complete", "boolean", "整月", "Whether that month was over on the run date"),
    ),
)

REGION_QUALITY = Table(
    layer="gold",
    name="region_quality",
    label="区域客户质量",
    grain="one city of residence of a run date",
    key=("run_date", "province", "city"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("province", "string", "省份", "Province without 省 or 市; unknown where nobody says"),
        Column("city", "string", "城市", "City without 市; unknown where nobody says"),
        Column("city_tier", "string", "城市等级", "Tier of the city by configuration; null where it is not known"),
        Column("customers", "bigint", "客户数", "Customers who live there"),
        Column("buyers", "bigint", "购买人数", "Of them, customers with a purchase in the window"),
        Column("repeat_buyers", "bigint", "复购人数", "Of them, customers with two purchases or more in the window"),
        Column("repurchase_rate", RATIO, "复购率", "repeat_buyers, of buyers"),
        Column("net_amount", MONEY, "净额", "Net amount of the purchases of the window"),
        Column("net_amount_per_buyer", MONEY, "人均净额", "net_amount, by buyers"),
        Column("mean_clv", MONEY, "平均客户价值", "Mean clv_365d of the customers who have one"),
        Column("is_hidden_quality", "boolean", "小而优区域", "Few but loyal customers, by conf/trade.yaml"),
    ),
)

INVENTORY_TURNOVER = Table(
    layer="gold",
    name="inventory_turnover",
    label="库存周转",
    grain="one store and category whose stock is counted, of a run date",
    key=("run_date", "store_id", "category"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("store_id", "string", "门店", "Store"),
        Column("category", "string", "品类", "Category; unknown where counts name none"),
        Column("stock_value", MONEY, "平均库存", "Mean over the days of the period of the value at cost"),
        Column("cost_of_sales", MONEY, "销售成本", "Cost of what the store sold of it in the period and kept"),
        Column("days", RATIO, "周转天数", "stock_value / cost_of_sales × days of the period; null: nothing sold"),
        Column("stock_days", "int", "有库存记录天数", "Days of the period whose stock is known"),
        Column("benchmark_low", RATIO, "基准下限", "Least days that are as they should be"),
        Column("benchmark_high", RATIO, "基准上限", "Most days that are as they should be"),
        Column("status", "string", "状态", "below, within or above the benchmark; unsold"),
        Column("is_slow_mover", "boolean", "滞销", "More days than the benchmark, or stock of which nothing was sold"),
    ),
)

PRICE_FAIRNESS = Table(
    layer="gold",
    name="price_fairness",
    label="价格公平",
    grain="one product and primary segment that bought it, of a run date",
    key=("run_date", "product_id", "segment"),
    partition_by=("run_date",),
    retention_days=CUSTOMER_SLICE_DAYS,
    columns=(
        RUN_DATE,
        Column("product_id", "string", "商品编号", "Product"),
        Column("segment", "string", "客群", "Primary segment of the run date"),
        Column("customers", "bigint", "购买人数", "Customers of the segment who bought it in the window"),
        Column("pieces", QUANTITY, "件数", "Pieces that they bought"),
        Column("mean_price", MONEY, "均价", "Paid for a piece after discounts"),
        Column("min_price", MONEY, "最低价", "The same of their cheapest line"),
        Column("max_price", MONEY, "最高价", "The same of their dearest line"),
        Column("spread_ratio", RATIO, "价差率", "(max_price − min_price) / mean_price"),
        Column("product_mean_price", MONEY, "全体均价", "mean_price of all customers"),
        Column("price_ratio", RATIO, "价格比", "mean_price / product_mean_price, before rounding"),
        Column(
            "others_mean_price", MONEY, "其他客群均价", "mean_price of all other segments; null: nobody else bought it"
        ),
        Column("new_mean_price", MONEY, "新客均价", "mean_price of the new segments; null: they did not buy it"),
        Column("is_loyal", "boolean", "老客", "Whether the segment is one of the loyal ones of conf/trade.yaml"),
        Column("is_unfair", "boolean", "价格不公", "Pays above the tolerance more than all others, of enough volume"),
        Column("is_loyalty_penalty", "boolean", "老客杀熟", "A loyal segment, and the same against the new ones"),
    ),
)
