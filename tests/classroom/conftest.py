"""The classroom's tests grade hundreds of made-up students, so they do not wait for the disk.

Not here: what they test. A crash of the machine may lose their files; nothing that a test reads depends on it.
"""

import os

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """Neither nbgrader's database nor minivis waits until the disk has what was written: 28 times for each student."""

    def hurry(connection, _):
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", hurry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield
    event.remove(Engine, "connect", hurry)
