"""A fleet, its clients and its Redis in one process, under a clock that is moved and a seed that decides.

The real client, workers, heartbeats, scheduler and Lua scripts run on fakeredis; nothing waits for real time,
and nothing runs in threads. A seed says what happens, to the last callback, so what it finds happens again:
`python -m tests.simulation --seed N`.

    loop        the event loop: virtual time, and processes whose callbacks interleave under the seed
    patches     clocks, randomness and names of the real world, replaced for as long as a simulation runs
    server      Redis: fakeredis behind a socket that the network may break, which forgets when it is told to
    network     what is between a pod and Redis: latency, lost requests and replies, partitions
    world       pods: started, killed at any await, paused and woken, blocked
    apps        what the pods run
    history     what happened, as the tasks and the clients saw it
    scenario    what is to happen, drawn from a seed, as data
    run         plays a scenario
    checker     holds the guarantees against the history and the keys that are left
    shrink      the smallest scenario that still fails
"""
