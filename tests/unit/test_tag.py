"""Command tags and kinds, as a PostgreSQL server gives them and behaves."""

from __future__ import annotations

import pytest

from pg_background.statement import classify
from pg_background.tag import (
    CLIENT_COPY,
    INTO,
    MAYBE,
    NONE,
    ROWS,
    SET_TRANSACTION,
    TOP,
    TRANSACTION,
    describe,
    full_tag,
)

# tag | kind | statement: the tag that a server of version 15 reported, whether rows came back,
# whether it refused to run within a transaction block.
VERIFIED = r"""
ALTER AGGREGATE | none | alter aggregate agg(int) rename to agg2
ALTER COLLATION | none | alter collation coll rename to coll2
ALTER CONVERSION | none | alter conversion conv rename to conv1
ALTER DATABASE | none | alter database db1 set work_mem = '1MB'
ALTER DATABASE | none | alter database db1 with connection limit 3
ALTER DATABASE | none | alter database db1 rename to db2
ALTER DATABASE | top | alter database db2 set tablespace tsp2
ALTER DATABASE | top | alter database db2 set tablespace pg_default
ALTER DEFAULT PRIVILEGES | none | alter default privileges grant select on tables to r1
ALTER DEFAULT PRIVILEGES | none | alter default privileges revoke select on tables from r1
ALTER DOMAIN | none | alter domain dom rename constraint dc to dc2
ALTER DOMAIN | none | alter domain dom drop not null
ALTER EVENT TRIGGER | none | alter event trigger et disable
ALTER EVENT TRIGGER | none | alter event trigger et rename to et1
ALTER EXTENSION | none | alter extension hstore update
ALTER EXTENSION | none | alter extension hstore add table t
ALTER EXTENSION | none | alter extension hstore drop table t
ALTER FOREIGN DATA WRAPPER | none | alter foreign data wrapper fdw options (add y '2')
ALTER FOREIGN TABLE | none | alter foreign table ft add column b int
ALTER FOREIGN TABLE | none | alter foreign table ft rename column c to b
ALTER FUNCTION | none | alter function f(int) immutable
ALTER INDEX | none | alter index ti2 rename to ti
ALTER INDEX | none | alter index ti set (fillfactor = 50)
ALTER INDEX | none | alter index all in tablespace pg_default set tablespace pg_default
ALTER LANGUAGE | none | alter procedural language plpython3u rename to plpy3
ALTER LANGUAGE | none | alter language plpy3 rename to plpython3u
ALTER LARGE OBJECT | none | alter large object 4711 owner to postgres
ALTER MATERIALIZED VIEW | none | alter materialized view mv rename to mv1
ALTER MATERIALIZED VIEW | none | alter materialized view mv1 rename column a to b
ALTER OPERATOR | none | alter operator === (int, int) owner to postgres
ALTER OPERATOR CLASS | none | alter operator class oc2 using hash rename to oc3
ALTER OPERATOR FAMILY | none | alter operator family of1 using btree rename to of2
ALTER POLICY | none | alter policy pol on t using (false)
ALTER POLICY | none | alter policy pol on t rename to pol1
ALTER PROCEDURE | none | alter procedure p() rename to p1
ALTER PUBLICATION | none | alter publication pub set (publish = 'insert')
ALTER PUBLICATION | none | alter publication pub rename to pub1
ALTER ROLE | none | alter role r1 login
ALTER ROLE | none | alter user u1 set work_mem = '1MB'
ALTER ROLE | none | alter group g1 add user u1
ALTER ROLE | none | alter role r2 rename to r3
ALTER ROUTINE | none | alter routine p1() rename to p
ALTER RULE | none | alter rule ru on ctas rename to ru1
ALTER SCHEMA | none | alter schema sc rename to sc1
ALTER SEQUENCE | none | alter sequence s restart
ALTER SEQUENCE | none | alter sequence s rename to s2
ALTER SERVER | none | alter server srv version '1'
ALTER STATISTICS | none | alter statistics st set statistics 10
ALTER STATISTICS | none | alter statistics st rename to st1
ALTER SUBSCRIPTION | none | alter subscription sub set (slot_name = none)
ALTER SUBSCRIPTION | none | alter subscription sub disable
ALTER SUBSCRIPTION | top | alter subscription sub refresh publication
ALTER SUBSCRIPTION | top | alter subscription sub set publication p2
ALTER SUBSCRIPTION | top | alter subscription sub add publication p3 with (refresh = false)
ALTER SUBSCRIPTION | top | alter subscription sub drop publication p3
ALTER SUBSCRIPTION | none | alter subscription sub rename to sub1
ALTER SYSTEM | top | alter system set work_mem = '2MB'
ALTER SYSTEM | top | alter system reset all
ALTER TABLE | none | alter table t add column c int
ALTER TABLE | none | alter table t rename column c to d
ALTER TABLE | none | alter table v rename to v1
ALTER TABLE | none | alter table v1 rename column a to b
ALTER TABLE | none | alter table t add constraint tc check (a > -100)
ALTER TABLE | none | alter table t rename constraint tc to tcc
ALTER TABLE | none | alter table ti rename to ti2
ALTER TABLE | none | alter table t owner to postgres
ALTER TABLE | none | alter table t set schema public
ALTER TABLE | none | alter table t enable row level security
ALTER TABLE | none | alter table all in tablespace pg_default set tablespace pg_default
ALTER TABLE | top | alter table parted detach partition part1 concurrently
ALTER TABLE | none | alter table parted detach partition part2
ALTER TABLE | none | alter table parted attach partition part2 for values in (2)
ALTER TABLE | none | alter table ft rename column b to c
ALTER TABLESPACE | none | alter tablespace tsp set (random_page_cost = 2)
ALTER TABLESPACE | none | alter tablespace tsp rename to tsp2
ALTER TEXT SEARCH CONFIGURATION | none | alter text search configuration tsc rename to tsc1
ALTER TEXT SEARCH DICTIONARY | none | alter text search dictionary tsd (accept = false)
ALTER TEXT SEARCH PARSER | none | alter text search parser tsp rename to tsp1
ALTER TEXT SEARCH TEMPLATE | none | alter text search template tst rename to tst1
ALTER TRIGGER | none | alter trigger tr on t rename to tr1
ALTER TYPE | none | alter type ty add attribute b int
ALTER TYPE | none | alter type ty rename attribute b to c
ALTER TYPE | none | alter type en add value 'b'
ALTER USER MAPPING | none | alter user mapping for postgres server srv options (add x '1')
ALTER VIEW | none | alter view v1 rename to v
ALTER VIEW | none | alter view v rename column b to a
ALTER VIEW | none | alter view v set (security_barrier = on)
ANALYZE | none | analyze
ANALYZE | none | analyze t
ANALYZE | none | analyze verbose t (a)
BEGIN | transaction | begin
BEGIN | transaction | begin transaction isolation level serializable
BEGIN | transaction | begin work
CALL | top | call p()
CALL | top | call pinout(1)
CALL | top | call pc()
CHECKPOINT | none | checkpoint
CLOSE CURSOR | none | close cur
CLOSE CURSOR ALL | none | close all
CLUSTER | none | cluster t using t_pkey
CLUSTER | none | cluster verbose t
CLUSTER | none | cluster (verbose) t
CLUSTER | top | cluster
CLUSTER | top | cluster verbose
COMMENT | none | comment on large object 4711 is 'x'
COMMENT | none | comment on table t is 'x'
COMMIT | transaction | end
COMMIT | transaction | commit
COMMIT PREPARED | top | commit prepared 'x'
COPY | client copy | copy t to stdout
COPY | client copy | copy t (a) to stdout with (format csv)
COPY | client copy | copy (select 1) to stdout
COPY | client copy | copy t to stdin
COPY | none | copy t to '/tmp/stmt-helper/ts2/copy.txt'
COPY | none | copy ctas from '/dev/null'
COPY | none | copy t to program 'cat > /dev/null'
COPY | none | copy (insert into ctas values (5) returning a) to '/dev/null'
CREATE ACCESS METHOD | none | create access method am1 type index handler bthandler
CREATE AGGREGATE | none | create aggregate agg(int) (sfunc = int4pl, stype = int)
CREATE CAST | none | create cast (text as en) with inout
CREATE COLLATION | none | create collation coll from "C"
CREATE CONVERSION | none | create conversion conv for 'UTF8' to 'LATIN1' from utf8_to_iso8859_1
CREATE CONVERSION | none | create default conversion c for 'LATIN1' to 'UTF8' from f
CREATE DATABASE | top | create database db1
CREATE DOMAIN | none | create domain dom as int constraint dc check (value > 0)
CREATE EVENT TRIGGER | none | create event trigger e on ddl_command_start execute function f()
CREATE EXTENSION | none | create extension hstore
CREATE EXTENSION | none | create extension if not exists hstore
CREATE EXTENSION | none | create language plpython3u
CREATE FOREIGN DATA WRAPPER | none | create foreign data wrapper fdw
CREATE FOREIGN TABLE | none | create foreign table ft (a int) server srv
CREATE FUNCTION | none | create function f(int) returns int language sql as 'select $1'
CREATE FUNCTION | none | create or replace function f(int) returns int language sql as 'select $1'
CREATE FUNCTION | none | create function f() returns int begin atomic select 1; select 2; end
CREATE INDEX | none | create index ti on t (b)
CREATE INDEX | none | create unique index tiu on ctas (a)
CREATE INDEX | top | create index concurrently tic on t (b)
CREATE INDEX | top | create unique index concurrently if not exists tiuc on t (a)
CREATE INDEX | none | create index on t (b)
CREATE INDEX | none | create unique index on mv (a)
CREATE LANGUAGE | none | create language l1 handler plpgsql_call_handler
CREATE LANGUAGE | none | create or replace trusted procedural language l handler h
CREATE MATERIALIZED VIEW | none | create materialized view mv2 as select 1 as a with no data
CREATE OPERATOR | none | create operator === (leftarg = int, rightarg = int, function = int4eq)
CREATE OPERATOR CLASS | none | create operator class oc2 for type int using hash as operator 1 =
CREATE OPERATOR FAMILY | none | create operator family of1 using btree
CREATE POLICY | none | create policy pol on t using (true)
CREATE PROCEDURE | none | create procedure p() language sql as 'select 1'
CREATE PROCEDURE | none | create procedure pc() language plpgsql as $$ begin commit; end $$
CREATE PUBLICATION | none | create publication pub for table t
CREATE ROLE | none | create role r1
CREATE ROLE | none | create user u1
CREATE ROLE | none | create group g1
CREATE ROLE | none | create role r2
CREATE RULE | none | create rule ru as on update to ctas do also (select 1; select 2)
CREATE RULE | none | create or replace rule ru as on update to ctas do instead nothing
CREATE SCHEMA | none | create schema sc
CREATE SCHEMA | none | create schema sc2 create table x (a int) create view y as select 1
CREATE SEQUENCE | none | create sequence s
CREATE SEQUENCE | none | create temp sequence ts
CREATE SERVER | none | create server srv foreign data wrapper fdw
CREATE STATISTICS | none | create statistics st on a, b from t
CREATE SUBSCRIPTION | top | create subscription sub connection 'dbname=postgres' publication pub
CREATE TABLE | none | create table t (a int primary key, b text)
CREATE TABLE | none | create table if not exists t (a int)
CREATE TABLE | none | create temp table tt (a int)
CREATE TABLE | none | create temporary table tt2 (a int) on commit drop
CREATE TABLE | none | create unlogged table ut (a int)
CREATE TABLE | none | create local temp table ltt (a int)
CREATE TABLE | none | create table gen (a int, b int generated always as (a * 2) stored)
CREATE TABLE | none | create table parted (a int) partition by list (a)
CREATE TABLE | none | create table part1 partition of parted for values in (1)
CREATE TABLE | none | create table part2 partition of parted for values in (2)
CREATE TABLE AS | none | create table ctas4 as (select 1 as a) with no data
CREATE TABLESPACE | top | create tablespace tsp location '/tmp/stmt-helper/ts'
CREATE TEXT SEARCH CONFIGURATION | none | create text search configuration tsc (copy = simple)
CREATE TEXT SEARCH DICTIONARY | none | create text search dictionary tsd (template = simple)
CREATE TEXT SEARCH PARSER | none | create text search parser p (start = a, gettoken = b, end = c)
CREATE TEXT SEARCH TEMPLATE | none | create text search template tst (lexize = dsimple_lexize)
CREATE TRANSFORM | none | create transform for en language sql (from sql with function f(internal))
CREATE TRIGGER | none | create trigger tr before insert on t for each row execute function trf()
CREATE TRIGGER | none | create or replace trigger g before insert on t execute function f()
CREATE TRIGGER | none | create constraint trigger g after insert on t execute function f()
CREATE TYPE | none | create type ty as (a int)
CREATE TYPE | none | create type en as enum ('a')
CREATE TYPE | none | create type shell
CREATE USER MAPPING | none | create user mapping for postgres server srv
CREATE USER MAPPING | none | create user mapping if not exists for postgres server srv
CREATE VIEW | none | create view v as select 1 as a
CREATE VIEW | none | create or replace view v as select 1 as a
CREATE VIEW | none | create or replace temp view tv as select 1 as a
CREATE VIEW | none | create recursive view rv (a) as select 1
DEALLOCATE | none | deallocate ps
DEALLOCATE | none | deallocate prepare ps2
DEALLOCATE ALL | none | deallocate all
DECLARE CURSOR | none | declare cur cursor for select 1
DELETE | none | delete from t where a = 9
DELETE | rows | delete from t where a = 9 returning a
DELETE | none | with w as (select 8 as a) delete from t using w where t.a = w.a
DISCARD ALL | top | discard all
DISCARD PLANS | none | discard plans
DISCARD SEQUENCES | none | discard sequences
DISCARD TEMP | none | discard temp
DISCARD TEMP | none | discard temporary
DO | none | do $$ begin null; end $$
DO | top | do $$ begin commit; end $$
DO | top | do $$ begin call pc(); end $$
DO | top | do language plpython3u 'plpy.commit()'
DROP ACCESS METHOD | none | drop access method am1
DROP AGGREGATE | none | drop aggregate agg2(int)
DROP CAST | none | drop cast (text as en)
DROP COLLATION | none | drop collation coll2
DROP CONVERSION | none | drop conversion conv1
DROP CONVERSION | none | drop conversion conv2
DROP DATABASE | top | drop database db2
DROP DATABASE | top | drop database if exists db2 with (force)
DROP DOMAIN | none | drop domain dom
DROP EVENT TRIGGER | none | drop event trigger et1
DROP EXTENSION | none | drop extension hstore
DROP EXTENSION | none | drop extension plpython3u
DROP FOREIGN DATA WRAPPER | none | drop foreign data wrapper fdw
DROP FOREIGN TABLE | none | drop foreign table ft
DROP FUNCTION | none | drop function f(int)
DROP INDEX | top | drop index concurrently tic
DROP INDEX | none | drop index tiuc
DROP INDEX | none | drop index tiu
DROP LANGUAGE | none | drop procedural language l1
DROP MATERIALIZED VIEW | none | drop materialized view mv1
DROP OPERATOR | none | drop operator === (int, int)
DROP OPERATOR CLASS | none | drop operator class oc3 using hash
DROP OPERATOR FAMILY | none | drop operator family of2 using btree
DROP OWNED | none | drop owned by r3
DROP POLICY | none | drop policy pol1 on t
DROP PROCEDURE | none | drop procedure p()
DROP PUBLICATION | none | drop publication pub1
DROP ROLE | none | drop group g1
DROP ROLE | none | drop user u1
DROP ROLE | none | drop role if exists r3
DROP ROUTINE | none | drop routine pc()
DROP RULE | none | drop rule ru1 on ctas
DROP SCHEMA | none | drop schema sc2 cascade
DROP SCHEMA | none | drop schema sc1
DROP SEQUENCE | none | drop sequence s2
DROP SERVER | none | drop server srv
DROP STATISTICS | none | drop statistics st1
DROP SUBSCRIPTION | top | drop subscription sub1
DROP SUBSCRIPTION | top | drop subscription if exists sub
DROP TABLE | none | drop table ut, ctas3
DROP TABLESPACE | top | drop tablespace tsp2
DROP TEXT SEARCH CONFIGURATION | none | drop text search configuration tsc1
DROP TEXT SEARCH DICTIONARY | none | drop text search dictionary tsd
DROP TEXT SEARCH PARSER | none | drop text search parser tsp1
DROP TEXT SEARCH TEMPLATE | none | drop text search template tst1
DROP TRANSFORM | none | drop transform for en language sql
DROP TRIGGER | none | drop trigger tr1 on t
DROP TYPE | none | drop type ty
DROP USER MAPPING | none | drop user mapping for postgres server srv
DROP USER MAPPING | none | drop user mapping if exists for postgres server srv
DROP VIEW | none | drop view v
EXPLAIN | rows | explain select 1
EXPLAIN | rows | explain (analyze, costs off) select 1
EXPLAIN | rows | explain analyze create table ex as select 1
EXPLAIN | rows | explain analyze insert into ctas values (4)
EXPLAIN | rows | explain execute ps
FETCH | maybe | fetch cur
FETCH | maybe | fetch 2 from "a b"
FETCH | maybe | fetch all in "a b"
GRANT | none | grant select on t to r1
GRANT | none | grant all on schema public to r1
GRANT | none | grant select (a) on t to r1
GRANT | none | grant select on large object 4711 to r1
GRANT ROLE | none | grant r1 to r3
GRANT ROLE | none | grant r1, r3 to u1 with admin option
IMPORT FOREIGN SCHEMA | none | import foreign schema x from server srv into public
INSERT | none | insert into parted values (1)
INSERT | none | insert into t values (1, 'x')
INSERT | rows | insert into t values (2, 'x') returning a
INSERT | none | insert into t values (2, 'x') on conflict (a) do update set b = 'y'
INSERT | none | with w as (select 7 as a) insert into t select a from w
INSERT | rows | with w as (select 8 as a) insert into t select a from w returning a
INSERT | none | insert into ctas values (9)
LISTEN | none | listen ch
LOAD | none | load 'auto_explain'
LOCK TABLE | none | lock table t
LOCK TABLE | none | lock t in share mode
MERGE | none | with s as (select 1 as a) merge into t using s on t.a = s.a when matched then delete
MOVE | none | move backward 1 in "a b"
NOTIFY | none | notify ch, 'x'
PREPARE | none | prepare ps as select 1
PREPARE | none | prepare ps2(int) as insert into ctas values ($1)
PREPARE | none | prepare transaction as select 1
PREPARE TRANSACTION | transaction | prepare transaction 'x'
PREPARE TRANSACTION | transaction | prepare transaction 'y'
REASSIGN OWNED | none | reassign owned by r3 to postgres
REFRESH MATERIALIZED VIEW | none | refresh materialized view mv
REFRESH MATERIALIZED VIEW | none | refresh materialized view concurrently mv
REINDEX | none | reindex table t
REINDEX | none | reindex index t_pkey
REINDEX | none | reindex (verbose) table t
REINDEX | top | reindex table concurrently t
REINDEX | top | reindex index concurrently t_pkey
REINDEX | top | reindex (concurrently) table t
REINDEX | none | reindex (concurrently false) table t
REINDEX | top | reindex schema public
REINDEX | top | reindex database postgres
REINDEX | top | reindex system postgres
RELEASE | transaction | release savepoint sp
RESET | none | reset work_mem
RESET | none | reset all
REVOKE | none | revoke select on t from r1
REVOKE | none | revoke grant option for select on t from r1
REVOKE ROLE | none | revoke admin option for r1 from u1
REVOKE ROLE | none | revoke r1 from r3
REVOKE ROLE | none | revoke r3 from u1
ROLLBACK | transaction | rollback to savepoint sp
ROLLBACK | transaction | rollback to sp
ROLLBACK | transaction | abort
ROLLBACK | transaction | rollback and no chain
ROLLBACK PREPARED | top | rollback prepared 'y'
SAVEPOINT | transaction | savepoint sp
SECURITY LABEL | none | security label on table t is null
SELECT | none | create table ctas as select 1 as a
SELECT | none | create temp table ctas2 on commit drop as values (1), (2)
SELECT | none | create table ctas3 (x) as table ctas
SELECT | none | create unlogged table ctas5 as with w as (select 1 as a) select * from w
SELECT | rows | select 1
SELECT | into | select a into sel_into from t
SELECT | into | (select a into sel_into2 from t)
SELECT | into | select a into temp sel_into3 from t
SELECT | into | with w as (select 1 as a) select a into sel_into4 from w
SELECT | rows | values (1), (2)
SELECT | rows | table t
SELECT | rows | (((select 1)) union all select 2)
SELECT | rows | (with w as (select 1) select * from w)
SELECT | rows | with w as (select 1) (select * from w)
SELECT | rows | with w as (values (1)), values as (select 2) values (3)
SELECT | rows | with w as (values (1)) table w
SELECT | rows | select 1 as into
SELECT | rows | select
SELECT | rows | select for_.a from t as for_ for update
SELECT | rows | select a from t for no key update
SELECT | rows | select a from t for share
SELECT | rows | select a from t for key share
SELECT | rows | with w as (insert into t values (10) returning a) select * from w
SELECT | none | create materialized view mv as select 1 as a
SELECT | rows | select lo_create(4711)
SELECT | none | create table ctase as execute ps
SET | none | set work_mem = '1MB'
SET | none | set local work_mem = '1MB'
SET | none | set session work_mem to default
SET | none | set time zone 'UTC'
SET | none | set session characteristics as transaction isolation level read committed
SET | none | set session authorization default
SET | none | set role none
SET | set transaction | set transaction isolation level read committed
SET | set transaction | set local transaction read only
SET CONSTRAINTS | none | set constraints all immediate
SHOW | rows | show work_mem
SHOW | rows | show all
SHOW | rows | show time zone
START TRANSACTION | transaction | start transaction
TRUNCATE TABLE | none | truncate t
TRUNCATE TABLE | none | truncate table only t, ctas restart identity
UNLISTEN | none | unlisten ch
UNLISTEN | none | unlisten *
UPDATE | none | update t set b = 'z'
UPDATE | rows | update t set b = 'z' returning *
UPDATE | none | with w as (insert into t values (11) returning a) update t set b = 'q'
VACUUM | top | vacuum
VACUUM | top | vacuum t
VACUUM | top | vacuum (full, verbose) t
VACUUM | top | vacuum full analyze t
"""


