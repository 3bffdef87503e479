"""YAML in, validated frozen models out; every fault names its file, its key and what is allowed. No Spark here."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from transforms.break_points.rules import BreakPointRules
from transforms.campaigns.rules import CampaignRules
from transforms.campaigns.rules import check_columns as check_review_columns
from transforms.cohorts import CohortRules
from transforms.contacts.plan import PLANNED_BY
from transforms.contacts.rules import ContactRules, Strategy, check_reach, check_strategies
from transforms.contracts import gold, silver
from transforms.customers import CustomerRules
from transforms.experiments.designs import planned_experiments
from transforms.experiments.rules import ExperimentRules, check_experiments
from transforms.expressions import nearest
from transforms.feedback.rules import FeedbackRules
from transforms.funnels import Funnel
from transforms.funnels import check_columns as check_funnel_columns
from transforms.identity.identifiers import IdentityRules
from transforms.kpis import KpiRules, RestateRules, check_bands
from transforms.kpis import check_columns as check_kpi_columns
from transforms.loans.rules import LoanRules, check_reviews
from transforms.prices import PriceRules
from transforms.prices import check_segments as check_price_segments
from transforms.recommendations.rules import RecommendationRules, check_recommendations
from transforms.regions import RegionRules
from transforms.rfm import RfmRules
from transforms.segments import FACTS, ActivityTiers, NewProductRules, SegmentRules
from transforms.segments import check_columns as check_segment_columns
from transforms.sources import CHANNELS, EVENT_TYPES, Source
from transforms.stages import StageRules
from transforms.stages import check_columns as check_stage_columns
from transforms.stock import TurnoverRules
from transforms.stores import Store
from transforms.tags import HealthRules, TagRules, tag_columns
from transforms.values.churn import missing_tags
from transforms.values.features import check_features
from transforms.values.potential import check_potential
from transforms.values.rules import ValueRules
from transforms.visits import VisitRules
from transforms.visits import check_columns as check_visit_columns

SECTION_FILES = (
    "base",
    "identity",
    "tags",
    "rfm",
    "value",
    "segments",
    "recommendations",
    "strategies",
    "experiments",
    "kpis",
    "campaigns",
    "funnels",
    "stages",
    "feedback",
    "trade",
    "loans",
    "break_points",
)
ENVIRONMENTS = ("local", "cluster")
_NOT_UTF8 = "not UTF-8, as settings must be: save it again with that encoding"


class _EachKeyOnce(yaml.CSafeLoader):
    """YAML in which no mapping names a key twice; without this the last one silently wins.

    Read by libyaml: in Python, half of the 0.9 s that settings took went into it.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        twice = [key for key, _ in node.value if names.count(key.value) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[-1].value!r} is given twice", twice[-1].start_mark
            )
        return super().construct_mapping(node, deep)


class SettingsError(ValueError):
    """Settings that must not run; the message lists every fault."""


class AuditRules(BaseModel):
    """Bounds that a run must keep to be published, against the last passed run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    least_row_share: float = Field(gt=0, le=1)
    most_row_share: float = Field(ge=1)
    most_rejected_share: float = Field(ge=0, le=1)
    least_segment_share: float = Field(gt=0, le=1)
    most_segment_share: float = Field(ge=1)
    least_segment_customers: int = Field(ge=1)


class PurchaseRules(BaseModel):
    """What is no purchase, and whose purchases say nothing about customers.

    Attributes:
        exclude_gifts: what was given away counts neither in orders nor in tags, RFM and values.
        exclude_staff: purchases of staff count neither in RFM and values nor in the summary of segments.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    exclude_gifts: bool
    exclude_staff: bool


class TimelineRules(BaseModel):
    """Up to how many events a night makes all timelines anew, because finding the touched ones costs more."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    whole_up_to: int = Field(ge=0)


class NightRules(BaseModel):
    """How many steps of a night that need nothing of each other run at the same time.

    Attributes:
        steps_at_once: so many at most: planning takes one core, whatever the rows.
        one_by_one_above: with more events than these one step runs after the other, as each fills cores and memory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps_at_once: int = Field(ge=1)
    one_by_one_above: int = Field(ge=0)


