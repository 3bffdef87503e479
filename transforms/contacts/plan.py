"""The contact plan: whom to reach, with what, through which channel, at which hour, and whom to leave alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contacts.assignments import CONFLICT, HELD_OUT, HOLDOUT, drawn
from transforms.contacts.rules import ContactRules, Strategies, Strategy, in_force
from transforms.contacts.templates import filled, places_in
from transforms.contracts import MONEY, gold
from transforms.eligibility import FINANCE_READS, barred_from_finance, holds

# Portrait columns that planning itself reads, besides those of strategies' `when` and messages.
PLANNED_BY = (
    "birth_date",
    "consent_marketing",
    "consent_personalised",
    "is_staff",
    *FINANCE_READS,
    "preferred_channel",
    "preferred_hour",
)


def plan_contacts(people: DataFrame, as_of: date, strategies: Strategies, rules: ContactRules) -> DataFrame:
    """Every candidate of every strategy in force on the contact date, in the columns of gold.contact_plan.

    Args:
        people: one row per customer with `segments` (array of codes), `as_of`, the portrait's columns that planning,
            the strategies' `when` and the messages read, `reach` (array of identifier types), the columns of
            `contact_history`, `goods` and `finance` (arrays of (product_id, category), the best first), `variants`
            (experiment to recorded variant) and `is_suppressed`; all but the portrait's may be null.

    A candidate is a customer in one of the strategy's segments for whom its `when` and its trigger hold. One pass
    without shuffle: a customer's candidates are an array by priority, folded from the first to the last, because each
    contact planned leaves less room under the caps for the next.
    """
    day = as_of + timedelta(days=rules.days_ahead)
    acting = in_force(strategies, rules, day)
    if not acting:
        return people.where("false").select(
            *[F.lit(None).cast(c.type).alias(c.name) for c in gold.CONTACT_PLAN.columns]
        )
    whole = people.withColumns(
        {
            "touched": F.coalesce("touched", F.array_repeat(F.lit(0), len(rules.caps))),
            "closed": F.coalesce("closed", F.array().cast("array<string>")),
            "reach": F.coalesce("reach", F.array().cast("array<string>")),
        }
    )
    judged = whole.withColumns(
        {f"_{code}": F.when(_concerns(s, day), _judged(code, s, rules, as_of)) for code, s in acting.items()}
    )
    proposed = judged.withColumns({f"_{code}": _candidate(code, s) for code, s in acting.items()})
    candidates = F.sort_array(F.array_compact(F.array(*[f"_{code}" for code in acting])))
    decided = proposed.withColumn("_candidates", candidates).withColumn("_d", F.explode(_decisions(rules)))
    return _told(decided, as_of, day, acting, rules)


def summarise_contacts(plan: DataFrame) -> DataFrame:
    """Customers and cost by strategy, channel and reason, in the columns of gold.contact_summary."""
    grouped = plan.groupBy(*gold.CONTACT_SUMMARY.key)
    sums = [F.count("*").alias("customers"), F.sum("cost_amount").cast(MONEY).alias("cost_amount")]
    return grouped.agg(*sums).select(*gold.CONTACT_SUMMARY.column_names)


def _concerns(strategy: Strategy, day: date) -> Column:
    """Whether the strategy is for the customer: most strategies are not, and judging costs some hundred steps."""
    concerns = F.arrays_overlap("segments", F.array(*map(F.lit, strategy.segments))) & _is_day(strategy, day)
    return concerns & F.coalesce(F.expr(strategy.when), F.lit(False)) if strategy.when else concerns


def _judged(code: str, strategy: Strategy, rules: ContactRules, as_of: date) -> Column:
    """A struct: the channels left for the customer, the best first, and why the strategy must not contact them."""
    channels = _channels(strategy, rules)
    last = F.col(f"contacted_{code}")
    reached = sorted({kind for name in strategy.channels for kind in rules.channels[name].reached_by})
    held_out = _variant(HOLDOUT, rules.holdout.salt, {HELD_OUT: rules.holdout.share}).isin(HELD_OUT, CONFLICT)
    by_person = (
        F.when(holds("is_staff"), "staff")
        .when(~holds("consent_marketing"), "no_consent")
        .when(holds("is_suppressed"), "suppressed")
        .when(held_out, HELD_OUT)
    )
    by_goal = [barred_from_finance()] if strategy.needs_finance else []
    by_contacts = (
        F.when(F.datediff(F.lit(as_of), last) < strategy.rest_days, "contacted_recently")
        .when(~F.arrays_overlap("reach", F.array(*map(F.lit, reached))), "unreachable")
        .when(F.size(channels) == 0, "unsubscribed")
    )
    reason = F.coalesce(by_person, *by_goal, by_contacts)
    return F.struct(reason.alias("reason"), channels.alias("channels"))


def _channels(strategy: Strategy, rules: ContactRules) -> Column:
    """Channels of the strategy that reach the customer and were not unsubscribed from.

    First those where the customer opened or clicked most lately, then the one that belongs to the preferred sales
    channel, then as the strategy lists them.
    """
    ranked = []
    for place, name in enumerate(strategy.channels):
        channel = rules.channels[name]
        reaches = F.arrays_overlap("reach", F.array(*map(F.lit, channel.reached_by)))
        answers = F.coalesce(F.try_element_at("answers", F.lit(name)), F.lit(0))
        prefers = F.coalesce(F.col("preferred_channel") == F.lit(channel.preferred_as), F.lit(False))
        rank = F.struct(
            (-answers).alias("answers"),
            F.when(prefers, 0).otherwise(1).alias("preferred"),
            F.lit(place).alias("place"),
            F.lit(name).alias("channel"),
        )
        ranked.append(F.when(reaches & ~F.array_contains("closed", name), rank))
    return F.transform(F.sort_array(F.array_compact(F.array(*ranked))), lambda rank: rank["channel"])


def _candidate(code: str, strategy: Strategy) -> Column:
    """What the fold needs of a candidate, its priority first; null for customers whom the strategy is not for."""
    listed = F.array(*map(F.lit, strategy.segments))
    segment = F.get(F.filter(listed, lambda name: F.array_contains(F.col("segments"), name)), F.lit(0))
    early = F.col(f"_{code}")["reason"]
    experiment = strategy.experiment
    variant = F.lit(None).cast("string")
    if experiment:
        variant = F.when(early.isNull(), _variant(experiment.id, experiment.salt, experiment.shares))
    controls = [name for name, v in experiment.variants.items() if not v.is_contacted] if experiment else []
    late = F.when(variant == CONFLICT, "experiment_conflict").when(variant.isin(controls), "control")
    return F.when(
        F.col(f"_{code}").isNotNull(),
        F.struct(
            F.lit(strategy.priority).alias("priority"),
            F.lit(code).alias("strategy"),
            segment.alias("segment"),
            variant.alias("variant"),
            F.coalesce(early, late).alias("reason"),
            F.col(f"_{code}")["channels"].alias("channels"),
        ),
    )


def _is_day(strategy: Strategy, day: date) -> Column:
    """Whether the trigger means this customer's day; born on 29 February counts as the 28th in other years."""
    if strategy.trigger is None or strategy.trigger.kind != "birthday":
        return F.lit(True)
    meant = day + timedelta(days=strategy.trigger.days_before)
    years = F.lit(meant.year) - F.year("birth_date")
    return F.coalesce(F.add_months("birth_date", (years * 12).cast("int")) == F.lit(meant), F.lit(False))