def verified() -> list[tuple[str, str, str]]:
    rows = []
    for line in VERIFIED.strip().splitlines():
        tag, kind, sql = line.split(" | ", 2)
        rows.append((sql, tag, kind))
    return rows


@pytest.mark.parametrize(("sql", "tag", "kind"), verified())
def test_a_statement_has_the_tag_and_kind_that_the_server_gives_it(
    sql: str, tag: str, kind: str
) -> None:
    assert (classify(sql).tag, classify(sql).kind) == (tag, kind)


@pytest.mark.parametrize(("sql", "tag", "kind"), verified())
def test_letter_case_and_comments_do_not_matter(sql: str, tag: str, kind: str) -> None:
    head, _, rest = sql.partition(" ")
    disguised = f"/* ; select */ -- '\n{head.upper()} /* x */ {rest} -- insert"
    assert (classify(disguised).tag, classify(disguised).kind) == (tag, kind)


@pytest.mark.parametrize(
    "sql",
    [
        "reindex (verbose, concurrently on) index i",
        "reindex(concurrently)table t",
        "vacuum(full)t",
        "drop index /* now */ concurrently i",
        "create unique index concurrently on t (a)",
        "alter table only s.t detach partition p concurrently",
        "alter subscription s refresh publication",
        "alter subscription s set (failover = true)",
        "create subscription s connection '' publication p",
        "cluster(verbose)",
        "call s.p(1)",
        'CALL"P"()',
    ],
)
def test_what_refuses_a_transaction_block_runs_at_top_level(sql: str) -> None:
    assert classify(sql).kind == TOP


