"""Stores as people list them: what each is called, of which type it is and in which region it lies."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict
from pyspark.sql import Column
from pyspark.sql import functions as F

from transforms.expressions import nearest


class Store(BaseModel):
    """One store of the section `stores`, by its store_id; a store may be left out, and then has no type or region."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    label: str = ""
    type: str | None = None
    region: str | None = None


Stores = Mapping[str, Store]


def region_of(store_id: Column, stores: Stores) -> Column:
    """The region of a row's store; null where nobody says it."""
    pairs = [F.lit(text) for code, store in stores.items() if store.region for text in (code, store.region)]
    return F.create_map(*pairs)[store_id] if pairs else F.lit(None).cast("string")


def is_of_type(store_id: Column, kind: str, stores: Stores) -> Column:
    """Whether a row's store is of a type; false without a store."""
    return F.coalesce(store_id.isin(*[code for code, store in stores.items() if store.type == kind]), F.lit(False))


def unknown_types(named: set[str], stores: Stores) -> list[str]:
    """A sentence for each type that is named and that no store is of; none while no stores are listed."""
    known = {store.type for store in stores.values() if store.type}
    return [f"{kind!r} is the type of no store{nearest(kind, known)}" for kind in sorted(named - known) if stores]
