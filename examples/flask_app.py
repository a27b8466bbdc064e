"""A Flask application that enqueues jobs, in calls that block. Other processes run them.

flask --app examples.flask_app run
asyncwork run examples.shop.jobs:pool    # makes the thumbnails
asyncwork run examples.app:pool          # exports
"""

from __future__ import annotations

from flask import Flask, abort, request

from asyncwork.sync import Enqueuer

from .shop.jobs import thumbnail
from .shop.store import new_picture


def create_app(exports: Enqueuer | None = None) -> Flask:
    """Return the application.

    :param exports: enqueues for the pool of ``examples/app.py``.
    """
    app = Flask(__name__)
    exports = exports or Enqueuer(namespace="my_app")  # threads share it; it connects when it is first used

    @app.post("/pictures")
    def upload_picture() -> tuple[dict[str, str], int]:
        path = new_picture()
        request.files["file"].save(path)
        job = thumbnail.sync.enqueue(path)  # a task that this program can import
        return {"picture": path.name, "job": job.id}, 202

    @app.post("/exports")
    def export() -> tuple[dict[str, str], int]:
        rows = request.args.get("rows", 100, type=int)
        if rows < 1:
            abort(422, "rows must be at least 1")
        job = exports.enqueue("export", {"rows": rows}, unique=True)  # by name: another program has the handler
        return {"job": job.id}, 202

    return app
