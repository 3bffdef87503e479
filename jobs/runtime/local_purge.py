"""Files of a table on this machine's disk that its newest version does not name, removed without Delta.

Delta's VACUUM asks Spark for the table's state and lists its folders by tasks: of the 50 s that the certificate of an
erasure took over a lake of three people (2 cores), 40 s.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from jobs.runtime.data_files import data_file, is_of_first_protocol
from jobs.runtime.files import is_hidden


def purge_on_disk(folder: str) -> int | None:
    """Remove what VACUUM without retention removes, and leave the log as it is.

    Returns:
        How many Parquet files went. None, and nothing is removed, where files are in use that the log's list of data
        files does not name, or not below the folder: that of a newer protocol, or of a copy.
    """
    try:
        table = DeltaTable(folder)
        named = {data_file(folder, path) for path in table.get_add_actions()["path"].to_pylist()}
    except DeltaError:
        return None
    if not is_of_first_protocol(table) or not all(map(os.path.isfile, named)):
        return None
    gone = [file for file in _files(folder) if str(file) not in named]
    for file in gone:
        file.unlink()
        file.with_name(f".{file.name}.crc").unlink(missing_ok=True)  # Hadoop's checksum
    return sum(file.suffix == ".parquet" for file in gone)


def _files(folder: str) -> Iterator[Path]:
    """Every file below it, what is hidden left out: the log above all."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        yield from (Path(place, name) for name in names if not is_hidden(name))
