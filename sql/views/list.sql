create view @extschema@.pg_background_list as
    select *
      from @extschema@.pg_background_list() as l (
          pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4, state text,
          sql_preview text, last_error text, consumed bool, label text);
comment on view @extschema@.pg_background_list is
    'The jobs launched and not detached by this session. As pg_background 2.0.';
