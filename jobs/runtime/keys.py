"""The keys: one for identifier tokens, one for rejected text and the vault. Never in settings, logs or plans."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql.functions import arrow_udf

from jobs.runtime.cipher import decrypted, encrypted
from jobs.runtime.settings import Settings, SettingsError
from transforms.identity.identifiers import converter

# Stated in the README: anybody can compute these tokens, so they protect nothing outside development.
DEVELOPMENT_KEY = b"retail-portraits development key"


def token_key(env: str) -> bytes:
    """The key of identifier tokens, from PORTRAITS_TOKEN_KEY or the file PORTRAITS_TOKEN_KEY_FILE."""
    return _key("PORTRAITS_TOKEN_KEY", env)


def vault_key(env: str) -> bytes:
    """The key of rejected text and the vault, from PORTRAITS_VAULT_KEY or the file PORTRAITS_VAULT_KEY_FILE."""
    return _key("PORTRAITS_VAULT_KEY", env)


def stored_identifier(kind: str, raw: str, settings: Settings, env: str) -> str:
    """A raw identifier as tables hold it: in its normal form, a personal one as its token."""
    rules = settings.identity
    convert = converter(rules.named(kind), rules.default_region, token_key(env), settings.common_hash(kind))
    return convert(raw)[0] or raw


def sealed(text: Column, env: str) -> Column:
    """The text as it may be stored: plain in `--env local`, else AES-SIV under the vault key, base64."""
    return text if env == "local" else _sealer(vault_key(env))(text)


def unseal(stored: str, env: str) -> str:
    """The plain text of a stored record."""
    if env == "local":
        return stored
    return decrypted(vault_key(env), stored)


def opened_text(stored: Column, env: str) -> Column:
    """The plain text of stored records, as `unseal` gives it."""
    if env == "local":
        return stored
    key = vault_key(env)

    @arrow_udf("string")
    def open_all(texts: pa.Array) -> pa.Array:
        return pa.array([None if text is None else decrypted(key, text) for text in texts.to_pylist()], pa.string())

    return open_all(stored)


def vault_seal(env: str) -> Callable[[str, str], str]:
    """Seals a plain value for its token, as the vault keeps it: AES-SIV under the vault key, base64, in `local` too.

    The token is authenticated with the value: a sealed value that is moved to another token cannot be opened there.
    """
    return partial(encrypted, vault_key(env))


def opened(value: str, identifier: str, env: str) -> str:
    """The plain value that `vault_seal` sealed for a token.

    Raises:
        InvalidTag: it was sealed under another key, or for another token.
    """
    return decrypted(vault_key(env), value, identifier)


def opened_column(value: Column, identifier: Column, env: str) -> Column:
    """The same over columns; null where the value is."""
    key = vault_key(env)

    @arrow_udf("string")
    def open_all(values: pa.Array, identifiers: pa.Array) -> pa.Array:
        pairs = zip(values.to_pylist(), identifiers.to_pylist(), strict=True)
        return pa.array([None if v is None else decrypted(key, v, i) for v, i in pairs], pa.string())

    return open_all(value, identifier)


def _key(name: str, env: str) -> bytes:
    value = os.environ.get(name)
    path = os.environ.get(f"{name}_FILE")
    if value:
        return value.encode()
    if path:
        return Path(path).read_bytes().strip()
    if env == "local":
        return DEVELOPMENT_KEY
    raise SettingsError(
        f"{name} is not set: outside --env local give the key in {name} or a secret file in {name}_FILE"
    )


def _sealer(key: bytes) -> Callable[[Column], Column]:
    @arrow_udf("string")
    def seal(texts: pa.Array) -> pa.Array:
        return pa.array([None if t is None else encrypted(key, t) for t in texts.to_pylist()], pa.string())

    return seal
