"""The house rules, read from the source text: who may import whom, and what pure means.

contracts <- expressions <- other transforms <- jobs/runtime <- jobs/*.py <- nightly, cli
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
RANKS = {"contracts": 0, "expressions": 1, "transforms": 2, "runtime": 3, "job": 4, "caller": 5}
CALLERS = ("jobs/nightly.py", "jobs/cli.py", "jobs/explain.py", "jobs/erase.py")  # those that call jobs

ACTIONS = {"collect", "toPandas", "toArrow", "toLocalIterator", "foreach", "foreachPartition", "show"}
KEEPING = {
    "cache",
    "persist",
    "unpersist",
    "checkpoint",
    "localCheckpoint",
    "createTempView",
    "createOrReplaceTempView",
}
IMPURE_ATTRIBUTES = {"read", "readStream", "write", "writeTo", "writeStream", "sparkSession"}
CLOCK = {"now", "today", "utcnow", "current_date", "curdate", "current_timestamp", "localtimestamp", "current_timezone"}
CHANCE = {"rand", "randn", "uuid", "uuid4", "uuid1", "shuffle", "randstr", "uniform", "monotonically_increasing_id"}
IMPURE_MODULES = {"random", "uuid", "secrets", "time", "os", "socket", "subprocess"}
GROUPING = {"groupBy", "groupby", "rollup", "cube", "groupingSets", "pivot"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def rank(file: str) -> str:
    """The storey of the house in which a file (or an imported module, as a path) is."""
    if file.startswith("transforms/contracts"):
        return "contracts"
    if file == "transforms/expressions.py":
        return "expressions"
    if file.startswith("transforms"):
        return "transforms"
    if file.startswith("jobs/runtime"):
        return "runtime"
    return "caller" if file in CALLERS else "job"


def modules_imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module as a path) of each import; of `from jobs import audit` the module `jobs/audit.py`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.replace(".", "/") + ".py") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield node.lineno, module.replace(".", "/") + ".py"
            if module == "jobs":
                yield from ((node.lineno, f"jobs/{alias.name}.py") for alias in node.names)


def wrong_imports(tree: ast.AST, file: str) -> list[str]:
    """Imports that go up the house, from one job to another, or by a relative name."""
    own, faults = rank(file), []
    for line, module in modules_imported(tree):
        if module.startswith("/"):
            faults.append(f"{file}:{line}: relative import; the folder is the name")
        top = module.split("/")[0].removesuffix(".py")
        if top == "conf" or top == "tests" or (top == "jobs" and file.startswith("transforms")):
            faults.append(f"{file}:{line}: {file.split('/')[0]} imports {top}")
        elif top in ("jobs", "transforms") and module != "jobs.py":
            other = rank(module.replace("runtime.py", "runtime/"))
            is_peer_job = own == other == "job" and module != file
            if RANKS[other] > RANKS[own] or is_peer_job:
                faults.append(f"{file}:{line}: a {own} file imports {module}, a {other} file")
    return faults


def impurities(tree: ast.AST, file: str) -> list[str]:
    """Sessions, input and output, actions, kept frames, clocks and chance."""
    faults = []
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings say what they like
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Name) and node.id in {"SparkSession", "SparkContext", "open", "print", "input"}:
            faults.append(f"{file}:{line}: {node.id}")
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            names = [alias.name for alias in node.names]
            impure = {"SparkSession", "SparkContext", *CLOCK, *CHANCE} & set(names)
            impure |= {name.split(".")[0] for name in [module, *names]} & IMPURE_MODULES
            faults += [f"{file}:{line}: imports {name}" for name in sorted(impure)]
        if isinstance(node, ast.Attribute) and node.attr in IMPURE_ATTRIBUTES:
            faults.append(f"{file}:{line}: .{node.attr}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_impure_call(node, node.func):
            faults.append(f"{file}:{line}: .{node.func.attr}()")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            called = re.findall(r"\b([a-z_0-9]+)\s*\(", node.value.lower())
            faults += [f"{file}:{line}: {name}() in SQL" for name in called if name in CLOCK | CHANCE]
    return faults


def _is_impure_call(call: ast.Call, function: ast.Attribute) -> bool:
    """Actions end a plan; `count()` of groups, `F.count(column)`, `F.first(column)` and Arrow's `take` do not."""
    if function.attr in ACTIONS | KEEPING | CLOCK | CHANCE:
        return True
    if function.attr == "unix_timestamp" and not call.args:
        return True
    if function.attr in {"first", "head", "take", "tail"}:
        return all(isinstance(arg, ast.Constant) and isinstance(arg.value, int) for arg in call.args)
    receiver = function.value
    of_groups = (
        isinstance(receiver, ast.Call) and isinstance(receiver.func, ast.Attribute) and receiver.func.attr in GROUPING
    )
    return function.attr == "count" and not call.args and not of_groups


def delta_formats(tree: ast.AST, file: str) -> list[str]:
    """Calls of `.format("delta")`, which only jobs/runtime/tables.py may make."""
    if file == "jobs/runtime/tables.py":
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return [
        f"{file}:{call.lineno}: format('delta')"
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "format"
        if any(isinstance(arg, ast.Constant) and str(arg.value).lower() == "delta" for arg in call.args)
    ]


