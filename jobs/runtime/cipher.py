"""AES-SIV as tables hold it, base64. A file of its own: Spark's workers import it, and nothing else comes with it.

AES-SIV (RFC 5297) is deterministic, so that equal records stay equal bytes (law 3).
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.ciphers.aead import AESSIV


def encrypted(key: bytes, text: str, beside: str | None = None) -> str:
    """The text, encrypted; `beside` is authenticated with it, and needed again to read it."""
    return base64.b64encode(AESSIV(_cipher_key(key)).encrypt(text.encode(), _associated(beside))).decode()


def decrypted(key: bytes, stored: str, beside: str | None = None) -> str:
    """The plain text.

    Raises:
        InvalidTag: it was encrypted under another key, or beside something else.
    """
    return AESSIV(_cipher_key(key)).decrypt(base64.b64decode(stored), _associated(beside)).decode()


def _cipher_key(key: bytes) -> bytes:
    return hashlib.sha512(key).digest()


def _associated(beside: str | None) -> list[bytes] | None:
    return None if beside is None else [beside.encode()]
