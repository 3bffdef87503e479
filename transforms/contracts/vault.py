"""The vault: the only tables that hold plain personal values, sealed; empty unless `vault.enabled`.

No step of a night reads them and no publication names them. An erasure removes a person's rows by the table's key,
and the versions that held them by VACUUM.
"""

from __future__ import annotations

from transforms.contracts import Column, Table

IDENTIFIERS = Table(
    layer="vault",
    name="identifiers",
    label="标识保险库",
    grain="one personal identifier that arrived in plain text",
    key=("identifier_type", "identifier"),
    columns=(
        Column("identifier_type", "string", "标识类型", "Type, as conf/identity.yaml names it; personal types only"),
        Column("identifier", "string", "标识", "Token, as all other tables hold it", "token"),
        Column("value", "string", "密文", "The normal form behind the token, AES-SIV under the vault key", "sealed"),
        Column("first_arrival_date", "date", "首次到达", "First arrival date in plain text"),
    ),
)

TABLES = (IDENTIFIERS,)