def _variant(experiment_id: str, salt: str, shares: Mapping[str, Decimal]) -> Column:
    """The recorded variant, else the one drawn; null where the draw falls beyond all shares."""
    recorded = F.try_element_at("variants", F.lit(experiment_id))
    return F.coalesce(recorded, drawn(F.col("customer_id"), experiment_id, salt, shares))


def _decisions(rules: ContactRules) -> Column:
    """For each candidate, in order of priority, the channel of its contact or the reason why there is none.

    A fold in Spark SQL: the state is the channels used so far tonight and the decisions.
    """
    has_room = [
        f"(not array_contains({_sql(cap.channels)}, x) or "
        f"touched[{n}] + size(filter(s.used, u -> array_contains({_sql(cap.channels)}, u))) < {cap.contacts})"
        for n, cap in enumerate(rules.caps)
    ]
    is_open = " and ".join(has_room) or "true"
    free = f"if(c.reason is null, get(filter(c.channels, x -> {is_open}), 0), null)"
    is_full = f"size(s.used) >= {rules.contacts_per_day}"
    reason = f"coalesce(c.reason, if({is_full}, 'lower_priority', if(free is null, 'over_cap', null)))"
    decision = (
        "named_struct('strategy', c.strategy, 'segment', c.segment, 'priority', c.priority, 'variant', c.variant, "
        f"'reason', {reason}, 'channel', if({is_full}, null, free))"
    )
    empty = (
        "cast(array() as array<struct<strategy:string,segment:string,priority:int,variant:string,"
        "reason:string,channel:string>>)"
    )
    step = (
        f"get(transform(array({free}), free -> named_struct("
        f"'used', if({is_full} or free is null, s.used, array_append(s.used, free)), "
        f"'decisions', array_append(s.decisions, {decision}))), 0)"
    )
    start = f"named_struct('used', cast(array() as array<string>), 'decisions', {empty})"
    return F.expr(f"aggregate(_candidates, {start}, (s, c) -> {step}, s -> s.decisions)")


