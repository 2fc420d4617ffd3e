-- The composite types of the public functions. Column names and types are those of pg_background 2.0.

create type @extschema@.pg_background_handle as (
    pid int4,
    cookie int8
);

create type @extschema@.pg_background_result_info as (
    row_count int8,
    command_tag text,
    completed bool,
    has_error bool,
    started_at timestamptz,
    finished_at timestamptz
);

create type @extschema@.pg_background_error as (
    sqlstate text,
    message text,
    detail text,
    hint text,
    context text,
    schema_name text,
    table_name text,
    column_name text,
    constraint_name text
);

create type @extschema@.pg_background_outcome as (
    pid int4,
    cookie int8,
    state text,
    consumed bool,
    completed bool,
    has_error bool,
    row_count int8,
    command_tag text,
    sqlstate text,
    error_message text,
    label text,
    launched_at timestamptz
);

create type @extschema@.pg_background_run_result as (
    pid int4,
    cookie int8,
    state text,
    consumed bool,
    completed bool,
    has_error bool,
    row_count int8,
    command_tag text,
    sqlstate text,
    error_message text,
    label text,
    launched_at timestamptz,
    timed_out bool,
    elapsed_ms int8
);

create type @extschema@.pg_background_stats as (
    workers_launched int8,
    workers_completed int8,
    workers_failed int8,
    workers_canceled int8,
    workers_timed_out int8,
    workers_active int4,
    avg_execution_ms float8,
    max_workers int4
);

create type @extschema@.pg_background_progress_info as (
    progress_pct int4,
    progress_msg text
);

comment on type @extschema@.pg_background_handle is
    'Names a job: the pid of its worker (0 while queued) and a random cookie. The cookie alone identifies the job, for ever.';
comment on type @extschema@.pg_background_result_info is
    'What a job has produced: rows, command tag, completed, has_error, started and finished.';
comment on type @extschema@.pg_background_error is
    'The error that ended a job, field by field.';
comment on type @extschema@.pg_background_outcome is
    'A job''s fate in one row; every column is null where nothing is known of the handle.';
comment on type @extschema@.pg_background_run_result is
    'The outcome of pg_background_run, then whether it timed out and how long it took in ms.';
comment on type @extschema@.pg_background_stats is
    'Counters of this session''s jobs.';
comment on type @extschema@.pg_background_progress_info is
    'The last progress a job reported: percent (0-100) and a short text.';