class VaultRules(BaseModel):
    """Whether personal identifiers that arrive in plain text are kept, sealed, so that contacts can be exported."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    enabled: bool


class Settings(BaseModel):
    """All settings of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timezone: str
    sources: dict[str, Source] = Field(min_length=1)
    truth: str | None = None
    channels: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    customers: CustomerRules
    purchases: PurchaseRules
    audit: AuditRules
    timelines: TimelineRules
    nightly: NightRules
    vault: VaultRules
    identity: IdentityRules
    tags: TagRules
    tag_health: HealthRules
    rfm: RfmRules
    value: ValueRules
    segments: SegmentRules
    new_products: NewProductRules
    activity_tiers: ActivityTiers
    contacts: ContactRules
    strategies: dict[str, Strategy]
    recommendations: RecommendationRules
    experiments: ExperimentRules
    kpis: KpiRules
    restate_kpis: RestateRules
    stores: dict[str, Store] = {}
    campaigns: CampaignRules
    funnels: dict[str, Funnel] = Field(min_length=1)
    visits: VisitRules
    stages: StageRules
    feedback: FeedbackRules
    cohorts: CohortRules
    regions: RegionRules
    turnover: TurnoverRules
    prices: PriceRules
    loans: LoanRules
    break_points: BreakPointRules
    spark: dict[str, str] = {}

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{value!r} is not a timezone; use a name like Asia/Shanghai") from None
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> Settings:
        problems = [*_source_problems(self), *_column_problems(self)]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def common_hash(self, identifier_type: str) -> str | None:
        """The hash that any source delivers this type in; plain values of it take the same hash first."""
        delivered = _delivered_hashes(self.sources.values()).get(identifier_type, set())
        return next(iter(delivered), None)


@dataclass
class _Tree:
    """Merged YAML, and for each key path the file that said it last."""

    values: dict[str, Any] = field(default_factory=dict)
    origin: dict[tuple[str, ...], str] = field(default_factory=dict)


def load_settings(overrides: typing.Sequence[str] = (), env: str = "local") -> Settings:
    """The packaged `conf/`, overridden key by key by the given files in their order.

    Raises:
        SettingsError: with every fault found, each naming file and key.
    """
    tree = _Tree()
    conf = resources.files("conf")
    for name in (*SECTION_FILES, env):
        _merge(tree, _read_yaml(conf / f"{name}.yaml"), f"conf/{name}.yaml")
    folder: Traversable = conf / str(tree.values["sources"])
    for override in overrides:
        path = Path(override)
        if not path.is_file():
            raise SettingsError(f"{override}: no such settings file")
        values = _read_yaml(path)
        if values.get("sources"):
            folder = path.parent / str(values["sources"])
        if values.get("truth") and "://" not in values["truth"]:
            values["truth"] = str((path.parent / values["truth"]).resolve())
        for section, key in (("identity", "decisions"), ("contacts", "suppressed"), ("loans", "reviews")):
            if isinstance(values.get(section), dict) and values[section].get(key):
                values[section][key] = _read_list(path.parent / str(values[section][key]), f"{section}.{key}")
        _merge(tree, values, override)
    tree.values["sources"] = _read_sources(folder, tree)
    settings = _validated(tree)
    _check_reach(settings, tree)
    if settings.identity.match and importlib.util.find_spec("splink") is None:
        raise SettingsError(
            f"{tree.origin['identity', 'match']}: identity.match: needs Splink, which is not installed; "
            "run: pip install 'retail-portraits[match]'"
        )
    return settings


def _check_reach(settings: Settings, tree: _Tree) -> None:
    """Channels that somebody's own file says must reach people by types that are declared.

    Shipped channels whose types somebody's identity.yaml does not know reach nobody.
    """
    own = [
        name for name in settings.contacts.channels if _is_own(tree.origin["contacts", "channels", name, "reached_by"])
    ]
    problems = check_reach(settings.contacts, settings.identity.tier, own)
    if problems:
        raise SettingsError("\n".join(f"{tree.origin['contacts', 'channels']}: {problem}" for problem in problems))


