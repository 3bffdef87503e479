"""The keys: one for identifier tokens, one for the text of rejected records. Never in settings, logs or plans."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from pyspark.sql import Column
from pyspark.sql.functions import arrow_udf

from jobs.runtime.settings import Settings, SettingsError
from transforms.identity.identifiers import converter

# Stated in the README: anybody can compute these tokens, so they protect nothing outside development.
DEVELOPMENT_KEY = b"retail-portraits development key"


def token_key(env: str) -> bytes:
    """The key of identifier tokens, from PORTRAITS_TOKEN_KEY or the file PORTRAITS_TOKEN_KEY_FILE."""
    return _key("PORTRAITS_TOKEN_KEY", env)


def vault_key(env: str) -> bytes:
    """The key that encrypts rejected text, from PORTRAITS_VAULT_KEY or the file PORTRAITS_VAULT_KEY_FILE."""
    return _key("PORTRAITS_VAULT_KEY", env)


def stored_identifier(kind: str, raw: str, settings: Settings, env: str) -> str:
    """A raw identifier as tables hold it: in its normal form, a personal one as its token."""
    rules = settings.identity
    convert = converter(rules.named(kind), rules.default_region, token_key(env), settings.common_hash(kind))
    return convert(raw)[0] or raw


def sealed(text: Column, env: str) -> Column:
    """The text as it may be stored: plain in `--env local`, else AES-SIV under the vault key, base64.

    AES-SIV (RFC 5297) is deterministic, so that equal records stay equal bytes (law 3).
    """
    return text if env == "local" else _sealer(vault_key(env))(text)


def unseal(stored: str, env: str) -> str:
    """The plain text of a stored record."""
    if env == "local":
        return stored
    return AESSIV(_cipher_key(vault_key(env))).decrypt(base64.b64decode(stored), None).decode()


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


def _cipher_key(key: bytes) -> bytes:
    return hashlib.sha512(key).digest()


def _sealer(key: bytes) -> Callable[[Column], Column]:
    cipher_key = _cipher_key(key)

    @arrow_udf("string")
    def seal(texts: pa.Array) -> pa.Array:
        cipher = AESSIV(cipher_key)
        stored = [
            None if text is None else base64.b64encode(cipher.encrypt(text.encode(), None)).decode()
            for text in texts.to_pylist()
        ]
        return pa.array(stored, pa.string())

    return seal
