"""``capelin demo``: real work and a schedule for several workers; their leader is killed before your eyes.

files    what there is to measure, and a few files made to fail
measure  the measuring itself: no queue in it
tasks    the task, and the schedule
fleet    the workers, and their end
watching how the work goes, read from Redis
ticking  how the schedule goes, and what became of every tick
screen   how that looks, on a terminal and without one
outcome  what became of every file
report   how that reads
ticked   how the part about the schedule reads
run      all of it, in order
"""

from capelin.demo.run import run_demo

__all__ = ["run_demo"]