@pytest.mark.parametrize(
    "sql",
    [
        "refresh materialized view concurrently mv",
        "reindex (concurrently off) table t",
        'reindex table "concurrently"',
        'create index "concurrently" on t (a)',
        "alter table t detach partition p",
        "alter database d set work_mem = '1MB'",
        "alter system_table rename to x",
        "comment on table t is 'create index concurrently'",
        "cluster (verbose) t",
        "analyze",
    ],
)
def test_what_runs_in_a_transaction_block_stays_inline(sql: str) -> None:
    assert classify(sql).kind == NONE


@pytest.mark.parametrize(
    "body",
    [
        "begin commit; end",
        "begin COMMIT AND CHAIN; end",
        "begin rollback; end",
        "begin insert into t values ('it''s'); commit; end",
        "begin call p(); end",
        "begin /* fine */ commit; end",
        "begin perform 'unterminated; commit; end",
    ],
)
def test_do_that_may_end_transactions_runs_at_top_level(body: str) -> None:
    assert classify(f"do $$ {body} $$").kind == TOP
    assert classify(f"DO language plpgsql $x$ {body} $x$").kind == TOP
    assert classify(f"-- $a$ $a$\ndo $_ä$ {body} $_ä$ language plpgsql").kind == TOP


@pytest.mark.parametrize(
    "sql",
    [
        "do 'begin commit; end'",
        "do E'begin commit;\\n end'",
        "do language plpython3u $$ plpy.commit() $$",
        "do $$ # it's\nplpy.rollback()\n$$ language plpython3u",
        "do language 'plpgsql' $$ begin commit; end $$",
        'do language "plpgsql" $$ begin commit; end $$',
    ],
)
def test_do_in_other_languages_and_quotes_is_searched_as_well(sql: str) -> None:
    assert classify(sql).kind == TOP


