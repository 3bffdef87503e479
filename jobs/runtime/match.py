"""The probabilistic last tier of identity: Splink, trained once a month and scored every night.

Training is a function of the records known on the model's effective date, and of nothing else: a sample chosen by hash,
sorted, on one thread of DuckDB. So a stored model is only work saved; it is fitted again where it is missing, or where
settings or those records are others than it was fitted on (late files, an erasure). Scoring is Spark's, by weights and
frequencies of values that the model holds: two records' probability does not change with tonight's other records.
"""

from __future__ import annotations

import json
import logging
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.listed_rows import listed_rows
from jobs.runtime.models import Model, digest_of, effective_date, stored_model
from transforms.digits import six_digits
from transforms.identity.match import (
    MatchRules,
    key_of,
    levels_of,
    match_links,
    profile_records,
    splink_settings,
    training_condition,
)

if TYPE_CHECKING:
    from splink import Linker


def with_matches(ctx: JobContext, links: DataFrame) -> DataFrame:
    """The links and, where `identity.match` is set, those between records that are probably one person.

    silver.identity_bad_values must be tonight's: over-held values make no records.
    """
    rules = ctx.settings.identity.match
    if rules is None:
        return links
    records = ctx.settled(profile_records(ctx.events(), rules), ctx.event_count)
    model = model_in_force(ctx, rules, records)
    if model is None:
        ctx.progress.note(f"match: fewer than {rules.least_records} records are known: nothing is matched")
        return links
    pairs = scored(records, model, rules)
    ctx.facts["probable links"] = pairs.count()
    return match_links(pairs, links, rules, ctx.settings.identity.tier)


def model_in_force(ctx: JobContext, rules: MatchRules, records: DataFrame | None = None) -> Model | None:
    """The model of the run date; None while too few records are known. `records`: where they were settled already."""
    known = profile_records(ctx.events(), rules) if records is None else records
    effective = effective_date(known, "first_arrival_date", ctx.run_date, rules.least_records)
    return None if effective is None else model_of(ctx, effective, rules)


def model_of(ctx: JobContext, effective: date, rules: MatchRules) -> Model:
    """The model of an effective date, from `<lake>/models/match/<date>.json` or fitted and put there."""
    known = ctx.known_events().where(F.col("arrival_date") <= F.lit(effective))
    sample = sample_of(profile_records(known, rules), rules)
    made_of = {"settings": digest_of(rules.model_dump_json()), "records": digest_of(json.dumps(sample.to_pydict()))}
    return stored_model(ctx, "match", effective, made_of, lambda: fitted(sample, rules))


def sample_of(records: DataFrame, rules: MatchRules) -> pa.Table:
    """The records that training sees, in the order of a hash, so that any first of them are a random choice too."""
    known = records.drop("first_arrival_date", "last_seen_at")
    by_hash = F.xxhash64("unique_id", F.lit(rules.seed))
    return known.orderBy(by_hash, "unique_id").limit(rules.sample_records).toArrow()


def fitted(sample: pa.Table, rules: MatchRules) -> Model:
    """The model that a sample of records teaches: how rare matches are, weights per level, frequencies of values.

    How often strangers agree (u) comes from all pairs of the first records, how often a person's records do (m) from
    EM over the pairs of each training rule. A level that no stranger reached has the odds of one more pair; what EM
    never saw keeps Splink's own guess. Numbers have six digits: the last ones differ between machines.
    """
    first = sample.slice(0, int((2 * rules.max_pairs) ** 0.5) + 1)
    strangers = _linker(first, splink_settings(rules, "duckdb"))
    strangers.training.estimate_u_using_random_sampling(1e18, min_count_per_level=None, num_chunks=1)  # no sampling
    one_more = 2 / (first.num_rows * (first.num_rows - 1))
    model = _learnt(strangers)
    for level in (level for comparison in model["comparisons"] for level in comparison["levels"]):
        level["u_probability"] = level.get("u_probability") or one_more

    model["prior"] = max(_share_of_matches(sample, rules), one_more)
    linker = _linker(sample, splink_settings(rules, "duckdb", model))
    for rule in rules.learnt_from:
        if _brings_together(sample[key_of(rule, rules)]):
            linker.training.estimate_parameters_using_expectation_maximisation(training_condition(rule, rules))
    return {**_learnt(linker), "terms": {column: _frequencies(sample[column]) for column in rules.weighed_terms}}


