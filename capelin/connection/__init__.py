"""The one place that knows of plain Redis, Cluster, Sentinel and the in-process server.

It runs script calls in pipelines and reads them reply by reply, so that one error costs no other call's
reply, and it never sends anything twice unless the server said that it did not run.

    base         Connection: what the rest of capelin uses
    books        what it holds once it is used
    urls         how addresses are written
    network      where the servers are: one server
    sentinel     … the master that sentinels name
    promotion    … for as long as they name no other
    cluster      … many masters, and slots that move
    pipeline     script calls on their way
    delivery     scripts and their NOSCRIPT
    confirming   how many copies there are of what was written
    stencil      a call that is packed once, and filled in each time
    shared       one attempt at a time for all who ask
    popping      waiting for an element of a list
    reading      waiting for an entry of a stream
    subscribing  pub/sub
    dial, wire   a socket: logging in; commands out, replies in
    memory       the same without a socket
    refusals     which error reply becomes which error
"""

from capelin._hiding import hide_password
from capelin.connection.base import Connection, connect
from capelin.connection.confirming import Confirmed, Copies, Wish
from capelin.connection.delivery import pack_once
from capelin.connection.pipeline import Pipeline
from capelin.connection.stencil import Stencil
from capelin.connection.subscribing import Subscription
from capelin.connection.urls import check_url

__all__ = [
    "Confirmed",
    "Connection",
    "Copies",
    "Pipeline",
    "Stencil",
    "Subscription",
    "Wish",
    "check_url",
    "connect",
    "hide_password",
    "pack_once",
]
