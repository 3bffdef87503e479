"""Probable links between profile records that share no identifier: what Splink is given, and what comes back.

Splink compares pairs of records column by column (Fellegi and Sunter's model) and is trained without labels. Here is
what needs neither a session nor Splink's engines; `jobs/runtime/match.py` trains and scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import silver
from transforms.expressions import SqlExpression, columns_in, nearest, unknown_columns
from transforms.names import repeated

MATCH = "splink"
_THRESHOLDS: dict[str, tuple[float, ...]] = {
    "jaro_winkler": (0.92, 0.88, 0.7),
    "name": (0.92, 0.88, 0.7),
    "levenshtein": (1, 2),
    "damerau_levenshtein": (1, 2),
}
_OWN_COLUMNS = ("unique_id", "records", "event_id", "event_at", "arrival_date", "first_arrival_date", "last_seen_at")
_NAME = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
_RULE = tuple[SqlExpression, ...]  # two records agree on a rule when they agree on each of its expressions


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Comparison(_Model):
    """How one column of two records is compared; levels from equal to different, each with a weight of its own.

    Attributes:
        kind: `exact`; `jaro_winkler` and `name` (similarity at the thresholds); `levenshtein` and
            `damerau_levenshtein` (edits at the thresholds); `date_of_birth` (yyyy-MM-dd; one edit, a month, a year, ten
            years apart); `email` (also its part before the @); `postcode` (one edit, the same first two characters).
        term_frequency: whether agreement on a rare value counts for more; by default on names.
    """

    column: str
    kind: Literal[
        "exact", "jaro_winkler", "name", "levenshtein", "damerau_levenshtein", "date_of_birth", "email", "postcode"
    ]
    thresholds: tuple[float, ...] = ()
    term_frequency: bool | None = None

    @model_validator(mode="after")
    def _thresholds_fit(self) -> Comparison:
        if self.thresholds and self.kind not in _THRESHOLDS:
            raise ValueError(f"{self.kind} takes no thresholds; those that do: {', '.join(_THRESHOLDS)}")
        is_edits = self.kind.endswith("levenshtein")
        if any(t < 1 or t != int(t) if is_edits else not 0 < t < 1 for t in self.thresholds):
            raise ValueError(
                f"thresholds of {self.kind} are {'whole edits, 1 or more' if is_edits else 'between 0 and 1'}"
            )
        return self

    @property
    def weighs_terms(self) -> bool:
        """Whether agreement on a rare value counts for more."""
        return self.kind == "name" if self.term_frequency is None else self.term_frequency


class Deterministic(_Model):
    """Rules that only true matches fulfil, and the share of the true matches that fulfil one: how rare a match is."""

    rules: tuple[_RULE, ...] = Field(min_length=1)
    recall: float = Field(default=0.8, gt=0, le=1)


class MatchRules(_Model):
    """`identity.match`: which records are compared, how, and from which probability on they are linked.

    Attributes:
        records: identifier types whose values are profile records.
        columns: column to SQL over silver.events; per record the latest value that is not null, trimmed, in lower case.
        blocking: pairs that agree on all expressions of one rule are compared. SQL over `columns`.
        training: rules like these by whose pairs the weights are learnt; by default those of `blocking`.
        max_pairs: random pairs from which is learnt how often strangers agree.
        max_block: a value that more records share brings no pairs together.
        sample_records: records that training sees, chosen by a hash with `seed`.
        least_records: with fewer known records nothing is matched.
    """

    records: tuple[str, ...] = Field(min_length=1)
    columns: dict[_NAME, SqlExpression] = Field(min_length=1)
    blocking: tuple[_RULE, ...] = Field(min_length=1)
    comparisons: tuple[Comparison, ...] = Field(min_length=2)
    deterministic: Deterministic
    training: tuple[_RULE, ...] = ()
    threshold: float = Field(default=0.9, gt=0, le=1)
    seed: int = 1
    max_pairs: int = Field(default=2_000_000, ge=1_000)
    max_block: int = Field(default=1_000, ge=2)
    sample_records: int = Field(default=100_000, ge=100)
    least_records: int = Field(default=100, ge=10)

    @model_validator(mode="after")
    def _names_exist(self) -> MatchRules:
        problems = [f"columns: {name} is a name of the engine's own" for name in _OWN_COLUMNS if name in self.columns]
        for name, expression in self.columns.items():
            problems += [f"columns.{name}: {p}" for p in unknown_columns(expression, silver.EVENTS.column_names)]
        for rule in self.rules:
            problems += [f"rule [{', '.join(rule)}]: {p}" for e in rule for p in unknown_columns(e, self.columns)]
        compared = [comparison.column for comparison in self.comparisons]
        for column in compared:
            if column not in self.columns:
                problems.append(f"comparisons: {column!r} is not a column here{nearest(column, self.columns)}")
        problems += [f"comparisons: {c} is compared twice" for c in repeated(compared)]
        if not problems:
            problems += [
                f"training: every rule reads {column}, so that its weights cannot be learnt; add a rule without it"
                for column in compared
                if all(column in columns_read(rule) for rule in self.learnt_from)
            ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def learnt_from(self) -> tuple[_RULE, ...]:
        """The rules by whose pairs the weights are learnt."""
        return self.training or self.blocking

    @property
    def rules(self) -> list[_RULE]:
        """Every rule once, in a fixed order; its place numbers its key column."""
        return list(dict.fromkeys([*self.blocking, *self.learnt_from, *self.deterministic.rules]))

    @property
    def weighed_terms(self) -> list[str]:
        """Columns of which the frequencies of values matter."""
        return [comparison.column for comparison in self.comparisons if comparison.weighs_terms]


def profile_records(events: DataFrame, rules: MatchRules) -> DataFrame:
    """What is known of each record, as Splink takes it; key unique_id (`type:value`).

    Args:
        events: silver.events, with the values that may not link in `blocked_identifiers`: they are no records.

    Returns:
        `unique_id`, the compared columns as text, a key column for each rule (`key_of`; null where a part is missing or
        more than `max_block` records share it), `first_arrival_date` and `last_seen_at` of the events that told it.
    """
    names = list(rules.columns)
    told = _told(events, rules)
    latest = told.groupBy("unique_id").agg(
        *[
            F.max_by(name, F.when(F.col(name).isNotNull(), F.struct("event_at", "event_id"))).alias(name)
            for name in names
        ],
        F.min("arrival_date").alias("first_arrival_date"),
        F.max("event_at").alias("last_seen_at"),
    )
    keyed = latest.select("*", *[_agreement(rule).alias(key_of(rule, rules)) for rule in rules.rules])
    return reduce(lambda frame, rule: _without_crowds(frame, key_of(rule, rules), rules.max_block), rules.rules, keyed)


def match_links(pairs: DataFrame, links: DataFrame, rules: MatchRules, tier: Mapping[str, int]) -> DataFrame:
    """The links and, beside them, pairs of records that are probably one person, in silver.identity_links' columns.

    Args:
        pairs: Splink's (unique_id_l, unique_id_r, match_probability, and the records' dates by end).
        links: evidence of events and people; a pair that is among it needs no probability.
        tier: identifier type to its place, by which `a` is the stronger end.
    """
    ends = [_identifier(f"unique_id_{side}", tier).alias(f"_{side}") for side in "lr"]
    likely = pairs.withColumn("probability", F.round("match_probability", 6)).where(
        F.col("probability") >= rules.threshold
    )
    ordered = likely.select("*", *ends).select("*", F.least("_l", "_r").alias("_a"), F.greatest("_l", "_r").alias("_b"))
    matched = ordered.select(
        *[F.col(f"_{end}.{part}").alias(f"{part}_{end}") for end in "ab" for part in ("type", "value")],
        F.greatest("first_arrival_date_l", "first_arrival_date_r").alias("first_arrival_date"),
        F.greatest("last_seen_at_l", "last_seen_at_r").alias("last_seen_at"),
        F.lit(0).cast("bigint").alias("event_count"),
        F.array(F.lit(MATCH)).alias("sources"),
        "probability",
    )
    new = matched.join(links.select(*silver.IDENTITY_LINKS.key), list(silver.IDENTITY_LINKS.key), "left_anti")
    return links.unionByName(new)


def splink_settings(rules: MatchRules, dialect: str, model: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Splink's settings for `duckdb` or `spark`, with the model's weights where it has learnt them."""
    from splink import SettingsCreator, block_on  # an optional extra

    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=[_comparison(comparison) for comparison in rules.comparisons],
        blocking_rules_to_generate_predictions=[block_on(key_of(rule, rules)) for rule in rules.blocking],
        additional_columns_to_retain=["first_arrival_date", "last_seen_at"] if dialect == "spark" else [],
        retain_matching_columns=False,
        retain_intermediate_calculation_columns=False,
    ).create_settings_dict(dialect)
    if model:
        settings["probability_two_random_records_match"] = model["prior"]
        learnt = {comparison["column"]: comparison["levels"] for comparison in model["comparisons"]}
        for comparison in settings["comparisons"]:
            for level, weights in zip(levels_of(comparison), learnt[comparison["output_column_name"]], strict=True):
                level.update({name: weights[name] for name in weights if name.endswith("_probability")})
    return settings