def _is_own(origin: str) -> bool:
    return origin not in {f"conf/{name}.yaml" for name in (*SECTION_FILES, *ENVIRONMENTS)}


def digest(settings: Settings) -> str:
    """SHA-256 of all settings but those that change no row, so that a publication says by which rules it was made."""
    content = settings.model_dump(mode="json", exclude={"spark", "nightly"})
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _read_yaml(path: Traversable) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_EachKeyOnce)
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: {_NOT_UTF8}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


def _read_list(path: Path, key: str) -> list[dict[str, str]]:
    """What people listed for a key: CSV with a header, one entry a line."""
    if not path.is_file():
        raise SettingsError(f"{path}: no such file ({key})")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return [dict(row) for row in csv.DictReader(lines)]
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: {_NOT_UTF8}") from None


def _read_sources(folder: Traversable, tree: _Tree) -> dict[str, Any]:
    if not folder.is_dir():
        raise SettingsError(f"{tree.origin[('sources',)]}: sources: {folder} is not a folder of source files")
    sources: dict[str, Any] = {}
    for path in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if path.name.endswith((".yaml", ".yml")):
            stem = path.name.rsplit(".", 1)[0]
            sources[stem] = _read_yaml(path)
            tree.origin[("sources", stem)] = str(path)
            if sources[stem].get("name") != stem:
                raise SettingsError(f"{path}: name: must be {stem!r}, as the file is called")
    return sources


def _merge(tree: _Tree, values: Mapping[str, Any], origin: str) -> None:
    """Put `values` over the tree: mappings key by key, everything else as a whole; null takes a key out."""

    def put(target: dict[str, Any], additions: Mapping[str, Any], at: tuple[str, ...]) -> None:
        for key, value in additions.items():
            here = (*at, str(key))
            tree.origin[here] = origin
            if value is None and at:
                target.pop(key, None)
            elif isinstance(value, Mapping) and isinstance(target.get(key), dict):
                put(target[key], value, here)
            else:
                target[key] = dict(value) if isinstance(value, Mapping) else value
                for inner in _paths(value, here):
                    tree.origin[inner] = origin

    put(tree.values, values, ())


def _paths(value: Any, at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield (*at, str(key))
            yield from _paths(inner, (*at, str(key)))


def _validated(tree: _Tree) -> Settings:
    try:
        return Settings.model_validate(tree.values)
    except ValidationError as error:
        faults = [_told(fault, tree) for fault in error.errors()]
        raise SettingsError("\n".join(faults)) from None


def _told(fault: Any, tree: _Tree) -> str:
    """One fault as `file: key.path: what is wrong; what is allowed`."""
    location = tuple(str(part) for part in fault["loc"])
    if location[1:] and location[0] == location[1]:  # a section that is a mapping by itself, such as kpis
        location = location[1:]
    key = ".".join(location) or "settings"
    origin = next((tree.origin[location[:n]] for n in range(len(location), 0, -1) if location[:n] in tree.origin), "")
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        model = _model_at(fault["loc"][:-1])
        allowed = list(model.model_fields) if model else []
        message = f"unknown key{nearest(location[-1], allowed)}"
    elif fault["type"] == "missing":
        message = "missing key"
    elif fault["type"] == "string_type" and isinstance(fault["input"], bool):
        message = f"found {fault['input']!r}: YAML reads a bare yes, no, on or off as true or false; quote it"
    elif not isinstance(fault["input"], (dict, list, BaseModel)):
        message = f"{message}; found {fault['input']!r}"
    return f"{origin or 'settings'}: {key}: {message}" if location else f"settings: {message}"


def _model_at(location: typing.Sequence[str | int]) -> type[BaseModel] | None:
    """The model that stands at a key path, found through the annotations."""
    model: type[BaseModel] | None = Settings
    for part in location:
        if model is not None and part in model.model_fields:
            model = _model_in(model.model_fields[str(part)].annotation)
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(inner) for inner in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)


def _delivered_hashes(sources: typing.Iterable[Source]) -> dict[str, set[str]]:
    hashes: dict[str, set[str]] = {}
    for source in sources:
        for identifier_type, spec in source.identifier_columns().values():
            if spec.hashed:
                hashes.setdefault(identifier_type, set()).add(spec.hashed)
    return hashes


