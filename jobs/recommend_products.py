"""recommend-products: silver.order_lines, events, gold portraits -> gold.recommendations, gold.model_checks."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from jobs.runtime.models import Model, write_checks
from jobs.runtime.portraits import portraits
from jobs.runtime.recommendation_models import shelf_from, tested_recommendations
from jobs.runtime.value_models import value_date
from transforms.contracts import gold, silver
from transforms.recommendations.backtest import hit_rates
from transforms.recommendations.finance import recommend_finance
from transforms.recommendations.goods import recommend_goods
from transforms.recommendations.products import known_products
from transforms.recommendations.purchases import bought_products, product_categories, purchases_of
from transforms.recommendations.stock import with_availability

_MODELS = ("recommendations",)


def run(ctx: JobContext) -> None:
    """What to show each customer who consented to it, and how well such lists did in the monthly test."""
    rules = ctx.settings.recommendations
    listed = _goods(ctx).unionByName(recommend_finance(portraits(ctx), ctx.run_date, rules.finance))
    ctx.facts["recommendations"] = ctx.tables.overwrite_slice(gold.RECOMMENDATIONS, listed, run_date=ctx.run_date).rows
    write_checks(ctx, _MODELS, [_tested(ctx)])


def _goods(ctx: JobContext) -> DataFrame:
    """Goods, learnt from purchases of customers who count, for those who consented to lists of their own."""
    rules, day = ctx.settings.recommendations, ctx.run_date
    golden = ctx.tables.read(silver.CUSTOMERS).select("customer_id", "consent_personalised")
    if golden.where("consent_personalised").isEmpty():  # sources that do not ask: what goes together is not looked for
        ctx.progress.note("goods: no customer has consented to personal lists")
        return ctx.small_frame([], gold.RECOMMENDATIONS)
    purchases = ctx.settled(purchases_of(ctx.counted(silver.ORDER_LINES), day, rules.window_days), ctx.event_count)
    bought = ctx.settled(bought_products(purchases, day), ctx.event_count)
    known = known_products(bought, product_categories(purchases), rules.repeatable)
    products = ctx.settled(with_availability(known, ctx.known_events(), day, rules.stock_days), 0)
    today, tags = F.col("run_date") == F.lit(day), rules.preferred_category.tags
    tagged = ctx.tables.read("gold.customer_tags").where(today).select("customer_id", *tags)
    customers = golden.join(tagged, "customer_id", "left")
    return recommend_goods(customers, bought, shelf_from(purchases, products, rules), day, rules)


def _tested(ctx: JobContext) -> Model:
    """The monthly test; one that says so while too little is known."""
    effective = value_date(ctx)
    if effective:
        return tested_recommendations(ctx, effective)
    return {"effective_date": None, "checks": hit_rates({}, ctx.settings.recommendations)}


if __name__ == "__main__":
    main(run)
