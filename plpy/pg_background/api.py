"""One function for each SQL function, of the same name without its prefix."""

from __future__ import annotations

from itertools import chain, islice

from pg_background import db
from pg_background.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


def _refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a Refusal into a PostgreSQL error."""

    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except Refusal as refusal:
            db.raise_to_user(refusal)
        except db.ServerError as error:
            db.raise_to_user(_of_server(error))

    return call


def _of_server(error: Exception) -> Refusal:
    """An error of the server's own (a cancel, a deadlock), without the words PL/Python puts before it."""
    return Refusal(db.server_message(error), db.sqlstate_of(error), **db.server_fields(error))


def _refusing_rows(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The same for a function that returns a set.

    Its first row is fetched here: PL/Python puts words of its own before an error that comes up
    while it fetches.
    """

    def call(*args: Any) -> Iterator[Any]:
        try:
            rows = function(*args)
            return chain(list(islice(rows, 1)), rows)
        except Refusal as refusal:
            db.raise_to_user(refusal)
            raise
        except db.ServerError as error:
            db.raise_to_user(_of_server(error))
            raise

    return call


@_refusing
def launch(sql: str | None, queue_size: int | None, label: str | None) -> Any:
    from pg_background import launch as verb

    return verb.handle(verb.launch(sql, queue_size, label))


@_refusing
def submit(sql: str | None, queue_size: int | None, label: str | None) -> Any:
    from pg_background import launch as verb

    return verb.handle(verb.launch(sql, queue_size, label, keeps_rows=False))


@_refusing
def launch_params(sql: str | None, params: str | None, label: str | None) -> Any:
    from pg_background import launch as verb

    return verb.handle(verb.launch_params(sql, params, label))


@_refusing
def wait(pid: int, cookie: int, timeout_ms: int | None) -> Any:
    from pg_background import wait as verb

    return verb.wait(pid, cookie, timeout_ms)


@_refusing
def await_(pid: int | None, cookie: int | None, timeout_ms: int | None) -> Any:
    from pg_background import wait as verb

    verb.await_end(pid, cookie, timeout_ms)


@_refusing
def cancel(pid: int, cookie: int, grace_ms: int | None) -> Any:
    from pg_background import cancel as verb

    verb.cancel(pid, cookie, grace_ms)


@_refusing
def detach(pid: int, cookie: int) -> Any:
    from pg_background import detach as verb

    verb.detach(pid, cookie)


@_refusing
def open_result(pid: int, cookie: int) -> Any:
    from pg_background import result

    return result.opened(pid, cookie)


@_refusing_rows
def records(pid: int, cookie: int) -> Any:
    from pg_background import registry, result

    return result.literals(registry.find(pid, cookie))


@_refusing_rows
def result_json(pid: int, cookie: int) -> Any:
    from pg_background import result_json as verb

    return verb.result_json(pid, cookie)


@_refusing_rows
def messages(pid: int, cookie: int) -> Any:
    from pg_background import outcome as verb

    return verb.messages(pid, cookie)


@_refusing_rows
def list_() -> Any:
    from pg_background import outcome as verb

    return verb.listed()


@_refusing
def outcome(pid: int | None, cookie: int | None) -> Any:
    from pg_background import outcome as verb

    return verb.outcome(pid, cookie)


@_refusing
def result_info(pid: int, cookie: int) -> Any:
    from pg_background import outcome as verb

    return verb.result_info(pid, cookie)


@_refusing
def error_info(pid: int, cookie: int) -> Any:
    from pg_background import outcome as verb

    return verb.error_info(pid, cookie)


@_refusing
def full_sql(pid: int, cookie: int) -> Any:
    from pg_background import outcome as verb

    return verb.full_sql(pid, cookie)


@_refusing
def run(sql: str | None, queue_size: int | None, timeout_ms: int | None, label: str | None) -> Any:
    from pg_background import run as verb

    return verb.run(sql, queue_size, timeout_ms, label)


@_refusing
def execute(sql: str | None, params: str | None, timeout_ms: int | None, label: str | None) -> Any:
    from pg_background import execute as verb

    return verb.execute(sql, params, timeout_ms, label)


@_refusing
def get_progress(pid: int | None, cookie: int | None) -> Any:
    from pg_background import progress

    return progress.get_progress(pid, cookie)


@_refusing
def open_query(
    sql: str | None, queue_size: int | None, timeout_ms: int | None, label: str | None
) -> Any:
    from pg_background import query

    return query.opened(sql, queue_size, timeout_ms, label)


@_refusing_rows
def drain(handles: list[Any] | None, timeout_ms: int | None) -> Any:
    from pg_background import many

    return many.drain(handles, timeout_ms)


@_refusing
def wait_any(handles: list[Any] | None, timeout_ms: int | None) -> Any:
    from pg_background import many

    return many.wait_any(handles, timeout_ms)


@_refusing
def cancel_all() -> Any:
    from pg_background import many

    return many.cancel_all()


@_refusing
def cancel_by_label(pattern: str | None, grace_ms: int | None) -> Any:
    from pg_background import many

    return many.cancel_by_label(pattern, grace_ms)


@_refusing
def detach_all() -> Any:
    from pg_background import many

    return many.detach_all()


@_refusing
def purge() -> Any:
    from pg_background import many

    return many.purge()


@_refusing
def stats() -> Any:
    from pg_background import stats as verb

    return verb.stats()


@_refusing
def grant_privileges(role: str | None, print_commands: bool | None) -> Any:
    from pg_background import privileges

    return privileges.change("grant", role, print_commands)


@_refusing
def revoke_privileges(role: str | None, print_commands: bool | None) -> Any:
    from pg_background import privileges

    return privileges.change("revoke", role, print_commands)


@_refusing_rows
def check() -> Any:
    from pg_background import check as verb

    return verb.check()


@_refusing
def enqueue(sql: str | None, options: dict[str, Any]) -> Any:
    from pg_background import enqueue as verb

    return verb.enqueue(sql, options)


@_refusing
def schedule(name: str | None, text: str | None, sql: str | None, given: dict[str, Any]) -> Any:
    from pg_background import schedule as verbs

    return verbs.schedule(name, text, sql, given)


@_refusing
def unschedule(name: str | None) -> Any:
    from pg_background import schedule as verbs

    return verbs.unschedule(name)


@_refusing
def run_now(name: str | None) -> Any:
    from pg_background import schedule as verbs

    return verbs.run_now(name)


@_refusing_rows
def next_runs(text: str | None, timezone: str | None, n: int | None, after: str | None) -> Any:
    from pg_background import schedule as verbs

    return verbs.next_runs(text, timezone, n, after)


@_refusing
def keep_cron_job(
    job_id: int | None,
    name: str | None,
    text: str | None,
    command: str | None,
    username: str | None,
    active: bool | None,
) -> Any:
    from pg_background import cron_jobs

    return cron_jobs.keep(job_id, name, text, command, username, active)


@_refusing
def forget_cron_job(job_id: int) -> Any:
    from pg_background import cron_jobs

    return cron_jobs.forget(job_id)


@_refusing_rows
def import_cron() -> Any:
    from pg_background import cron_import

    return cron_import.import_jobs()


@_refusing
def tick() -> Any:
    from pg_background import clock

    return clock.tick_elsewhere()


def start_queued() -> None:
    from pg_background import queue

    db.privileged(lambda: queue.start_waiting(keep_links=False))
    db.commit()
    queue.look_again()


def keep_clock() -> None:
    from pg_background import clock

    clock.keep()


def start_clock() -> bool:
    from pg_background import clock

    started: bool = db.privileged(clock.ensure)
    return started


def tick_here() -> int:
    from pg_background import clock

    return clock.tick_here()


def run_top_level(cookie: int, names: list[str] | None, values: list[str] | None) -> None:
    from pg_background import executor

    executor.run(cookie, names, values)