def undocumented(tree: ast.Module, file: str) -> list[str]:
    """The module, public functions, public classes and their public methods without a docstring."""
    faults = [] if ast.get_docstring(tree) else [f"{file}:1: module"]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    methods = [
        node
        for owner in public
        if isinstance(owner, ast.ClassDef)
        for node in owner.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_")
    ]
    return faults + [
        f"{file}:{node.lineno}: {node.name}" for node in [*public, *methods] if not ast.get_docstring(node)
    ]


def stdlib_names(files: list[str]) -> list[str]:
    """spark-submit puts jobs/ first on the path: a job named like a stdlib module breaks pyspark itself."""
    names = [re.sub(r"/__init__\.py$|\.py$", "", file).split("/")[-1] for file in files]
    return sorted(name for name in names if name in sys.stdlib_module_names)


def faults_in(check: Callable[[ast.Module, str], list[str]], *folders: str) -> list[str]:
    return [fault for path in sources(*folders) for fault in check(ast.parse(path.read_text("utf-8")), name_of(path))]


def test_imports_go_one_way() -> None:
    assert len(sources("transforms", "jobs")) > 30  # the check looks at something
    assert faults_in(wrong_imports, "transforms", "jobs") == []


def test_transforms_are_pure() -> None:
    assert faults_in(impurities, "transforms") == []


def test_only_tables_names_the_delta_format() -> None:
    assert faults_in(delta_formats, "transforms", "jobs") == []
    tables = ast.parse((REPOSITORY / "jobs/runtime/tables.py").read_text("utf-8"))
    assert delta_formats(tables, "elsewhere.py") != []  # it does: the rule is about something


def test_everything_public_is_documented() -> None:
    assert faults_in(undocumented, "transforms", "jobs") == []


def test_no_job_is_named_like_a_stdlib_module() -> None:
    assert stdlib_names([path.relative_to(REPOSITORY / "jobs").as_posix() for path in sources("jobs")]) == []


def test_conf_holds_no_code() -> None:
    for path in sources("conf"):
        statements = ast.parse(path.read_text("utf-8")).body
        assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in statements), path


# -- each check can fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("transforms/orders.py", "from jobs.runtime.job import JobContext"),  # a transform reaches for a job
        ("transforms/orders.py", "import conf"),  # … and for configuration
        ("transforms/contracts/silver.py", "from transforms.orders import build_orders"),  # a contract for its maker
        ("transforms/contracts/silver.py", "from transforms import expressions, orders\nimport transforms.expressions"),
        ("transforms/expressions.py", "from transforms.sources import Source"),  # the helper for its user
        ("transforms/orders.py", "from . import events"),  # a relative name
        ("jobs/runtime/job.py", "from jobs.audit import run"),  # the runtime for a job
        ("jobs/runtime/job.py", "from jobs import nightly"),
        ("jobs/audit.py", "from jobs import publish"),  # a job for its peer, both ways to write it
        ("jobs/audit.py", "def run():\n    from jobs.publish import run"),
        ("jobs/audit.py", "from jobs.nightly import STEPS"),  # a job for its caller
    ],
)
def test_import_check_finds(file: str, line: str) -> None:
    assert wrong_imports(ast.parse(line), file)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("transforms/orders.py", "from transforms.contracts import silver"),
        ("transforms/activity.py", "from transforms.orders import match_returns"),
        ("jobs/audit.py", "from jobs.runtime.job import main\nfrom jobs.runtime import files"),
        ("jobs/nightly.py", "from jobs import audit"),
        ("jobs/cli.py", "from jobs import nightly"),
    ],
)
def test_import_check_allows(file: str, line: str) -> None:
    assert wrong_imports(ast.parse(line), file) == []


@pytest.mark.parametrize(
    "line",
    [
        "from pyspark.sql import SparkSession",
        "spark = SparkSession.builder.getOrCreate()",
        "frame.sparkSession.createDataFrame([])",
        "spark.read.parquet(path)",
        "frame.write.save(path)",
        "frame.collect()",
        "frame.where('a').count()",
        "frame.head()",
        "frame.take(3)",
        "frame.toPandas()",
        "frame.cache()",
        "frame.persist()",
        "frame.localCheckpoint()",
        "date.today()",
        "datetime.now()",
        "F.current_date()",
        "F.unix_timestamp()",
        "F.expr('date_sub(current_date(), 7)')",
        "F.rand(42)",
        "F.expr('UUID()')",
        "import random",
        "from uuid import uuid4",
        "print(frame)",
    ],
)
def test_purity_check_finds(line: str) -> None:
    assert impurities(ast.parse(line), "bad.py")


@pytest.mark.parametrize(
    "line",
    [
        "frame.groupBy('a').count()",  # a transformation
        "F.count('*')",
        "names.count(name)",
        "F.collect_set('source')",
        "F.first('city')",
        "arrow_array.take(indices)",
        '"""Never reads the clock, now() or today()."""',
        "F.unix_timestamp('event_at')",
        "F.last('known_at').alias('now')",
    ],
)
def test_purity_check_allows(line: str) -> None:
    assert impurities(ast.parse(line), "good.py") == []


def test_documentation_check_finds_what_is_public() -> None:
    text = "class A:\n  def b(self): ...\n  def _c(self): ...\ndef d(): ...\ndef _e(): ..."
    assert undocumented(ast.parse(text), "f.py") == ["f.py:1: module", "f.py:1: A", "f.py:4: d", "f.py:2: b"]


def test_name_check_finds_stdlib_names() -> None:
    assert stdlib_names(["profile.py", "audit.py", "runtime/calendar.py", "io/__init__.py"]) == [
        "calendar",
        "io",
        "profile",
    ]