@pytest.mark.parametrize(
    "body",
    [
        "begin null; end",
        "begin -- commit\n null; end",
        "begin /* rollback */ null; end",
        "begin raise notice 'commit'; end",
        'begin perform committed, rollback_segment, "commit" from call_log; end',
        "begin execute $q$ select 'call' $q$; end",
    ],
)
def test_do_that_only_mentions_the_words_stays_inline(body: str) -> None:
    assert classify(f"do $$ {body} $$").kind == NONE


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("with a as (insert into t values (1) returning x) select * from a", ROWS),
        ("with a as (delete from t returning x) insert into u select x from a", NONE),
        ("with a as (select 1) insert into u select 1 returning x", ROWS),
        ("with a as (select 1) select 1 into t from a", INTO),
        ("with a as (select 1 as into) select 1 from a", ROWS),
        ("with a(x) as not materialized (select ')') select x from a", ROWS),
        ("with recursive a as (select 1) cycle x set y using z select 1", ROWS),
        ("with insert as (select 1), delete as (select 2) select 3", ROWS),
        ("with a as (select 1)select 1", ROWS),
        ("with a as (select 1) (with b as (select 2) (select 3))", ROWS),
        ("with a as (values (1),(2), (3)) select 1", ROWS),
        ("with", MAYBE),
        ("with a as (", MAYBE),
        ("with a as () ()", MAYBE),
    ],
)
def test_the_main_query_behind_with_decides(sql: str, kind: str) -> None:
    assert classify(sql).kind == kind


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("select 1 as into", ROWS),
        ("select r.into from r", ROWS),
        ("select 'into'", ROWS),
        ('select "into" from t', ROWS),
        ("select (select 1) into t", INTO),
        ("((select 1 into t) union all select 2)", INTO),
        ("insert into t (x) select 1 as returning", NONE),
        ("update t set a = (select returning.b)", NONE),
        ("update t set a = 'returning'", NONE),
        ("delete from t returning(a)", ROWS),
    ],
)
def test_keywords_count_only_where_they_are_keywords(sql: str, kind: str) -> None:
    assert classify(sql).kind == kind


