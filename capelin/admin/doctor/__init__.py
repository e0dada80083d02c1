"""The doctor: looks for what breaks queues in production, and says what to do. It changes nothing.

    checking     the list of checks, and what runs them
    finding      what they say
    patient      what they look at, read once
    readings     the values that are read, and what of them is too much
    server, path, topology, permissions    checks of Redis
    work, members, ticking                 checks of capelin
    rights       the commands that capelin needs, as a line of ACL
    words        figures for people

Nothing here reads more than O(queues x shards); ``docs/doctor.md`` says what each check means.
"""

from capelin.admin.doctor.checking import CHECKS, Check, examine
from capelin.admin.doctor.finding import Finding, Severity
from capelin.admin.doctor.readings import Bounds
from capelin.admin.doctor.rights import acl_line

__all__ = ["CHECKS", "Bounds", "Check", "Finding", "Severity", "acl_line", "examine"]
