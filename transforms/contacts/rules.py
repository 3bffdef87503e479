"""Strategies and the rules of contact, as `conf/strategies.yaml` says them, and whether they fit the other settings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from transforms.contacts.assignments import HOLDOUT
from transforms.contacts.templates import PLACES, places_in
from transforms.expressions import SqlExpression, columns_in, nearest, unknown_columns
from transforms.names import repeated

ContactChannel = Literal["app", "push", "sms", "call", "email", "mini_program", "wechat", "social", "store", "staff"]
Money = Annotated[Decimal, BeforeValidator(str), Field(ge=0, decimal_places=2)]
Share = Annotated[Decimal, BeforeValidator(str)]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Channel(_Model):
    """A way of contact.

    Attributes:
        reached_by: identifier types by which people are reached, the preferred one first.
        cost: of one contact.
        first_hour, last_hour: contacts are sent in these hours and between them, never outside.
        usual_hour: for people whose preferred hour is not known.
        preferred_as: sales channel; people who prefer that one are contacted here before elsewhere.
    """

    label: str
    reached_by: tuple[str, ...] = Field(min_length=1)
    cost: Money
    first_hour: int = Field(ge=0, le=23)
    last_hour: int = Field(ge=0, le=23)
    usual_hour: int
    preferred_as: str | None = None

    @model_validator(mode="after")
    def _hours_fit(self) -> Channel:
        if not self.first_hour <= self.usual_hour <= self.last_hour:
            raise ValueError("usual_hour must lie between first_hour and last_hour")
        return self


class Cap(_Model):
    """At most so many contacts per customer through these channels together, in so many days."""

    channels: tuple[ContactChannel, ...] = Field(min_length=1)
    contacts: int = Field(ge=0)
    days: int = Field(ge=1)


class Holdout(_Model):
    """The universal holdout: a share of customers whom no strategy ever contacts, so that all of them can be judged."""

    share: Share = Field(ge=0, lt=1)
    salt: str = Field(min_length=1)


class Festival(_Model):
    """A festival and its dates, year by year."""

    label: str
    dates: tuple[date, ...] = Field(min_length=1)


class Calendar(_Model):
    """Days that triggers know: member days of every month, and festivals by code."""

    member_days: tuple[Annotated[int, Field(ge=1, le=31)], ...] = ()
    festivals: dict[Code, Festival] = {}


class Suppression(_Model):
    """A person who is not to be contacted, by an identifier, raw or as stored; `until_date` is the last such day."""

    identifier_type: str
    identifier: str
    until_date: date | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_is_for_ever(cls, value: object) -> object:
        return {k: v for k, v in value.items() if v != ""} if isinstance(value, dict) else value


class ContactRules(_Model):
    """What holds for all strategies together (section `contacts`).

    Attributes:
        days_ahead: the plan of a run date is for the day so many days later.
        contacts_per_day: of all strategies, per customer; those of the least `priority` number go first.
        answered_days: contacts opened or clicked in so many days decide which channel suits a customer best.
        caps: of touches that happened, by `touch` events, and tonight's plan; earlier plans do not count.
        no_action: segments that no strategy is for, on purpose.
        words: how values of tags read in messages, as in `skincare: 护肤`.
        suppressed: people not to be contacted; settings name a CSV file of them.
    """

    days_ahead: int = Field(ge=0)
    contacts_per_day: int = Field(ge=1, le=5)
    answered_days: int = Field(ge=1)
    holdout: Holdout
    channels: dict[ContactChannel, Channel] = Field(min_length=1)
    caps: tuple[Cap, ...] = ()
    calendar: Calendar = Calendar()
    no_action: tuple[str, ...] = ()
    words: dict[str, str] = {}
    suppressed: tuple[Suppression, ...] = ()

    @property
    def memory_days(self) -> int:
        """How far back contacts matter to caps and to the choice of a channel."""
        return max([self.answered_days, *(cap.days for cap in self.caps)])


class Trigger(_Model):
    """A date on which a strategy acts: the customer's birthday, a member day or some festivals, or days before it."""

    kind: Literal["birthday", "member_day", "festival"]
    festivals: tuple[str, ...] = ()
    days_before: int = Field(default=0, ge=0, le=60)

    @model_validator(mode="after")
    def _festivals_named(self) -> Trigger:
        if (self.kind == "festival") != bool(self.festivals):
            raise ValueError("a festival trigger names its festivals; the others none")
        return self


class Variant(_Model):
    """A variant of an experiment: its share, and what it says otherwise; `is_contacted: false` is a control group."""

    share: Share = Field(gt=0, le=1)
    is_contacted: bool = True
    offer: str | None = None
    message: str | None = None


class Experiment(_Model):
    """An experiment within a strategy; who is in which variant is recorded at launch and never drawn again."""

    id: str = Field(min_length=1)
    salt: str = Field(min_length=1)
    variants: dict[str, Variant] = Field(min_length=2)

    @model_validator(mode="after")
    def _whole(self) -> Experiment:
        total = sum((variant.share for variant in self.variants.values()), Decimal(0))
        if total != 1:
            raise ValueError(f"the variants' shares must add up to 1, not {total}")
        if self.id == HOLDOUT:
            raise ValueError(f"{HOLDOUT} is the name of the universal holdout")
        return self

    @property
    def shares(self) -> dict[str, Decimal]:
        """Variant to its share, in their order."""
        return {name: variant.share for name, variant in self.variants.items()}


class Products(_Model):
    """What a strategy recommends: the best of a kind of gold.recommendations."""

    kind: Literal["goods", "finance"] = "goods"
    count: int = Field(default=3, ge=1, le=10)


