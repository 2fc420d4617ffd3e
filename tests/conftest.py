"""What every test may use; the fixtures stand in the small files named here."""

import sys

pytest_plugins = ["tests.fix_server", "tests.fix_db", "tests.fix_wait"]

# `plpy` exists only inside a server. Here the name would find this project's folder of the same
# name, an empty namespace package; better an ImportError. A test that brings a fake sets it over
# this one with monkeypatch.setitem(sys.modules, "plpy", fake).
sys.modules["plpy"] = None  # type: ignore[assignment]