def levels_of(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The levels of a comparison in Splink's settings that carry weights: all but the missing value's."""
    return [level for level in comparison["comparison_levels"] if not level.get("is_null_level")]


def key_of(rule: Sequence[str], rules: MatchRules) -> str:
    """The key column of a rule: two records agree on the rule when they agree on it."""
    return f"_key_{rules.rules.index(tuple(rule))}"


def columns_read(rule: Sequence[str]) -> set[str]:
    """Columns that a rule's expressions read."""
    return set().union(*(columns_in(expression) for expression in rule))


def training_condition(rule: Sequence[str], rules: MatchRules) -> str:
    """SQL by which training brings pairs together.

    Splink learns nothing about a column that the condition reads, since on it these pairs agree by choice. So a column
    that the rule names is named here too, and one that an expression reads is named without saying anything of it: the
    key column stands for the expression, which is Spark's.
    """
    key, plain = key_of(rule, rules), [part for part in rule if part in rules.columns]
    equal = [f'l."{column}" = r."{column}"' for column in plain]
    read = sorted(columns_read(rule) - set(plain))
    return " and ".join(
        [*equal, f'l."{key}" = r."{key}"', *(f'(l."{c}" is null or l."{c}" is not null)' for c in read)]
    )


def _told(events: DataFrame, rules: MatchRules) -> DataFrame:
    """What each event says of each record on it; key (unique_id, event_id)."""
    usable = [
        F.when(
            F.coalesce(F.col("blocked_identifiers")[kind].isNull(), F.lit(True)),
            F.concat(F.lit(f"{kind}:"), F.col("identifiers")[kind]),
        )
        for kind in rules.records
    ]
    said = [_clean(expression).alias(name) for name, expression in rules.columns.items()]
    of_event = events.select(
        F.array_compact(F.array(*usable)).alias("records"), *said, "event_id", "event_at", "arrival_date"
    )
    is_said = reduce(lambda left, right: left | right, [F.col(name).isNotNull() for name in rules.columns])
    telling = of_event.where((F.size("records") > 0) & is_said)
    return telling.withColumn("unique_id", F.explode("records")).drop("records")


def _clean(expression: str) -> Column:
    """Text in lower case with single blanks; null where nothing is left."""
    text = F.lower(F.trim(F.regexp_replace(F.expr(expression).cast("string"), r"\s+", " ")))
    return F.nullif(text, F.lit(""))


def _agreement(rule: Sequence[str]) -> Column:
    """The rule's expressions as one text; null where one is missing."""
    parts = [F.expr(expression).cast("string") for expression in rule]
    is_whole = reduce(lambda left, right: left & right, [part.isNotNull() & (part != "") for part in parts])
    return F.when(is_whole, F.concat_ws("\u001f", *parts))


def _without_crowds(frame: DataFrame, key: str, most: int) -> DataFrame:
    """The frame without keys that so many records share that they say nothing, and would cost a pair for every two."""
    together = Window.partitionBy(key, F.when(F.col(key).isNull(), F.col("unique_id")))  # else all nulls are one task's
    holders = F.count("*").over(together)
    return frame.withColumn(key, F.when(holders <= most, F.col(key)))


def _identifier(unique_id: str, tier: Mapping[str, int]) -> Column:
    """A struct (tier, type, value), so that the lesser is the stronger."""
    cut = F.instr(unique_id, ":")  # types hold no colon, values may
    kind = F.substring(F.col(unique_id), F.lit(1), cut - 1)
    value = F.substring(F.col(unique_id), cut + 1, F.length(unique_id))
    places = F.create_map(*[F.lit(part) for entry in tier.items() for part in entry])
    return F.struct(places[kind].alias("tier"), kind.alias("type"), value.alias("value"))


def _comparison(comparison: Comparison) -> Any:
    """Splink's comparison of a kind, with its levels."""
    import splink.comparison_level_library as levels
    import splink.comparison_library as library

    name, thresholds = comparison.column, list(comparison.thresholds or _THRESHOLDS.get(comparison.kind, ()))
    kinds = {
        "exact": lambda: library.ExactMatch(name),
        "name": lambda: library.JaroWinklerAtThresholds(name, thresholds),
        "jaro_winkler": lambda: library.JaroWinklerAtThresholds(name, thresholds),
        "levenshtein": lambda: library.LevenshteinAtThresholds(name, [int(t) for t in thresholds]),
        "damerau_levenshtein": lambda: library.DamerauLevenshteinAtThresholds(name, [int(t) for t in thresholds]),
        # A date that no calendar has is still worth comparing as text: most are one slip from the right one.
        "date_of_birth": lambda: library.DateOfBirthComparison(name, input_is_string=True, invalid_dates_as_null=False),
        "email": lambda: library.EmailComparison(name),
        # Splink's own knows British postcodes only.
        "postcode": lambda: library.CustomComparison(list(_postcode_levels(name, levels)), output_column_name=name),
    }
    made = kinds[comparison.kind]()
    return made.configure(term_frequency_adjustments=True) if comparison.weighs_terms else made


def _postcode_levels(name: str, levels: Any) -> Iterator[Any]:
    from splink import ColumnExpression

    yield levels.NullLevel(name)
    yield levels.ExactMatchLevel(name)
    yield levels.DamerauLevenshteinLevel(name, 1)
    yield levels.ExactMatchLevel(ColumnExpression(name).substr(1, 2))
    yield levels.ElseLevel()
