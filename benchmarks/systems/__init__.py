"""One module a system: an adapter, run as a process of its own by the interpreter that has the system."""
