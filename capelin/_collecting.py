"""Python's garbage collector in a process that runs a worker."""

import gc


def set_aside_what_stays() -> None:
    """Tell the collector not to look again at what was loaded so far: modules, tasks, models.

    They are several hundred thousand objects that stay until the process ends. To walk through them takes the
    collector 50 ms and more, while the event loop stands still and every waiting job waits with it.

    Meant for a process that is all the worker's, once the app is loaded. What cycles there are among these
    objects is freed first.

    Example:
        set_aside_what_stays()
        await worker.run()
    """
    gc.collect()
    gc.freeze()
