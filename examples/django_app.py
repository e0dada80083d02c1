"""Django: enqueue in a view, once the transaction is committed. One file, so that it can be read in one go.

    python -m examples.django_app runserver
    capelin worker examples.django_app:app

Views are plain functions, so they use `enqueue_sync`; async views use `await ....enqueue(...)`. In a project
of its own the app stands in a module that calls `django.setup()` first, as `asgi.py` does, and includes the
tasks that stand beside the models: `Capelin(include=["shop.tasks", "mail.tasks"])`.
"""

import sys
from functools import partial

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from capelin import Capelin

if not settings.configured:
    settings.configure(
        DEBUG=True,
        ALLOWED_HOSTS=["localhost", "127.0.0.1"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )
    django.setup()

app = Capelin()


@app.task
def confirm_order(order: int) -> str:
    """Confirm an order; a plain function in a thread of the worker, where the ORM may be used."""
    with connection.cursor() as cursor:
        cursor.execute("select %s", [order])
        (found,) = cursor.fetchone() or (None,)
    return f"order {found} is confirmed"


def place_order(request: HttpRequest, order: int) -> JsonResponse:
    """Enqueue when the order is in the database, not before: a worker may be quicker than a commit."""
    with transaction.atomic():
        transaction.on_commit(partial(confirm_order.enqueue_sync, order))
    return JsonResponse({"order": order, "method": request.method})


urlpatterns = [path("orders/<int:order>", place_order)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
