"""The product's own settings: numbers, units, and what is refused; which settings travel."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from pg_background.errors import Refusal
from tests.unit.conftest import FakeDb


@pytest.fixture
def settings(load: Callable[[str], ModuleType]) -> Any:
    """Give the module, over a seam without a server."""
    return load("settings")


NAMES = ("max_workers", "worker_timeout", "default_queue_size", "when_full")


def caller(**values: str | None) -> dict[str, str | None]:
    """What a session has set; the rest is not set at all."""
    names = (*NAMES, "transaction_timeout")
    return {**dict.fromkeys(names), **values}


def test_what_is_not_set_has_its_default(settings: Any) -> None:
    for unset in (None, ""):
        names = (*NAMES, "transaction_timeout")
        options = settings.Options(dict.fromkeys(names, unset))
        assert (options.max_workers, options.worker_timeout_ms) == (16, 0)
        assert (options.queue_size, options.when_full) == (65536, "error")


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0), ("250", 250), ("250ms", 250), ("250 ms", 250), (" 2s ", 2000), ("1.5s", 1500),
        ("2min", 120000), ("1h", 3600000), ("24d", 2073600000), ("1500us", 2), ("400us", 0),
        ("1e3", 1000), ("1e3ms", 1000), ("2147483647", 2147483647), ("0.5h", 1800000),
    ],
)  # fmt: skip
def test_a_duration_is_read_as_postgresql_reads_it(
    settings: Any, text: str, milliseconds: int
) -> None:
    assert settings.Options(caller(worker_timeout=text)).worker_timeout_ms == milliseconds


@pytest.mark.parametrize(
    ("worker", "transaction", "milliseconds"),
    [
        ("0", "1s", 1000),
        ("500", "1s", 500),
        ("2s", "1s", 1000),
        ("2s", "0", 2000),
        ("2s", None, 2000),
    ],
)
def test_a_job_is_one_transaction_and_its_timeout_the_jobs(
    settings: Any, worker: str, transaction: str | None, milliseconds: int
) -> None:
    options = settings.Options(caller(worker_timeout=worker, transaction_timeout=transaction))
    assert options.worker_timeout_ms == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "-1", "-1s", "2147483648", "99999999999999999999999999", "25d", "s", "1 s s", "1 week",
        "1S", "1MS", "soon", "nan", "inf", "1e400", "1_000 s", "0x10", "٣", "--1", "1,5s", "1kB",
    ],
)  # fmt: skip
def test_a_duration_that_means_nothing_is_refused(settings: Any, text: str) -> None:
    with pytest.raises(Refusal) as refused:
        settings.Options(caller(worker_timeout=text))
    assert refused.value.sqlstate == "22023"
    assert f'"pg_background.worker_timeout": "{text}"' in str(refused.value)
    assert "from 0 to 2147483647" in refused.value.fields["hint"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("64", 64), ("64kB", 65536), ("1 MB", 1 << 20), ("0.25GB", 1 << 28), ("268435456B", 1 << 28)],
)
def test_a_size_may_have_a_unit(settings: Any, text: str, size: int) -> None:
    assert settings.Options(caller(default_queue_size=text)).queue_size == size


@pytest.mark.parametrize("text", ["63", "0", "-64", "268435457", "1TB", "1kb", "64 s", "big"])
def test_a_size_that_means_nothing_is_refused(settings: Any, text: str) -> None:
    with pytest.raises(Refusal, match=r"pg_background\.default_queue_size"):
        settings.Options(caller(default_queue_size=text))


@pytest.mark.parametrize("text", ["1", "16", "1000"])
def test_a_number_of_workers_is_from_1_to_1000(settings: Any, text: str) -> None:
    assert settings.Options(caller(max_workers=text)).max_workers == int(text)


@pytest.mark.parametrize("text", ["0", "1001", "-1", "ten", "16 s", "1" * 5000])
def test_another_number_of_workers_is_refused(settings: Any, text: str) -> None:
    with pytest.raises(Refusal) as refused:
        settings.Options(caller(max_workers=text))
    assert refused.value.fields["hint"] == "The value is a whole number from 1 to 1000."


@pytest.mark.parametrize("text", ["Queue", "true", "error,queue", " queue"])
def test_a_full_house_means_error_or_queue(settings: Any, text: str) -> None:
    assert settings.Options(caller(when_full="queue")).when_full == "queue"
    with pytest.raises(Refusal, match=r"pg_background\.when_full"):
        settings.Options(caller(when_full=text))


def test_a_queue_size_asked_for_is_checked_and_none_means_the_setting(settings: Any) -> None:
    options = settings.Options(caller(default_queue_size="128kB"))
    for default in (None, 0, -5):
        assert settings.queue_size(default, options) == 131072
    assert settings.queue_size(64, options) == 64
    assert settings.queue_size(268435456, options) == 268435456
    for bad in (1, 63, 268435457):
        with pytest.raises(Refusal) as refused:
            settings.queue_size(bad, options)
        assert refused.value.sqlstate == "22023"


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        (None, 0), ("", 0), ("0", 0), ("250", 250), ("250ms", 250), ("5s", 5000), ("2min", 120000),
        ("1h", 3600000), ("1d", 86400000), ("1500us", 2), ("-1", 0), ("nonsense", 0), ("5 parsecs", 0),
    ],
)  # fmt: skip
def test_a_time_out_as_the_server_writes_it_in_ms(
    settings: Any, text: str | None, milliseconds: int
) -> None:
    assert settings.milliseconds(text) == milliseconds


OWN = [
    ("app.tenant", "blue"),
    ("work_mem", "7MB"),
    ("search_path", "of the door"),
    ("statement_timeout", "5s"),
    ("application_name", "psql"),
    ("client_encoding", "LATIN1"),
    ("idle_session_timeout", "1s"),
    ("transaction_isolation", "serializable"),
    ("role", "other"),
]


ME, STRANGER = 7, 8


def own(
    settings: Any, monkeypatch: pytest.MonkeyPatch, *found: tuple[str, str, int | None]
) -> None:
    """Have the session set these: name, value, and the role that set it."""
    monkeypatch.setattr(settings.guc, "available", lambda: True)
    monkeypatch.setattr(settings.guc, "own", lambda: list(found))


def test_settings_travel_without_those_that_belong_to_the_session(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(settings, monkeypatch, *((name, value, ME) for name, value in OWN))
    assert settings.travelling("public", own_login=True, role=ME) == {
        "app.tenant": "blue",
        "work_mem": "7MB",
        "statement_timeout": "5s",
        "search_path": "public",
    }


def test_only_what_may_have_been_set_by_another_or_goes_to_another_is_asked_about(
    settings: Any, monkeypatch: pytest.MonkeyPatch, fake_db: FakeDb
) -> None:
    asked: list[Any] = []

    def undeclared(
        names: list[str], setters: list[int], own_login: bool
    ) -> list[dict[str, list[str]]]:
        asked.append((dict(zip(names, setters, strict=True)), own_login))
        return [{"array": ["b.placeholder"]}]

    fake_db.questions["pg_catalog.unnest($1), pg_catalog.unnest($2)"] = undeclared
    own(
        settings,
        monkeypatch,
        ("work_mem", "7MB", STRANGER),
        ("a.own", "1", ME),
        ("b.placeholder", "2", STRANGER),
        ("c.old", "3", None),
    )
    kept = {"work_mem": "7MB", "a.own": "1", "c.old": "3", "search_path": "x"}
    assert settings.travelling("x", own_login=True, role=ME) == kept
    assert settings.travelling("x", own_login=False, role=ME) == kept
    assert asked == [
        ({"b.placeholder": STRANGER}, True),
        ({"a.own": ME, "b.placeholder": STRANGER, "c.old": 0}, False),
    ]


def test_without_the_servers_own_list_settings_are_read_by_sql(
    settings: Any, monkeypatch: pytest.MonkeyPatch, fake_db: FakeDb
) -> None:
    monkeypatch.setattr(settings.guc, "available", lambda: False)
    everywhere = {"work_mem": "9MB", "seed": "unavailable", "statement_timeout": "0"}

    def ask(whoever_set_them: list[str]) -> list[dict[str, str]]:
        assert "statement_timeout" in whoever_set_them
        return [{"name": name, "value": value} for name, value in everywhere.items()]

    fake_db.questions["from pg_catalog.pg_settings"] = ask
    assert settings.travelling("a, b", own_login=True, role=ME) == {
        "work_mem": "9MB",
        "statement_timeout": "0",
        "search_path": "a, b",
    }