class Strategy(_Model):
    """One strategy: for whom, to what end, with what, through which channels and when.

    Attributes:
        segments: customers of any of these; the first that fits is told in the plan.
        when: SQL over the portrait that must hold too.
        needs_finance: needs consent to finance, no minor, and no risk tier that a person must review first.
        channels: in the order of preference where the customer's own answers do not tell.
        cost_per_contact: instead of the channel's cost.
        rest_days: days after a contact of this strategy in which it leaves the customer alone.
        priority: 1 goes first.
        message: copy for people who consented to personalisation, with `{column}` or `{column|otherwise}`.
        generic_message: copy for the others, and where a column of `message` is null and has no otherwise.
    """

    label: str
    description: str
    goal: str
    kpi: str
    segments: tuple[str, ...] = Field(min_length=1)
    when: SqlExpression | None = None
    needs_finance: bool = False
    content_type: str
    channels: tuple[ContactChannel, ...] = Field(min_length=1)
    offer: str | None = None
    cost_per_contact: Money | None = None
    priority: int = Field(ge=1)
    rest_days: int = Field(default=0, ge=0)
    valid_from: date | None = None
    valid_to: date | None = None
    trigger: Trigger | None = None
    experiment: Experiment | None = None
    products: Products | None = None
    message: str
    generic_message: str

    @property
    def messages(self) -> list[str]:
        """Every template that reads the portrait."""
        variants = self.experiment.variants.values() if self.experiment else ()
        return [self.message, *[variant.message for variant in variants if variant.message]]

    @property
    def columns(self) -> set[str]:
        """Columns of the portrait that the messages read."""
        return {name for message in self.messages for name in places_in(message)} - {*PLACES}

    def is_in_force(self, day: date) -> bool:
        """Whether the day lies within the valid dates, both included."""
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day <= self.valid_to)


Strategies = Mapping[str, Strategy]


def in_force(strategies: Strategies, rules: ContactRules, day: date) -> dict[str, Strategy]:
    """Strategies whose dates and calendar triggers let them act on a day, by priority; birthdays are the customer's."""
    found = {
        code: strategy
        for code, strategy in strategies.items()
        if strategy.is_in_force(day) and _is_triggered(strategy.trigger, rules.calendar, day)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].priority))


def columns_read(strategies: Strategies) -> set[str]:
    """Columns of the portrait that the strategies' conditions and messages read."""
    conditions = [columns_in(strategy.when) for strategy in strategies.values() if strategy.when]
    return set().union(*conditions, *(strategy.columns for strategy in strategies.values()))


def check_strategies(
    strategies: Strategies,
    rules: ContactRules,
    segments: Collection[str],
    portrait: Iterable[str],
    identifier_types: Collection[str],
) -> list[str]:
    """A sentence for each name that no other setting knows, and for each segment without a strategy."""
    known = [*portrait]
    experiments = [strategy.experiment.id for strategy in strategies.values() if strategy.experiment]
    listed = sorted({entry.identifier_type for entry in rules.suppressed})
    priorities = [str(strategy.priority) for strategy in strategies.values()]
    return [
        *[
            f"strategies.{code}: {problem}"
            for code, strategy in strategies.items()
            for problem in _strategy_problems(strategy, rules, segments, known)
        ],
        *[f"strategies: priority {number} is given twice" for number in repeated(priorities)],
        *[f"strategies: experiment {name} is in two strategies" for name in repeated(experiments)],
        *[f"contacts.suppressed: {problem}" for problem in _unknown("identifier", listed, identifier_types)],
        *_segment_problems(strategies, rules, segments),
    ]


def _strategy_problems(
    strategy: Strategy, rules: ContactRules, segments: Collection[str], known: list[str]
) -> list[str]:
    festivals = strategy.trigger.festivals if strategy.trigger else ()
    generic = places_in(strategy.generic_message)
    return [
        *_unknown("segment", strategy.segments, segments),
        *_unknown("channel", strategy.channels, rules.channels),
        *_unknown("festival", festivals, rules.calendar.festivals),
        *_unknown("message: column", sorted(strategy.columns), known),
        *[f"when: {problem}" for problem in unknown_columns(strategy.when or "true", known)],
        *[f"generic_message reads {name!r}, but is for people who want nothing personal" for name in generic],
    ]


def check_reach(
    rules: ContactRules, identifier_types: Collection[str], channels: Iterable[ContactChannel]
) -> list[str]:
    """A sentence for each identifier type by which these channels reach people, and that is not declared."""
    return [
        f"contacts.channels.{name}.reached_by: {problem}"
        for name in channels
        for problem in _unknown("identifier", rules.channels[name].reached_by, identifier_types)
    ]


def _segment_problems(strategies: Strategies, rules: ContactRules, segments: Collection[str]) -> list[str]:
    served = {name for strategy in strategies.values() for name in strategy.segments}
    return [
        *[f"contacts.no_action: {problem}" for problem in _unknown("segment", rules.no_action, segments)],
        *[f"contacts.no_action: {name} is listed, but has a strategy" for name in rules.no_action if name in served],
        *[
            f"segment {name} has no strategy: give it one, or list it in contacts.no_action"
            for name in segments
            if name not in {*served, *rules.no_action}
        ],
    ]


def _unknown(what: str, names: Iterable[str], known: Collection[str]) -> list[str]:
    return [f"{what} {name!r} is not declared{nearest(name, known)}" for name in names if name not in known]


def _is_triggered(trigger: Trigger | None, calendar: Calendar, day: date) -> bool:
    if trigger is None or trigger.kind == "birthday":
        return True
    meant = day + timedelta(days=trigger.days_before)
    if trigger.kind == "member_day":
        return meant.day in calendar.member_days
    return any(meant in calendar.festivals[name].dates for name in trigger.festivals)
