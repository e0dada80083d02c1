"""How often this process has been forked off: what belongs to one process asks whether that is still the one.

To ask for the process id instead is a system call, and twice a job.
"""

import os

count: int = 0


def _forked() -> None:
    global count  # noqa: PLW0603 -- it is the process's own
    count += 1


if hasattr(os, "register_at_fork"):  # elsewhere nothing forks
    os.register_at_fork(after_in_child=_forked)
