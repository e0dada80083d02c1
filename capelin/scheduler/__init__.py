"""What fires schedules and hosts singletons: who leads, which ticks are due, how a tick becomes one job."""
