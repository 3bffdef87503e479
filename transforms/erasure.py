"""Erased persons: which rows are theirs, and which values other people's rows lose.

An erased identifier, and an erased customer id, is known only by its tombstone: the SHA-256 of a salt and the value
or token. So the rule that empties the lake and the rule that keeps the person out of it tomorrow are one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import reduce
from operator import or_

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import Table
from transforms.identity.anchors import is_certain
from transforms.identity.identifiers import IdentityRules
from transforms.sources import Source

CUSTOMER = "customer_id"
# Columns that say `type:value`.
_WITH_TYPE = frozenset({"anchor", "cause_identifier"})
# A shorter value may be another thing's name too (store 1001): only columns of its type are looked at for it.
_SHORTEST_SOUGHT = 8
_TOKEN = r"\b(?:[0-9a-f]{64}|C[0-9a-f]{32})\b"  # or a customer id
_TOKENS = re.compile(_TOKEN)
# Where a field of a line may end, and where a word of it may.
_FIELDS, _WORDS = re.compile(r"[,;|\t\"'{}\[\]]+|:\s"), re.compile(r"[\s,;|\"'{}\[\]:=<>()]+")

Reader = Callable[[str | None], tuple[str | None, str | None]]


def tombstone(value: Column, salt: str) -> Column:
    """What is kept of an erased value, hex; null for null. Without the token key a token cannot be guessed from it."""
    return F.sha2(F.concat(F.lit(salt), value), 256)


def _entombed(value: str, salt: str) -> str:
    """`tombstone` of one value."""
    return hashlib.sha256((salt + value).encode()).hexdigest()


def tombstones_of(asked: DataFrame, identities: DataFrame, history: DataFrame, salt: str) -> DataFrame:
    """(identifier_type, tombstone) of all that stands for the persons asked for, each once.

    Args:
        asked: (identifier_type, identifier); each is entombed itself, whether it is known or not.
        identities, history: silver.identities and silver.identity_history.

    A person's identifiers are those that are theirs for certain; an ambiguous or blocked value is several people's
    and stays. Customer ids are all that these identifiers ever had, less those that others have now.
    """
    key = ["identifier_type", "identifier"]
    owned = identities.where(is_certain() & F.col(CUSTOMER).isNotNull()).select(*key, CUSTOMER)
    persons = owned.join(asked, key, "left_semi").select(CUSTOMER).distinct()
    theirs = owned.join(persons, CUSTOMER, "left_semi").select(*key).unionByName(asked.select(*key)).distinct()
    before = history.join(theirs, key, "left_semi").select(CUSTOMER)
    others = identities.join(theirs, key, "left_anti").select(CUSTOMER)
    ids = persons.union(before).where(F.col(CUSTOMER).isNotNull()).distinct().join(others, CUSTOMER, "left_anti")
    values = theirs.union(ids.select(F.lit(CUSTOMER), CUSTOMER))
    return values.select("identifier_type", tombstone(F.col("identifier"), salt).alias("tombstone")).distinct()


def marked_rows(
    rows: DataFrame,
    source: Source,
    values: Mapping[str, tuple[Column, Column]],
    rules: IdentityRules,
    tombstones: DataFrame,
    salt: str,
) -> DataFrame:
    """Received rows with `_is_erased`, whether the row is an erased person's, and `_lost` for the others.

    Args:
        rows: of one source, with its columns.
        values: identifier column of the source to its stored value and the rule that blocks it, null where none does.
        tombstones: (identifier_type, tombstone).

    Returns:
        The rows with `_is_erased` and `_lost`, the names of the columns whose value is an erased person's, null where
        there are none. A row is the person's whose strongest identifier that may link is one of theirs: as the events
        that it makes are. Where several people are named on one row, the others keep theirs and lose the value.
    """
    kinds = {name: kind for name, (kind, _) in source.identifier_columns().items()}
    marked = rows
    for name, kind in kinds.items():
        of_kind = tombstones.where(F.col("identifier_type") == kind)
        marked = _with_mark(marked, _mark(name), values[name][0], of_kind, salt)
    for name in references(source):
        for form, text in (("", F.trim(f"`{name}`")), ("_upper", F.upper(F.trim(f"`{name}`")))):
            marked = _with_mark(marked, _mark(name) + form, text, tombstones, salt)
        marked = marked.withColumn(_mark(name), F.col(_mark(name)) | F.col(f"{_mark(name)}_upper"))
    by_tier = sorted((n for n in kinds if kinds[n] in rules.linking), key=lambda name: rules.tier[kinds[name]])
    is_usable = {name: values[name][0].isNotNull() & values[name][1].isNull() for name in by_tier}
    leads = [F.when(is_usable[name], F.col(_mark(name))) for name in by_tier]
    lost = [F.when(F.col(_mark(name)), F.lit(name)) for name in sorted({*kinds, *references(source)})]
    is_erased = F.coalesce(*leads, F.lit(False)) if leads else F.lit(False)
    names = F.array_compact(F.array(*lost)) if lost else F.array().cast("array<string>")
    return marked.select(
        *[F.col(f"`{name}`") for name in rows.columns],
        is_erased.alias("_is_erased"),
        F.when(~is_erased & (F.size(names) > 0), names).alias("_lost"),
    )


def blanked(stored: str, column: str) -> Column:
    """What is stored of a column of a row of `marked_rows`: null where the row lost it."""
    is_lost = F.coalesce(F.array_contains("_lost", column), F.lit(False))
    return F.when(~is_lost, F.col(f"`{stored}`")).alias(stored)


def references(source: Source) -> list[str]:
    """Columns in which a row names another customer: those that the attribute `referred_by` is made of."""
    said = [record.attributes["referred_by"] for record in source.records if "referred_by" in record.attributes]
    identifiers = source.identifier_columns()
    return [name for name in source.columns if name not in identifiers and any(_names(text, name) for text in said)]


def without_erased(rows: DataFrame, table: Table, tombstones: DataFrame, salt: str) -> DataFrame:
    """Rows of a table with `_is_erased` and `_is_blanked`, and erased values gone from the rows of other people.

    A row is an erased person's that has an erased value in its key or as its customer; elsewhere (the cause of a
    change, the owner before) the value becomes null. Write those that are not `_is_erased`.
    """
    marked = rows
    for name in pseudonyms(table):
        marked = _with_mark(marked, _mark(name), _value(name), tombstones, salt)
    ends = [name for name in pseudonyms(table) if name in table.key or name == CUSTOMER]
    others = [name for name in pseudonyms(table) if name not in ends]
    columns = [
        F.when(~F.col(_mark(name)), F.col(name)).alias(name) if name in others else F.col(name) for name in rows.columns
    ]
    is_erased, is_blanked = _any_mark(ends), _any_mark(others)
    return marked.select(*columns, is_erased.alias("_is_erased"), (~is_erased & is_blanked).alias("_is_blanked"))


def pseudonyms(table: Table) -> list[str]:
    """Text columns of a table that stand for a person: tokens and customer ids."""
    return [
        column.name
        for column in table.columns
        if column.type == "string" and (column.personal == "token" or column.name.endswith(CUSTOMER))
    ]


def naming_erased(
    texts: DataFrame, key: Sequence[str], readers: Sequence[Reader], tombstones: DataFrame, salt: str
) -> DataFrame:
    """Keys of the texts (`_text`) in which a word, or a field, is an erased identifier.

    For lines that cannot be parsed: each word is read as every type of identifier.

    Args:
        readers: `identifiers.converter` of each type, in each way that sources deliver it.
    """
    from pyspark.sql.functions import arrow_udf

    @arrow_udf("array<string>")
    def stored_forms(lines: pa.Array) -> pa.Array:
        return pa.array([_stored_forms(line, readers) for line in lines.to_pylist()], pa.list_(pa.string()))

    words = texts.select(*key, F.explode(stored_forms(F.col("_text"))).alias("word"))
    return found_among(words, tombstones, salt).select(*key).distinct()


def words_of(texts: Column) -> Column:
    """Whatever in a text may be a token or customer id, and the text itself."""
    found = F.regexp_extract_all(texts, F.lit(_TOKEN), F.lit(0))
    return F.concat(F.array(texts), F.coalesce(found, F.array().cast("array<string>")))


def found_among(words: DataFrame, tombstones: DataFrame, salt: str) -> DataFrame:
    """Words (`word`) that are an erased person's. Short ones are told from others' only by their type: left out."""
    hashed = words.where(F.length("word") >= _SHORTEST_SOUGHT).withColumn("tombstone", tombstone(F.col("word"), salt))
    return hashed.join(F.broadcast(tombstones.select("tombstone").distinct()), "tombstone", "left_semi")


def erased_words(text: str, tombstones: Collection[str], salt: str) -> list[str]:
    """`found_among` the `words_of` one text, where there are too few to ask Spark."""
    words = [text, *_TOKENS.findall(text)]
    return [word for word in words if len(word) >= _SHORTEST_SOUGHT and _entombed(word, salt) in tombstones]


def _stored_forms(line: str | None, readers: Sequence[Reader]) -> list[str]:
    """What tables would hold of each word and field of a line, were it an identifier."""
    parts = {part.strip() for pattern in (_FIELDS, _WORDS) for part in pattern.split(line or "")}
    return sorted({form for part in parts if part for read in readers if (form := read(part)[0])})


def _with_mark(rows: DataFrame, name: str, value: Column, tombstones: DataFrame, salt: str) -> DataFrame:
    """The rows with a boolean column: whether a value is among the tombstones."""
    known = F.broadcast(tombstones.select(F.col("tombstone").alias("_tombstone")).distinct())
    hashed = rows.withColumn("_hash", tombstone(value, salt))
    joined = hashed.join(known, F.col("_hash") == F.col("_tombstone"), "left")
    return joined.withColumn(name, F.col("_tombstone").isNotNull()).drop("_hash", "_tombstone")


def _value(name: str) -> Column:
    return F.regexp_extract(name, "^[^:]*:(.*)$", 1) if name in _WITH_TYPE else F.col(name)


def _mark(name: str) -> str:
    return f"_erased_{name}"


def _any_mark(names: Iterable[str]) -> Column:
    return reduce(or_, [F.col(_mark(name)) for name in names], F.lit(False))


def _names(expression: str, column: str) -> bool:
    return re.search(rf"(?<![\w']){re.escape(column)}(?![\w'])", expression) is not None
