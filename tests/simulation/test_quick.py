"""What is answered quickly is what fakeredis would have said, and leaves what it would have left."""

import copy
from collections import Counter
from typing import Any
from unittest import mock

from fakeredis.model import Hash, XStream, ZSet

from tests.simulation import quick
from tests.simulation.drawing import draw
from tests.simulation.interpreter import Interpreter
from tests.simulation.run import run
from tests.simulation.session import Session


def _left(item: Any) -> Any:
    """What is in the database, to be compared."""
    value: Any = None if item is None else item.value
    for kind, inside in ((Hash, "_values"), (ZSet, "_bylex"), (XStream, "_ids")):
        if isinstance(value, kind):
            value = copy.copy(getattr(value, inside))
    return value, getattr(item, "expireat", None)


def _plain(answer: Any) -> Any:
    """A reply of fakeredis as Lua wants it."""
    kind: Any = answer.__class__
    if kind is dict:
        return [_plain(item) for pair in answer.items() for item in pair]
    if kind is list:
        return list(map(_plain, answer))
    if answer is None:
        return False
    return answer if kind in (bytes, int, bool) else True


def _unchanged(*given: Any) -> Any:
    return given[-1]


def test_quick_answers_are_those_of_fakeredis() -> None:
    """On one Redis and on a Cluster, each command of a play is answered by both."""
    met: Counter[bytes] = Counter()
    differ: list[Any] = []
    sessions: list[Session] = []
    run_script = Interpreter.run

    def compared(name: bytes) -> Any:
        answer_quickly = quick.QUICK[name]

        def answer(db: Any, words: list[bytes]) -> Any:
            key = words[1] if name == b"XINFO" else words[0] if words else b""
            before = copy.deepcopy(db._dict.get(key))
            said = answer_quickly(db, words)
            if said is quick.SLOWLY or name == b"TIME":
                return said
            left = _left(db._dict.get(key))
            db._dict.pop(key, None)
            if before is not None:
                db._dict[key] = before
            fully = _plain(asked(name, list(words)))
            met[name] += 1
            if (_plain(said), left) != (fully, _left(db._dict.get(key))):
                differ.append((name, words, said, fully))
            return said

        return answer

    def asked(name: bytes, words: list[bytes]) -> Any:
        with mock.patch.object(Session, "_convert_redis_result", _unchanged):
            return sessions[-1].ask_fakeredis(None, name.decode().lower(), words)

    def noted(self: Interpreter, session: Session, *given: Any) -> bytes:
        sessions.append(session)
        return run_script(self, session, *given)

    both = {name: compared(name) for name in quick.QUICK}
    with mock.patch.dict(quick.QUICK, both), mock.patch.object(Interpreter, "run", noted):
        traces = [run(draw(seed)).trace for seed in (3, 109)]
    assert differ == []
    assert traces == [run(draw(seed)).trace for seed in (3, 109)]
    assert {*quick.QUICK} - {*met} == {b"TIME"}