def scored(records: DataFrame, model: Model, rules: MatchRules) -> DataFrame:
    """Pairs that a blocking rule brings together and that may reach the threshold, with Splink's probability."""
    from splink import Linker
    from splink.backends.spark import SparkAPI, similarity_jar_location

    spark = records.sparkSession
    spark.sql(f"add jar '{similarity_jar_location()}'")  # Jaro-Winkler and Damerau-Levenshtein, for executors too
    api = SparkAPI(spark_session=spark, break_lineage_method="persist")
    linker = Linker(api.register(records), splink_settings(rules, "spark", model), log_level=logging.ERROR)
    for column in rules.weighed_terms:
        terms = _terms(records, column, model["terms"][column])
        linker.table_management.register_term_frequency_lookup(api.register(terms), column)
    least = rules.threshold - 1e-6  # it is rounded before it is compared
    pairs = linker.inference.predict(threshold_match_probability=least, warning_mode="never")
    kept = pairs.as_spark_dataframe().localCheckpoint()
    for view in spark.sql("show tables like '__splink__*'").collect():  # its own kept frames, which it never frees
        spark.table(view.tableName).unpersist()
        spark.catalog.dropTempView(view.tableName)
    return kept


def _linker(records: pa.Table, settings: dict[str, Any]) -> Linker:
    """Splink on one thread of DuckDB: sums of floating-point numbers in one order."""
    import duckdb
    from splink import Linker
    from splink.backends.duckdb import DuckDBAPI

    connection = duckdb.connect(config={"threads": 1})
    return Linker(DuckDBAPI(connection=connection).register(records), settings, log_level=logging.ERROR)


def _brings_together(key: pa.ChunkedArray) -> bool:
    """Whether any two records agree on a rule; Splink cannot learn from none."""
    held = key.drop_null()
    return len(held.unique()) < len(held)


def _share_of_matches(sample: pa.Table, rules: MatchRules) -> float:
    """Of all pairs of records the share that is one person, by the deterministic rules and their recall."""
    from splink import block_on

    linker = _linker(sample, splink_settings(rules, "duckdb"))
    agreeing: Any = [block_on(key_of(rule, rules)) for rule in rules.deterministic.rules]
    linker.training.estimate_probability_two_random_records_match(agreeing, rules.deterministic.recall)
    return float(_learnt(linker)["prior"])


def _learnt(linker: Linker) -> Model:
    """The weights of Splink's model, in the order of the settings' comparisons and their levels."""
    saved = linker.misc.save_model_to_json()
    weights = ("m_probability", "u_probability")
    return {
        "prior": six_digits(saved["probability_two_random_records_match"]),
        "comparisons": [
            {
                "column": comparison["output_column_name"],
                "levels": [
                    {
                        "level": level["label_for_charts"],
                        **{name: six_digits(level[name]) for name in weights if level.get(name) is not None},
                    }
                    for level in levels_of(comparison)
                ],
            }
            for comparison in saved["comparisons"]
        ],
    }


def _frequencies(column: pa.ChunkedArray) -> dict[str, Any]:
    """Shares of the values that two records or more have, and of one that fewer have."""
    counts = {row["values"]: row["counts"] for row in pc.value_counts(column.drop_null()).to_pylist()}
    total = sum(counts.values()) or 1
    shares = {value: six_digits(count / total) for value, count in sorted(counts.items()) if count > 1}
    return {"unknown": six_digits(1 / total), "shares": shares}


def _terms(records: DataFrame, column: str, frequencies: dict[str, Any]) -> DataFrame:
    """Each value of a column with its share, as Splink looks it up."""
    schema = f"`{column}` string, share double"
    known = listed_rows(records.sparkSession, list(frequencies["shares"].items()), schema)
    values = records.select(column).distinct().where(F.col(column).isNotNull())
    share = F.coalesce("share", F.lit(frequencies["unknown"]))
    return values.join(F.broadcast(known), column, "left").select(column, share.alias(f"tf_{column}"))
