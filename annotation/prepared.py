"""Statements that run with every claim and every verdict. The server plans them once for a connection: planning takes longer than running them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import connection


def run(statement: str, values: Mapping[str, Any]) -> Any:
    """A cursor with the statement's rows. It is counted and raises as Django's own cursors are and do.

    Those put the values into the text of a statement, so that each is a new one to the server; here they go apart. How often a statement
    comes before it is prepared, the connection's option `prepare_threshold` says; with None it never is.
    """
    connection.ensure_connection()
    cursor = connection._prepare_cursor(psycopg.Cursor(connection.connection))  # type: ignore[attr-defined]
    cursor.execute(statement, values)
    if connection.queries_logged:
        connection.queries_log[-1]["sql"] = statement  # which a cursor does not know any more once it is prepared
    return cursor
