"""The page on singletons: its first example is hosted by a worker, and its state moves."""

from pathlib import Path

import pytest

from tests.docs.snippets import shown
from tests.support.processes import Processes

FIRST = shown("singletons.md", "indexed up to")


@pytest.mark.parametrize("words", [("singletons",), ("singletons", "show", "indexer")], ids=" ".join)
async def test_the_first_example_is_hosted_moved_and_shown(
    tmp_path: Path, processes: Processes, redis_url: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "indexer.py").write_text(FIRST.text, encoding="utf-8")
    first = processes.worker("indexer:app", redis_url=redis_url, cwd=tmp_path)
    await first.wait_for_line("indexed up to 100$")
    first.terminate()
    assert await first.wait() == 0
    second = processes.worker("indexer:app", redis_url=redis_url, cwd=tmp_path)
    await second.wait_for_line("indexed up to 200$")
    shown = processes.capelin(*words, cwd=tmp_path, env={"CAPELIN_REDIS_URL": redis_url})
    assert await shown.wait() == 0
    assert "indexer" in shown.output
    assert "healthy" in shown.output
