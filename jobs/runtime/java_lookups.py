"""Java's names, which the driver's Python looks up once instead of at each use.

For `F.col("x")` PySpark asks Java what `org.apache.spark.sql.functions` is, then whether it has a `col`, and only then
calls it. Of the 161,000 calls of a night over README's data set 53,000 were such questions, 24 of its 120 s (2 cores).
"""

from __future__ import annotations

from typing import Any

from py4j.java_gateway import JavaClass, JavaMember, JVMView
from pyspark import SparkContext


def remember_lookups(context: SparkContext) -> None:
    """From now on a class, or a method of one, is looked up once in this process."""
    view = context._jvm
    assert view is not None
    # In place: the gateway and every session hold this very view.
    view.__class__ = _RememberingView


class _RememberingView(JVMView):  # type: ignore[misc]  # py4j has no types
    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if isinstance(found, JavaClass):  # a package might be a class once another jar has come
            found.__class__ = _RememberingClass
            self.__dict__[name] = found
        return found


class _RememberingClass(JavaClass):  # type: ignore[misc]
    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if isinstance(found, JavaMember):  # what a field holds may change
            self.__dict__[name] = found
        return found
