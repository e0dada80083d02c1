"""Encrypts what jobs carry: arguments, results, and the words of errors. Needs the extra ``encryption``.

AES-256-GCM, with a key of its own for each process and 2^24 texts, made from the given one and a random salt
(HKDF), so that no nonce can come twice under one key however many jobs there are. A sealed text is bound to
where it stands, the task's name or the job's uid: moved elsewhere it does not open. It is JSON, so that
scripts and tools that only pass it on need know nothing of it.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from capelin.errors import ConfigurationError, KeyMissing, SealBroken
from capelin.narrow import is_dict

MARK: Final = '{"$sealed":"'
_MARK_BYTES = MARK.encode()
_VERSION = "1"
_KEY_BYTES, _SALT_BYTES, _NONCE_BYTES = 32, 16, 12
_ID_LENGTH = 8
_TEXTS_A_SALT = 1 << 24
_HIDDEN = "encrypted"


class Seal:
    """Seals with the first of its keys, and opens what any of them sealed. Without keys it seals nothing.

    Args:
        keys: Each of 32 bytes; see ``new_key``.

    Raises:
        ConfigurationError: A key has another length, or the extra ``encryption`` is not installed.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        for key in keys:
            if len(key) != _KEY_BYTES:
                raise ConfigurationError(
                    f"an encryption key has {len(key)} bytes, not {_KEY_BYTES}; "
                    "capelin.sealing.new_key() makes one"
                )
        if keys:
            _cipher(keys[0], b"")  # it says now, not in the middle of a job, that the library is missing
        self._keys = {_id_of(key): key for key in keys}
        self._first = next(iter(self._keys), None)
        self._salt, self._left = b"", 0

    @property
    def active(self) -> bool:
        """Whether it seals."""
        return self._first is not None

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The names of its keys, which tell nothing about them; the one that seals comes first."""
        return tuple(self._keys)

    def args(self, text: str, task: str, *, stable: bool = False) -> str:
        """Seal a job's arguments.

        Args:
            text: JSON; empty for none, which stays empty. What is sealed already stays as it is.
            task: The task's name, to which they are bound.
            stable: The same text becomes the same each time, for what is compared (schedules).
        """
        if self._first is None or not text or text.startswith(MARK):
            return text
        return self._seal(text, f"args:{task}", stable=stable)

    def open_args(self, text: bytes, task: str) -> bytes:
        """Open a job's arguments, and what an ``on_failure`` task is told about another job.

        Raises:
            KeyMissing: They are sealed with a key that is not here.
            SealBroken: They were changed, or are those of another task.
        """
        if text.startswith(_MARK_BYTES):
            return self._open(text.decode(errors="replace"), f"args:{task}").encode()
        if text.startswith(b'[[{"job_id":') and b'"$sealed"' in text:
            return self._open_failed_job(text)
        return text

    def result(self, text: str, uid: str) -> str:
        """Seal a result (JSON), bound to its job."""
        return text if self._first is None or not text else self._seal(text, f"result:{uid}")

    def open_result(self, text: bytes, uid: str) -> bytes:
        """Open a result.

        Raises:
            KeyMissing, SealBroken: As ``open_args``.
        """
        if not text.startswith(_MARK_BYTES):
            return text
        return self._open(text.decode(errors="replace"), f"result:{uid}").encode()

    def failure(self, text: str, uid: str) -> str:
        """Seal message and traceback of an error (JSON), bound to its job; its type stays readable."""
        if self._first is None or not text:
            return text
        error = json.loads(text)
        words = json.dumps([error["message"], error.get("traceback")])
        return json.dumps(
            {"type": error["type"], "message": _HIDDEN, "sealed": self._seal(words, f"error:{uid}")}
        )

    def open_failure(self, error: dict[Any, Any], uid: str) -> dict[Any, Any]:
        """Open an error that was read.

        Raises:
            KeyMissing, SealBroken: As ``open_args``.
        """
        sealed = error.get("sealed")
        if not isinstance(sealed, str):
            return error
        message, traceback = json.loads(self._open(sealed, f"error:{uid}"))
        return {"type": error.get("type", "?"), "message": message, "traceback": traceback}

    def _open_failed_job(self, text: bytes) -> bytes:
        """What ``bury`` tells an ``on_failure`` task: arguments and error are those of the dead job."""
        value = json.loads(text)
        told = value[0][0]
        uid = str(told["job_id"]).rpartition(".")[2]
        if is_dict(told["args"]):
            told["args"] = json.loads(self.open_args(_json(told["args"]).encode(), told["task"]))
        if is_dict(told["error"]):
            told["error"] = self.open_failure(told["error"], uid)
        return _json(value).encode()

    def _seal(self, text: str, place: str, *, stable: bool = False) -> str:
        name = self._first
        if name is None:
            raise RuntimeError("there is no key to seal with")
        key, plain, bound = self._keys[name], text.encode(), place.encode()
        if stable:
            # Drawn from what is sealed: two texts have one nonce only if they are one text.
            drawn = hmac.digest(key, b"capelin stable\0" + bound + b"\0" + plain, "sha512")
            salt, nonce = drawn[:_SALT_BYTES], drawn[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
        else:
            salt, nonce = self._own_salt(), os.urandom(_NONCE_BYTES)
        sealed = salt + nonce + _cipher(key, salt).encrypt(nonce, plain, bound)
        return f'{MARK}{_VERSION}.{name}.{base64.urlsafe_b64encode(sealed).decode()}"}}'

    def _own_salt(self) -> bytes:
        if self._left == 0:
            self._salt, self._left = os.urandom(_SALT_BYTES), _TEXTS_A_SALT
        self._left -= 1
        return self._salt

    def _open(self, text: str, place: str) -> str:
        try:
            version, name, content = json.loads(text)["$sealed"].split(".")
            sealed = base64.urlsafe_b64decode(content)
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
            raise SealBroken(place=place) from None
        key = self._keys.get(name)
        if key is None or version != _VERSION:
            raise KeyMissing(key_id=name, known=self.key_ids)
        from cryptography.exceptions import InvalidTag

        salt, nonce = sealed[:_SALT_BYTES], sealed[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
        try:
            plain: bytes = _cipher(key, salt).decrypt(
                nonce, sealed[_SALT_BYTES + _NONCE_BYTES :], place.encode()
            )
            return plain.decode()
        except (InvalidTag, ValueError):
            raise SealBroken(place=place) from None

    def __repr__(self) -> str:
        return f"<Seal {' '.join(self.key_ids) or 'without keys'}>"


NO_SEAL: Final = Seal()
"""Seals nothing, and opens only what is not sealed."""


def new_key() -> str:
    """Return a new random key, as ``CAPELIN_ENCRYPTION_KEYS`` takes it.

    >>> len(new_key())
    44
    """
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()


@lru_cache(maxsize=16)
def seal_of(keys: str) -> Seal:
    """Return the seal for keys as text: base64, separated by commas, the one that seals first.

    Raises:
        ConfigurationError: They cannot be read. The message has nothing of them.
    """
    found: list[bytes] = []
    for place, text in enumerate(keys.split(",") if keys.strip() else (), start=1):
        try:
            found.append(base64.b64decode(text.strip(), altchars=b"-_", validate=True))
        except (ValueError, binascii.Error):
            raise ConfigurationError(
                f"encryption key {place} is not base64; capelin.sealing.new_key() makes one"
            ) from None
    return Seal(found) if found else NO_SEAL


def _id_of(key: bytes) -> str:
    return hashlib.sha256(b"capelin key id\0" + key).hexdigest()[:_ID_LENGTH]


@lru_cache(maxsize=4096)
def _cipher(key: bytes, salt: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise ConfigurationError(
            f"encryption needs the extra `encryption` ({error}): pip install 'capelin[encryption]'"
        ) from error
    return AESGCM(HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=salt, info=b"capelin sealing").derive(key))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
