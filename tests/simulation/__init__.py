"""A fleet, its clients and its Redis in one process, under a clock that is moved and a seed that decides.

The real client, workers, heartbeats, scheduler and Lua scripts run on fakeredis; nothing waits for real time,
and nothing runs in threads. A seed says what happens, to the last callback, so what it finds happens again:
`python -m tests.simulation --seed N`.

    loop        the event loop: virtual time, and processes whose callbacks interleave under the seed
    patches     clocks, randomness and names of the real world, replaced for as long as a simulation runs
    session     what a Redis knows of one connection, and how it runs commands and scripts
    server      one Redis: fakeredis behind a socket, which forgets when it is told to
    interpreter the Lua of the scripts, compiled once a process
    quick       what scripts ask most often, answered without ceremony
    cluster     a Redis Cluster: masters, replicas that lag, slots that move, and what nodes say of it
    servers     one Redis or a Cluster, as the rest sees it
    network     what is between a pod and Redis: latency, lost and late messages, partitions
    world       pods: started, killed at any await, paused and woken, blocked
    apps        what the pods run
    history     what happened, as the tasks and the clients saw it
    scenario    what is to happen, as data
    drawing     draws a scenario from a seed
    work        what clients do; schedules that change, queues that are paused, strangers in streams
    faults      what befalls pods, the network and Redis
    run         plays a scenario
    records     what Redis holds
    observer    watches what scripts write: outcomes, judgements, how long jobs wait
    checker     holds each guarantee: `CHECKS` says which function holds which
    checks_*    those functions
    coverage    which faults each guarantee was held under
    crafted     scenarios made by hand
    breaking    protocols that are broken on purpose
    shrink      the smallest scenario that still fails
"""
