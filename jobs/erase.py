"""erase: persons who ask for it are taken out of the lake, by one identifier each, and may not come back.

What is theirs goes from every table, the night of D is run on what is left, older versions are removed, and
ops.erasures certifies which files were read again. See docs/erasure.md.
"""

from __future__ import annotations

import argparse
import csv
import io

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs import nightly
from jobs.runtime.erasure_proof import Proof, purge_and_prove
from jobs.runtime.job import DONE, JobContext, RunFailed, add_arguments, context
from jobs.runtime.keys import stored_identifier
from jobs.runtime.listed_rows import listed_rows
from jobs.runtime.publications import today
from jobs.runtime.run_log import RunLog
from jobs.runtime.settings import SettingsError
from jobs.runtime.sweep import Swept, sweep
from jobs.runtime.tombstones import known_tombstones, salt_of
from transforms.contracts import gold, ops, silver
from transforms.erasure import pseudonyms, tombstone, tombstones_of

_ID_DIGITS = 16
Identifier = tuple[str, str]


def add_erase_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every job, and who is to be erased."""
    parser.add_argument(
        "identifiers", nargs="*", metavar="TYPE:VALUE", help="one identifier of each person, as phone:…"
    )
    parser.add_argument("--requests", metavar="FILE.csv", help="the same from a file: identifier_type,identifier")
    add_arguments(parser)


def run_erase(arguments: argparse.Namespace) -> int:
    """Erase, and print the certificate; killed anywhere, the same command goes on."""
    ctx = context(arguments)
    newest = today(ctx.tables)
    if ctx.tables.is_past or (newest and ctx.run_date < newest):
        raise RunFailed(f"an erasure rebuilds the newest state: give --date {newest} or a later date")
    asked = _asked(ctx, arguments)
    swept: dict[str, Swept] = {}
    with RunLog(ctx, steps=2) as log, ctx.interpreted(ctx.event_count_so_far):
        log.step("erase", lambda step: swept.update(_take_out(step, asked)))
    ctx.is_erasing = True  # what is left of bronze is cleaned again
    nightly.run_night(ctx)
    with RunLog(ctx, steps=2, done=1) as log, ctx.interpreted(ctx.event_count_so_far):
        log.step("certify", lambda step: _certify(step, swept))
    return DONE


def _asked(ctx: JobContext, arguments: argparse.Namespace) -> list[Identifier]:
    """The identifiers as tables hold them, personal ones as tokens."""
    given = list(arguments.identifiers)
    if arguments.requests:
        text = ctx.tables.files.read_text(arguments.requests)
        rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
        if not {"identifier_type", "identifier"} <= {*(rows.fieldnames or ())}:
            raise SettingsError(f"{arguments.requests}: wants the columns identifier_type,identifier")
        given += [f"{row['identifier_type']}:{row['identifier']}" for row in rows]
    if not given:
        raise SettingsError("erase: name a person by TYPE:VALUE, or many in --requests FILE.csv")
    linking = ctx.settings.identity.linking
    parts = [text.partition(":") for text in given]
    wrong = sum(kind not in linking or not raw.strip() for kind, _, raw in parts)
    if wrong:
        raise SettingsError(f"{wrong} of the requests are not TYPE:VALUE with one of the types {', '.join(linking)}")
    return sorted({(kind, stored_identifier(kind, raw, ctx.settings, ctx.env)) for kind, _, raw in parts})


def _take_out(ctx: JobContext, asked: list[Identifier]) -> dict[str, Swept]:
    """Tombstones first: from then on they say what is to go, also to a run after this one was killed."""
    _entomb(ctx, asked)
    gone = known_tombstones(ctx)
    assert gone is not None
    swept = sweep(ctx, gone)
    ctx.facts["rows erased"] = sum(found.erased for found in swept.values())
    ctx.facts["rows blanked"] = sum(found.blanked for found in swept.values())
    return swept


def _entomb(ctx: JobContext, asked: list[Identifier]) -> None:
    """Write the tombstones of all that stands for these persons, then their requests."""
    salt = salt_of(ctx)
    named = listed_rows(ctx.spark, asked, "identifier_type string, identifier string").coalesce(1)
    identities = ctx.tables.read_or_empty(silver.IDENTITIES)
    _refuse_shared(named, identities)
    history = ctx.tables.read_or_empty(silver.IDENTITY_HISTORY)
    stones = tombstones_of(named, identities, history, salt).coalesce(1)
    stones = stones.withColumns({"salt": F.lit(salt), "run_date": F.lit(ctx.run_date)}).localCheckpoint()
    requests = ctx.settled(_requests(ctx, named, identities, salt), 0)
    known = known_tombstones(ctx)
    new = stones if known is None else stones.join(known.rows, list(ops.TOMBSTONES.key), "left_anti")
    if known is None or not new.isEmpty():
        ctx.tables.append(ops.TOMBSTONES, new)
    ctx.tables.upsert(ops.ERASURE_REQUESTS, requests)
    ctx.facts["persons asked for"] = len(asked)


def _refuse_shared(named: DataFrame, identities: DataFrame) -> None:
    """A value that several people hold names nobody."""
    shared = identities.where("status in ('ambiguous', 'blocked')").join(
        named, ["identifier_type", "identifier"], "left_semi"
    )
    kinds = sorted(row.identifier_type for row in shared.select("identifier_type").collect())
    if kinds:
        raise RunFailed(
            f"{len(kinds)} of the identifiers ({', '.join(kinds)}) are held by several people and name none of them; "
            "nothing was erased: ask by another identifier of the person"
        )


def _requests(ctx: JobContext, named: DataFrame, identities: DataFrame, salt: str) -> DataFrame:
    """Rows of ops.erasure_requests; a request that was taken up before keeps its date and what was known then."""
    key = ["identifier_type", "identifier"]
    known = identities.select(*key, F.lit(True).alias("_is_known"))
    before = ctx.tables.read_or_empty(ops.ERASURE_REQUESTS).select(
        "request_id", F.col("requested_date").alias("_since"), F.col("is_known").alias("_was_known")
    )
    request_id = F.substring(tombstone(F.col("identifier"), salt), 1, _ID_DIGITS)
    return (
        named.join(known, key, "left")
        .withColumn("request_id", request_id)
        .join(before, "request_id", "left")
        .select(
            "request_id",
            "identifier_type",
            F.coalesce("_since", F.lit(ctx.run_date)).alias("requested_date"),
            F.lit("taken").alias("status"),
            F.coalesce("_was_known", "_is_known", F.lit(False)).alias("is_known"),
            F.lit(None).cast("date").alias("erased_date"),
        )
        .coalesce(1)
    )


def _certify(ctx: JobContext, swept: dict[str, Swept]) -> None:
    """Purge, read what is left, write the certificate; a value that is found fails the erasure."""
    gone = known_tombstones(ctx)
    assert gone is not None
    proofs = purge_and_prove(ctx, gone)
    rows = [_row(ctx, name, proof, swept.get(name)) for name, proof in proofs.items()]
    ctx.tables.append(ops.ERASURES, ctx.small_frame(rows, ops.ERASURES))
    left = {name: proof.found for name, proof in proofs.items() if proof.found}
    if left:
        told = ", ".join(f"{count} in {name}" for name, count in left.items())
        raise RunFailed(f"values of erased persons were found: {told}; run the same command again, and report this")
    requests = ctx.tables.read(ops.ERASURE_REQUESTS)
    is_taken = F.col("status") == "taken"
    done = requests.withColumn("erased_date", F.when(is_taken, F.lit(ctx.run_date)).otherwise(F.col("erased_date")))
    ctx.tables.replace(ops.ERASURE_REQUESTS, done.withColumn("status", F.lit("done")).coalesce(1))
    ctx.facts["files removed"] = sum(proof.removed for proof in proofs.values())
    ctx.facts["files checked"] = sum(proof.checked for proof in proofs.values())


def _row(ctx: JobContext, name: str, proof: Proof, swept: Swept | None) -> dict[str, object]:
    """The certificate of one table; of aggregates the slices published before are kept as they were."""
    aggregates = {table.full_name for table in gold.TABLES if not pseudonyms(table)}
    action = "kept" if name in aggregates or name.startswith("ops.") else "erased" if swept else "rebuilt"
    return {
        "run_id": ctx.run_id,
        "run_date": ctx.run_date,
        "table": name,
        "action": action,
        "rows_erased": swept.erased if swept else 0,
        "rows_blanked": swept.blanked if swept else 0,
        "files_removed": proof.removed,
        "files_checked": proof.checked,
        "values_found": proof.found,
        "erased_at": ctx.now(),
    }
