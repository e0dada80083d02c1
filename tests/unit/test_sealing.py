"""Encryption of payloads: what opens, what does not, and what is told of keys (nothing)."""

import base64
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capelin.errors import ConfigurationError, KeyMissing, SealBroken
from capelin.sealing import NO_SEAL, Seal, new_key, seal_of
from capelin.settings import Settings

OLD, NEW = new_key(), new_key()
ARGS = '[["sesame"],{}]'


def test_what_was_sealed_opens_where_it_was_sealed() -> None:
    seal = seal_of(OLD)
    sealed = seal.args(ARGS, "pay")
    assert "sesame" not in sealed
    assert seal.open_args(sealed.encode(), "pay") == ARGS.encode()
    assert json.loads(sealed).keys() == {"$sealed"}
    assert seal.open_result(seal.result('"sesame"', "uid1").encode(), "uid1") == b'"sesame"'


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    seal = seal_of(OLD)
    result = json.dumps(text)
    assert seal.open_result(seal.result(result, "u").encode(), "u") == result.encode()


def test_the_same_text_is_never_sealed_the_same_unless_it_is_to_be_compared() -> None:
    seal = seal_of(OLD)
    assert seal.args(ARGS, "pay") != seal.args(ARGS, "pay")
    stable = seal.args(ARGS, "pay", stable=True)
    assert stable == seal_of(f"{OLD},{NEW}").args(ARGS, "pay", stable=True)
    assert seal.open_args(stable.encode(), "pay") == ARGS.encode()
    assert stable != seal.args(ARGS, "refund", stable=True)
    assert stable != seal.args('[["other!"],{}]', "pay", stable=True)


def test_what_is_sealed_is_not_sealed_again() -> None:
    sealed = seal_of(OLD).args(ARGS, "pay")
    assert seal_of(NEW).args(sealed, "pay") == sealed


def test_it_opens_nowhere_else() -> None:
    seal = seal_of(OLD)
    sealed = seal.args(ARGS, "pay").encode()
    for elsewhere in (
        lambda: seal.open_args(sealed, "refund"),
        lambda: seal.open_result(sealed, "pay"),
        lambda: seal.open_result(seal.result("1", "uid1").encode(), "uid2"),
        lambda: seal.open_failure(json.loads(seal.failure('{"type":"E","message":"m"}', "uid1")), "uid2"),
    ):
        with pytest.raises(SealBroken, match="was changed, or moved"):
            elsewhere()


@given(st.data())
def test_what_was_changed_does_not_open(data: st.DataObject) -> None:
    seal = seal_of(OLD)
    version, name, content = json.loads(seal.args(ARGS, "pay"))["$sealed"].split(".")
    raw = bytearray(base64.urlsafe_b64decode(content))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    raw = raw[: data.draw(st.sampled_from([len(raw), place]))]
    changed = json.dumps({"$sealed": f"{version}.{name}.{base64.urlsafe_b64encode(raw).decode()}"})
    with pytest.raises(SealBroken):
        seal.open_args(changed.replace(": ", ":").encode(), "pay")


@pytest.mark.parametrize(
    "text", ['{"$sealed":"', '{"$sealed":"1.2"}', '{"$sealed":"1.x.\xff"}', '{"$sealed":"…"} ']
)
def test_what_only_looks_sealed_is_an_error_and_no_more(text: str) -> None:
    with pytest.raises((SealBroken, KeyMissing)):
        seal_of(OLD).open_args(text.encode(), "pay")


def test_keys_rotate_the_first_seals_and_all_open() -> None:
    before = seal_of(OLD).args(ARGS, "pay").encode()
    both = seal_of(f"{NEW}, {OLD}")
    assert both.open_args(before, "pay") == ARGS.encode()
    after = both.args(ARGS, "pay").encode()
    assert seal_of(NEW).open_args(after, "pay") == ARGS.encode()
    with pytest.raises(KeyMissing) as caught:
        seal_of(OLD).open_args(after, "pay")
    assert (caught.value.key_id,) == seal_of(NEW).key_ids
    assert "this process has" in str(caught.value)


def test_without_keys_nothing_is_sealed_and_what_is_sealed_says_what_lacks() -> None:
    assert NO_SEAL is seal_of("") is seal_of("  ")
    assert not NO_SEAL.active
    assert NO_SEAL.args(ARGS, "pay") == ARGS
    assert NO_SEAL.open_args(ARGS.encode(), "pay") == ARGS.encode()
    with pytest.raises(KeyMissing, match="this process has none; see CAPELIN_ENCRYPTION_KEYS"):
        NO_SEAL.open_args(seal_of(OLD).args(ARGS, "pay").encode(), "pay")


def test_the_type_of_an_error_stays_readable() -> None:
    seal = seal_of(OLD)
    plain = {"type": "ValueError", "message": "sesame", "traceback": "at sesame"}
    sealed = json.loads(seal.failure(json.dumps(plain), "uid1"))
    assert (sealed["type"], sealed["message"]) == ("ValueError", "encrypted")
    assert "sesame" not in json.dumps(sealed)
    assert seal.open_failure(sealed, "uid1") == plain
    assert NO_SEAL.open_failure(plain, "uid1") == plain


@pytest.mark.parametrize(
    "keys",
    ["short", base64.b64encode(b"x" * 31).decode(), "not base64!", f"{OLD},sesame", ","],
    ids=["short", "31-bytes", "no-base64", "one-of-two", "none"],
)
def test_a_key_that_cannot_be_read_is_refused_and_not_told(keys: str) -> None:
    with pytest.raises(ConfigurationError, match=r"new_key\(\) makes one") as caught:
        Settings.model_validate({"encryption_keys": keys}).seal  # noqa: B018 -- what it says is the test
    told = str(caught.value) + repr(caught.value.__cause__)
    assert not any(key in told for key in keys.split(",") if key)


def test_keys_are_shown_nowhere() -> None:
    url = "redis://me:sesame@h/0?sentinel_password=sesame"
    settings = Settings.model_validate({"encryption_keys": OLD, "redis_url": url})
    for shown in (repr(settings), str(settings), repr(settings.seal), repr(seal_of(OLD))):
        assert OLD not in shown
        assert "sesame" not in shown
    assert settings.seal.key_ids[0] not in OLD


def test_a_missing_library_is_said_before_any_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ConfigurationError, match=r"capelin\[encryption\]"):
        Seal([b"not used before in any test!    "])
