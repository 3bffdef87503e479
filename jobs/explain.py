"""explain: why two identifiers are one customer; what makes a customer, a tag, a membership, a contact and a KPI."""

from __future__ import annotations

import argparse

from rich.console import Console

from jobs.explain_contact import explain_contact
from jobs.explain_identity import IdentityView, explain_customer, explain_identity
from jobs.explain_kpi import add_kpi_arguments, explain_kpi, places_in
from jobs.explain_segment import explain_segment
from jobs.explain_tag import explain_tag
from jobs.runtime.job import a_date, add_settings_arguments
from jobs.runtime.keys import stored_identifier
from jobs.runtime.publications import PublishedTables
from jobs.runtime.session import build_session
from jobs.runtime.settings import Settings, SettingsError, load_settings
from jobs.runtime.tables import Tables
from transforms.identity.replay import Node


def add_explain_arguments(parser: argparse.ArgumentParser) -> None:
    """What to explain, and of which lake."""
    things = parser.add_subparsers(
        title="what", metavar="identity|customer|tag|segment|contact|kpi", required=True, dest="what"
    )
    identity = things.add_parser("identity", help="why two identifiers are one customer, or what stands between them")
    identity.add_argument("identifiers", nargs=2, metavar="TYPE:VALUE", help="raw or stored, as phone:13812345678")
    customer = things.add_parser("customer", help="identifiers, evidence and history of a customer")
    customer.add_argument("customer_id", metavar="CUSTOMER")
    tag = things.add_parser("tag", help="the events that make the value of a customer's tag")
    tag.add_argument("customer_id", metavar="CUSTOMER")
    tag.add_argument("tag", metavar="TAG")
    segment = things.add_parser(
        "segment", help="the rule that put a customer into a segment, and those tried before it"
    )
    segment.add_argument("customer_id", metavar="CUSTOMER")
    contact = things.add_parser("contact", help="why a customer is contacted or left alone, strategy by strategy")
    contact.add_argument("customer_id", metavar="CUSTOMER")
    kpi = things.add_parser("kpi", help="definition, rows, numerator and denominator of a KPI, and its value again")
    add_kpi_arguments(kpi)
    for thing in (tag, segment, contact, kpi):
        thing.add_argument("--date", type=a_date, metavar="D", help="a published run date (default: the current one)")
    for thing in (identity, customer, tag, segment, contact, kpi):
        thing.add_argument("--lake", required=True, metavar="URI")
        add_settings_arguments(thing)


def run_explain(arguments: argparse.Namespace) -> int:
    """Print the explanation, from the published tables; 1 where what is asked for is not known."""
    settings = load_settings(arguments.settings, arguments.env)
    nodes = [_node(text, settings, arguments.env) for text in getattr(arguments, "identifiers", ())]
    tables = Tables(build_session(settings), arguments.lake, "explain", None)
    published = PublishedTables(tables, getattr(arguments, "date", None))
    console = Console(highlight=False, markup=False, soft_wrap=True)  # lists in values look like markup
    if arguments.what == "tag":
        return explain_tag(published, console, settings, arguments.customer_id, arguments.tag)
    if arguments.what == "segment":
        return explain_segment(published, console, settings, arguments.customer_id)
    if arguments.what == "contact":
        return explain_contact(published, console, settings, arguments.customer_id)
    if arguments.what == "kpi":
        return explain_kpi(published, console, settings, arguments.kpi, arguments.period, places_in(arguments))
    if arguments.what == "identity":
        return explain_identity(IdentityView(published), console, *nodes)
    return explain_customer(IdentityView(published), console, arguments.customer_id)


def _node(text: str, settings: Settings, env: str) -> Node:
    """An identifier as it is stored: a raw value is normalised and tokenised, a stored one is taken as it is."""
    kind, colon, raw = text.partition(":")
    rules = settings.identity
    if not colon or kind not in rules.tier:
        raise SettingsError(f"{text}: write TYPE:VALUE with one of the types {', '.join(rules.tier)}")
    if rules.named(kind).personal and len(raw) == 64 and set(raw) <= set("0123456789abcdef"):
        return kind, raw
    return kind, stored_identifier(kind, raw, settings, env)
