-- The internal routines that users' sessions call.
create table pgbackground.callable (
    name text primary key,
    reason text not null
);
comment on table pgbackground.callable is 'The internal routines that users'' sessions and their workers call. Each is harmless by hand.';
insert into pgbackground.callable values
    ('load', 'the session loads the modules'), ('module', 'likewise'), ('door', 'runs what our own Python has left for it'),
    ('home', 'which cluster and database this is'),
    ('is_overdue', 'compares times of a row that the caller has'), ('told', 'a row that the caller has, as it is now'), ('why_unseen', 'whether a handle names anything'), ('why_waiting', 'cookies of the parents of a job'),
    ('lost', 'writes the end of a job whose worker is gone'),
    ('await_lock', 'waits for a lock'), ('waits_for_me', 'who waits for this session'),
    ('register', 'this session gets a job of its own identity'), ('take', 'likewise, from the queue'),
    ('request', 'asks for a cancel, or lets go'), ('let_go', 'likewise'), ('in_the_way', 'pids of running jobs'), ('signal', 'signals what has been asked to stop'),
    ('expire_overdue', 'ends what runs for too long'),
    ('claim', 'the worker reads its own job'), ('begin_queued', 'likewise'), ('finish', 'the worker records its own job'),
    ('store_rows', 'likewise, its rows'), ('becomes_top_level', 'the worker changes its own job''s mode'),
    ('take_next', 'this worker takes a job of its own login'), ('retire_after', 'the worker tidies the registry'),
    ('run', 'the worker''s command'), ('work_after', 'likewise'),
    ('keep_clock', 'the clock''s command'), ('clock_seen', 'two facts for all; starts the clock'), ('failures_in_a_row', 'a number of a schedule whose id one has'), ('owner_id', 'what a role is called'), ('owner_name', 'likewise'), ('tick', 'queues what is due'), ('becomes_starter', 'changes a row of its own login'), ('run_one', 'likewise'), ('run_top_level', 'likewise'), ('new_transaction', 'likewise'),
    ('commit', 'commits'), ('tidy_up', 'resets the session'), ('start_queued', 'starts what waits'),
    ('apply_settings', 'sets what the caller may set'), ('perform', 'runs statements with the caller''s rights'),
    ('with_params', 'likewise'), ('execute', 'likewise'), ('end_held_cursors', 'likewise'), ('keep_rows', 'likewise'),
    ('plain_literal', 'writes a row as text'), ('columns', 'reads a row''s columns'), ('without_values', 'likewise'),
    ('kind', 'likewise'), ('answer', 'likewise'), ('last_progress', 'reads the session''s own last report'),
    ('in_english', 'messages of this transaction in English'), ('probe', 'text of a query'), ('learned', 'reads an error'),
    ('typed_rows', 'text of a query'), ('open_result', 'Python of result()'), ('open_query', 'Python of run_query()'),
    ('records', 'Python of result()'), ('literals', 'likewise'), ('all_read', 'compares two numbers'),
    ('keep_cron_job', 'makes and changes schedules of the caller''s own'), ('forget_cron_job', 'forgets them'),
    ('connections_left', 'a number');
