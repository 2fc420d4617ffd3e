"""Sessions that speak the product's verbs; `launcher` and `observer` belong to one plain role."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fix_db import Database, Roles
from tests.integration.verbs import Session


@pytest.fixture
def admin(db: Database) -> Session:
    """Give a session of the superuser."""
    return Session(db.connect(application_name="admin"))


@pytest.fixture
def app(roles: Roles, admin: Session) -> str:
    """Give a plain login role that may use the product and make tables in schema public."""
    name = roles.create("app")
    admin.execute(f"grant create, usage on schema public to {name}")
    admin.execute(f"grant create on database {admin.connection.info.dbname} to {name}")
    return name


@pytest.fixture
def connect(db: Database, app: str) -> Callable[..., Session]:
    """Give a function that opens sessions, of the plain role unless told otherwise."""

    def opened(user: str | None = app, **parameters: Any) -> Session:
        return Session(db.connect(user, **parameters))

    return opened


@pytest.fixture
def launcher(connect: Callable[..., Session]) -> Iterator[Session]:
    """Give the session that launches jobs."""
    session = connect(application_name="launcher")
    yield session
    session.close()


@pytest.fixture
def observer(connect: Callable[..., Session]) -> Session:
    """Give another session of the same role, which has launched nothing."""
    return connect(application_name="observer")