@pytest.mark.parametrize(
    "sql",
    [
        "copy t from stdin",
        "copy binary t from stdin",
        "COPY s.t (a, b) FROM STDIN WITH (format csv)",
        "copy(select 1)to stdout",
        "copy (select a from t where b = 'to x') to stdout",
        'copy "from" to /* x */ stdout',
    ],
)
def test_copy_to_or_from_the_client_is_told_apart(sql: str) -> None:
    assert (classify(sql).tag, classify(sql).kind) == ("COPY", CLIENT_COPY)


@pytest.mark.parametrize(
    "sql",
    ["copy stdin from '/x'", "copy stdout to program 'x stdout'", "copy (table stdout) to '/x'"],
)
def test_copy_to_or_from_the_server_is_an_ordinary_command(sql: str) -> None:
    assert classify(sql).kind == NONE


def test_transaction_commands_are_told_apart_from_their_namesakes() -> None:
    assert classify("prepare transaction 'x'").kind == TRANSACTION
    assert classify("prepare transaction as select 1").kind == NONE
    assert classify("set session transaction read only").kind == SET_TRANSACTION
    assert classify("set session characteristics as transaction read only").kind == NONE


def test_a_role_named_mapping_is_no_user_mapping() -> None:
    assert classify("create user mapping").tag == "CREATE ROLE"
    assert classify("create user mapping for u server s").tag == "CREATE USER MAPPING"


def test_an_unknown_command_is_left_to_the_server() -> None:
    assert describe("frobnicate t") == ("FROBNICATE", MAYBE)


def test_no_command_has_no_tag() -> None:
    assert (classify("").tag, classify("").kind) == ("", NONE)
    assert classify("/* nothing */ -- here").tag == ""


@pytest.mark.parametrize(
    ("tag", "full"),
    [
        ("INSERT", "INSERT 0 2"),
        ("SELECT", "SELECT 2"),
        ("UPDATE", "UPDATE 2"),
        ("DELETE", "DELETE 2"),
        ("MERGE", "MERGE 2"),
        ("COPY", "COPY 2"),
        ("FETCH", "FETCH 2"),
        ("MOVE", "MOVE 2"),
        ("CREATE TABLE", "CREATE TABLE"),
        ("CALL", "CALL"),
        ("", ""),
    ],
)
def test_the_full_tag_counts_rows_where_the_server_does(tag: str, full: str) -> None:
    assert full_tag(tag, 2) == full
