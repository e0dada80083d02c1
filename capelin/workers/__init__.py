"""What a worker process does: leases, stakes, the consumer, the executor, the heartbeat, the supervisor."""
