"""``capelin demo``: real work for several workers, one of which is killed before the reader's eyes.

files    what there is to measure, and a few files made to fail
measure  the measuring itself: no queue in it
tasks    the task
fleet    the workers, and their end
watching how it goes, read from Redis
screen   how that looks, on a terminal and without one
outcome  what became of every file
report   how that reads
run      all of it, in order
"""

from capelin.demo.run import run_demo

__all__ = ["run_demo"]
