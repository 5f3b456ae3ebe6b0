"""What the classroom's tests share.

Not here: made-up submissions (making.py).
"""

import functools
import warnings

import pytest


@pytest.fixture(scope="session")
def one_look_at_the_version():
    """nbgrader starts a process to ask for the version of its database, seconds for each new gradebook: ask once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nbgrader import api
    kept, api.get_alembic_version = api.get_alembic_version, functools.cache(api.get_alembic_version)
    yield
    api.get_alembic_version = kept