def _told(decided: DataFrame, as_of: date, day: date, acting: Mapping[str, Strategy], rules: ContactRules) -> DataFrame:
    """Decisions with all that is said to the customer; nothing personal without consent to it."""
    code, channel, reason = F.col("_d.strategy"), F.col("_d.channel"), F.col("_d.reason")
    is_contact, is_personal = reason.isNull(), holds("consent_personalised")
    offer = _of_strategy(code, acting, _offer)
    told = {
        "run_date": F.lit(as_of),
        "strategy": code,
        "contact_date": F.lit(day),
        "segment": F.col("_d.segment"),
        "goal": _of_strategy(code, acting, lambda s: F.lit(s.goal)),
        "kpi": _of_strategy(code, acting, lambda s: F.lit(s.kpi)),
        "priority": F.col("_d.priority"),
        "content_type": _of_strategy(code, acting, lambda s: F.lit(s.content_type)),
        "channel": channel,
        "send_hour": F.when(is_contact, _hour(channel, rules)),
        "recommended_products": F.when(is_contact & is_personal, _of_strategy(code, acting, _products)),
        "offer": offer,
        "message": F.when(is_contact, _of_strategy(code, acting, lambda s: _message(s, is_personal, rules))),
        "experiment_id": _of_strategy(code, acting, lambda s: F.lit(s.experiment.id if s.experiment else None)),
        "variant": F.col("_d.variant"),
        "cost_amount": F.coalesce(_of_strategy(code, acting, lambda s: _cost(s, channel, rules)), F.lit(0)),
        "suppressed_reason": reason,
    }
    return decided.select(
        *[told.get(c.name, F.col(c.name)).cast(c.type).alias(c.name) for c in gold.CONTACT_PLAN.columns]
    )


def _of_strategy(code: Column, acting: Mapping[str, Strategy], said: Callable[[Strategy], Column]) -> Column:
    """What the row's strategy says, as one chain of `when`."""
    chain = F.lit(None)
    for name, strategy in acting.items():
        chain = F.when(code == name, said(strategy)).otherwise(chain)
    return chain


def _offer(strategy: Strategy) -> Column:
    """The offer of the customer's variant where that has its own."""
    offer = F.lit(strategy.offer)
    for name, variant in strategy.experiment.variants.items() if strategy.experiment else ():
        if variant.offer is not None:
            offer = F.when(F.col("_d.variant") == name, F.lit(variant.offer)).otherwise(offer)
    return offer


def _products(strategy: Strategy) -> Column:
    if strategy.products is None:
        return F.lit(None).cast("array<string>")
    best = F.slice(F.col(strategy.products.kind), 1, strategy.products.count)
    return F.transform(best, lambda product: product["product_id"])


def _message(strategy: Strategy, is_personal: Column, rules: ContactRules) -> Column:
    """The personal copy of the customer's variant, or the generic one."""
    best = F.get(F.col(strategy.products.kind if strategy.products else "goods"), F.lit(0))
    values = {"offer": _offer(strategy), "product": best["product_id"], "category": best["category"]}

    def copy(template: str) -> Column:
        return filled(template, {name: values.get(name, F.col(name)) for name in places_in(template)}, rules.words)

    personal = copy(strategy.message)
    for name, variant in strategy.experiment.variants.items() if strategy.experiment else ():
        if variant.message is not None:
            personal = F.when(F.col("_d.variant") == name, copy(variant.message)).otherwise(personal)
    return F.coalesce(F.when(is_personal, personal), F.lit(strategy.generic_message))


def _hour(channel: Column, rules: ContactRules) -> Column:
    """The preferred hour, within the hours in which the channel may be used."""
    hour = F.lit(None).cast("int")
    for name, said in rules.channels.items():
        wanted = F.coalesce("preferred_hour", F.lit(said.usual_hour))
        hour = F.when(
            channel == name, F.greatest(F.lit(said.first_hour), F.least(F.lit(said.last_hour), wanted))
        ).otherwise(hour)
    return hour


def _cost(strategy: Strategy, channel: Column, rules: ContactRules) -> Column:
    cost = F.lit(None).cast(MONEY)
    for name in strategy.channels:
        own = strategy.cost_per_contact
        cost = F.when(channel == name, F.lit(rules.channels[name].cost if own is None else own)).otherwise(cost)
    return cost


def _sql(names: Iterable[str]) -> str:
    """An array of codes as SQL; codes hold no quotes."""
    return f"array({', '.join(repr(name) for name in names)})"
