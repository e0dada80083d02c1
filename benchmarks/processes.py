"""A process and its descendants: their CPU time and memory, as Linux counts them. Standard library only."""

import os
import time
from pathlib import Path

_PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_UTIME, _STIME = 11, 12  # counted from behind the name, which may hold blanks


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    for each in found:  # it grows as we walk
        for listed in (_PROC / str(each) / "task").glob("*/children"):
            found += [int(child) for child in _read(listed).split()]
    return found


def own_cpu_seconds() -> float:
    """Return the CPU time that this process and its living descendants have used."""
    _, *descendants = family(os.getpid())
    return time.process_time() + sum(_cpu_seconds(each) for each in descendants)


def resident_bytes(pid: int) -> int:
    """Return the memory that a process and its descendants hold; shared pages count in each."""
    return sum(_resident_bytes(each) for each in family(pid))


def _cpu_seconds(pid: int) -> float:
    fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICK if fields else 0.0


def _resident_bytes(pid: int) -> int:
    fields = _read(_PROC / str(pid) / "statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended meanwhile
        return ""
