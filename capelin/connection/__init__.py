"""The one place that knows of plain Redis, Cluster, Sentinel and the in-process server.

It runs script calls in pipelines and reads them reply by reply, so that one error costs no other call's reply, and it never
sends anything twice unless the server said that it did not run.
"""

from capelin.connection.base import Connection, connect
from capelin.connection.subscribing import Subscription
from capelin.connection.urls import check_url, hide_password

__all__ = ["Connection", "Subscription", "check_url", "connect", "hide_password"]
