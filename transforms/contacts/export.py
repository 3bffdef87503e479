"""A contact plan made ready to send: who may still be contacted, and at which address."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

ReachedBy = Mapping[str, Sequence[str]]  # contact channel -> identifier types that reach people there, preferred first

# Why a planned contact is left out, the first that holds.
NO_SUCH_CUSTOMER, CONSENT_WITHDRAWN, SUPPRESSED = "no_such_customer", "consent_withdrawn", "suppressed"
UNSUBSCRIBED, NO_ADDRESS = "unsubscribed", "no_address"

ORDER = ("send_hour", "customer_id", "strategy")
PRODUCT_SEPARATOR = "|"

_ANY_CHANNEL = "*"
_NEVER = date(1900, 1, 1)  # before every date on which an identifier was seen


def contacts_to_send(
    plan: DataFrame,
    customers: DataFrame,
    suppressed: DataFrame,
    unsubscribed: DataFrame,
    addresses: DataFrame,
    reached_by: ReachedBy,
) -> DataFrame:
    """The planned contacts with their address, still sealed, or with the reason to leave them out after all.

    Args:
        plan: gold.contact_plan of one run date.
        customers: silver.customers as of now, which may be later than the plan.
        suppressed: customer_id of people not to be contacted, with `is_suppressed`.
        unsubscribed: as `unsubscribed_since` gives them.
        addresses: as `addresses_of` gives them.

    Returns:
        One row per customer and strategy that is planned: the plan's columns, `address_type`, `identifier` and
        `sealed` (null where the identifier itself is the address), and `left_out_reason` (null for contacts to send).
    """
    consents = customers.select("customer_id", F.lit(True).alias("_is_known"), "consent_marketing")
    joined = (
        plan.where("suppressed_reason is null")
        .join(consents, "customer_id", "left")
        .join(suppressed, "customer_id", "left")
        .join(unsubscribed, "customer_id", "left")
        .join(addresses, "customer_id", "left")
        .withColumn("_address", _best_address(reached_by))
    )
    no_more = F.array_contains("unsubscribed_channels", F.col("channel"))
    reason = (
        F.when(F.col("_is_known").isNull(), NO_SUCH_CUSTOMER)
        .when(~F.coalesce("consent_marketing", F.lit(False)), CONSENT_WITHDRAWN)
        .when(F.col("is_suppressed"), SUPPRESSED)
        .when(no_more | F.array_contains("unsubscribed_channels", F.lit(_ANY_CHANNEL)), UNSUBSCRIBED)
        .when(F.col("_address").isNull(), NO_ADDRESS)
    )
    return joined.select(*plan.columns, "_address.*", reason.alias("left_out_reason"))


def unsubscribed_since(events: DataFrame, identities: DataFrame, plan_date: date) -> DataFrame:
    """Customers who unsubscribed by an event that arrived after the plan was made; key customer_id.

    Whoever owns any identifier of the event is meant, since leaving one contact out too many does less harm.

    Args:
        events: silver.events; `props.contact_channel` says what they unsubscribe from, all channels where it is null.

    Returns:
        `unsubscribed_channels`: contact channels, `*` for all.
    """
    said = events.where((F.col("event_type") == "unsubscribe") & (F.col("arrival_date") > F.lit(plan_date)))
    channel = F.coalesce(F.col("props")["contact_channel"], F.lit(_ANY_CHANNEL)).alias("channel")
    named = said.select(F.explode("identifiers").alias("identifier_type", "identifier"), channel)
    owned = named.join(identities, ["identifier_type", "identifier"]).where("customer_id is not null")
    return owned.groupBy("customer_id").agg(F.collect_set("channel").alias("unsubscribed_channels"))


def addresses_of(
    wanted: DataFrame, identities: DataFrame, vault: DataFrame | None, types: Collection[str], personal: Collection[str]
) -> DataFrame:
    """Where customers can be reached: of each type the identifier seen last, then the smallest; key customer_id.

    Args:
        wanted: rows with the `customer_id` of those to reach.
        identities: silver.identities.
        vault: vault.identifiers; None where there is none, and then nobody has an address of a personal type.
        types: identifier types that are wanted; `personal`: those of all types that are stored as tokens.

    Returns:
        `addresses`: identifier type to (address_type, identifier, sealed). A personal identifier of which the vault
        has nothing is no address, and an older one of its type does not take its place: it may be another's by now.
    """
    is_owned = F.col("status").isin("linked", "alone") & F.col("identifier_type").isin(*types)
    owned = identities.where(is_owned).join(wanted.select("customer_id").distinct(), "customer_id", "left_semi")
    last_first = -F.unix_date(F.coalesce("last_seen_date", F.lit(_NEVER)))
    last = owned.groupBy("customer_id", "identifier_type").agg(
        F.min(F.struct(last_first.alias("place"), "identifier"))["identifier"].alias("identifier")
    )
    if vault is None:
        found = last.where(~F.col("identifier_type").isin(*personal)).withColumn("sealed", F.lit(None).cast("string"))
    else:
        sealed = vault.select("identifier_type", "identifier", F.col("value").alias("sealed"))
        found = last.join(sealed, ["identifier_type", "identifier"], "left").where(
            ~F.col("identifier_type").isin(*personal) | F.col("sealed").isNotNull()
        )
    address = F.struct(F.col("identifier_type").alias("address_type"), "identifier", "sealed")
    entries = F.collect_list(F.struct("identifier_type", address))
    return found.groupBy("customer_id").agg(F.map_from_entries(entries).alias("addresses"))


def sent_columns(contacts: DataFrame, opened: Callable[[Column, Column], Column]) -> DataFrame:
    """What the sender is given of contacts to send, in order; no token among it.

    Args:
        contacts: rows of `contacts_to_send` without a reason to leave them out.
        opened: from sealed value and identifier to the plain value.
    """
    address = F.coalesce(opened(F.col("sealed"), F.col("identifier")), F.col("identifier"))
    return contacts.select(
        "customer_id",
        "strategy",
        F.col("contact_date").alias("send_date"),
        "send_hour",
        "address_type",
        address.alias("address"),
        "offer",
        "message",
        F.array_join("recommended_products", PRODUCT_SEPARATOR).alias("recommended_products"),
        "content_type",
        "experiment_id",
        "variant",
        F.concat_ws("-", "strategy", F.col("run_date").cast("string")).alias("tracking_key"),
    )


def safe_for_spreadsheets(sent: DataFrame) -> DataFrame:
    """Text that a spreadsheet would run as a formula, with an apostrophe before it, by which it stays text.

    Cells that begin with = + - @, tab or carriage return (OWASP, CSV Injection). What customers say of themselves
    (an e-mail address `=cmd|…@x.y`) comes in as well as what templates say. A plus and digits alone is a phone number,
    which no spreadsheet runs, and stays as it is: it is what it is sent to.
    """

    def safe(name: str) -> Column:
        text = F.col(name)
        is_run = text.rlike("^[=+\\-@\t\r]") & ~text.rlike(r"^\+[0-9]+$")
        return F.when(is_run, F.concat(F.lit("'"), text)).otherwise(text).alias(name)

    return sent.select(*[safe(name) if kind == "string" else F.col(name) for name, kind in sent.dtypes])


def _best_address(reached_by: ReachedBy) -> Column:
    """The address of the first type that reaches people in the contact's channel; null where there is none."""
    found = F.lit(None)
    for channel, types in sorted(reached_by.items()):
        options = [F.col("addresses")[kind] for kind in types]
        found = F.when(F.col("channel") == channel, F.coalesce(*options)).otherwise(found)
    return found