def _source_problems(settings: Settings) -> list[str]:
    """What a source file may say only where the other settings know it."""
    types = settings.identity.tier
    channels = {*CHANNELS, *settings.channels}
    event_types = {*EVENT_TYPES, *settings.event_types}
    problems = []
    for name, source in settings.sources.items():
        where = f"sources/{name}.yaml"
        for record in source.records:
            at = f"{where}: records.{record.name}"
            for channel in {source.channel, record.channel or source.channel} - channels:
                problems.append(f"{at}: channel {channel!r} is not known{nearest(channel, channels)}")
            if record.event_type not in event_types:
                known = nearest(record.event_type, event_types)
                problems.append(f"{at}: event_type {record.event_type!r} is not known{known}")
            for kind in sorted(set(record.identifiers) - set(types)):
                problems.append(f"{at}: identifier {kind!r} is not in identity.yaml{nearest(kind, types)}")
    for kind, hashes in _delivered_hashes(settings.sources.values()).items():
        if len(hashes) > 1:
            problems.append(
                f"identity.yaml: {kind} is delivered as {' and '.join(sorted(hashes))}, which cannot be compared; "
                f"give one of them a type of its own"
            )
    return problems


def _column_problems(settings: Settings) -> list[str]:
    """Names in rules that no table has."""
    portrait = portrait_columns(settings)
    known = [*portrait, *FACTS]
    tags = settings.tags
    features = check_features(list(settings.value.clusters.features), tags)
    recommended = check_recommendations(settings.recommendations, portrait, tag_columns(tags))
    segments = [segment.code for segment in settings.segments.all]
    primary = [segment.code for segment in settings.segments.primary]
    tiers = [tier.name for tier in settings.value.finance.score_card.tiers]
    strategies = check_strategies(
        settings.strategies, settings.contacts, segments, portrait, list(settings.identity.tier)
    )
    planned = planned_experiments(settings.strategies, settings.contacts.holdout)
    unplannable = [name for name in PLANNED_BY if name not in portrait]
    return [
        *[f"segments.yaml: {problem}" for problem in check_segment_columns(settings.segments, known)],
        *[f"recommendations.yaml: {problem}" for problem in recommended],
        *[f"strategies.yaml: {problem}" for problem in strategies],
        *[f"strategies.yaml: planning reads the tag {name!r}, which is not declared" for name in unplannable],
        *[f"experiments.yaml: {problem}" for problem in check_experiments(settings.experiments, planned)],
        *[f"kpis.yaml: {problem}" for problem in check_kpi_columns(settings.kpis, portrait)],
        *[f"kpis.yaml: {problem}" for problem in check_bands(settings.kpis, settings.stores)],
        *[f"campaigns.yaml: {problem}" for problem in check_review_columns(settings.campaigns)],
        *[f"funnels.yaml: {problem}" for problem in check_funnel_columns(settings.funnels)],
        *[f"funnels.yaml: {problem}" for problem in check_visit_columns(settings.visits)],
        *[f"stages.yaml: {problem}" for problem in check_stage_columns(settings.stages)],
        *[f"trade.yaml: {problem}" for problem in check_price_segments(settings.prices, primary)],
        *[f"loans.yaml: {problem}" for problem in check_reviews(settings.loans, settings.identity.tier, tiers)],
        *[f"value.yaml: churn reads the tag {name!r}, which is not declared" for name in missing_tags(tags)],
        *[f"value.yaml: potential.{problem}" for problem in check_potential(settings.value.potential, tags)],
        *[f"value.yaml: clusters.features: {problem}" for problem in features],
    ]


def portrait_columns(settings: Settings) -> list[str]:
    """Columns that segment rules may read: tags, chain-wide RFM, values and the golden record."""
    placing = ("run_date", "scope", "scope_value", "customer_id")
    judged = [name for table in (gold.RFM_SCORES, gold.CUSTOMER_VALUES) for name in table.column_names]
    scores = [name for name in judged if name not in placing]
    return list(dict.fromkeys([*tag_columns(settings.tags), *scores, *silver.CUSTOMERS.column_names, "as_of"]))
