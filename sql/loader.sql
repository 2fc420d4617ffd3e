-- How the Python modules come to life: their sources stand in functions, one a module; what they compile to is kept in a table.

create table pgbackground.module_code (
    name text not null,
    hexversion int4 not null,
    code bytea not null,
    primary key (name, hexversion)
);
comment on table pgbackground.module_code is
    'The Python modules, compiled at installation for the server''s Python; another Python compiles them itself, which takes longer.';

-- Purpose: a module as code for this Python, or where that is not at hand (Python itself was upgraded), its source.
create function pgbackground.module(module text, python int4, out code bytea, out source text)
language plpgsql stable parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $plpgsql$
begin
    select m.code into code from pgbackground.module_code m where m.name = module and m.hexversion = python;
    if not found then
        execute format('select pgbackground.%I()', 'source_' || module) into source;
    end if;
end
$plpgsql$;

-- Purpose: make the modules importable in this session, as the package pg_background, and its verbs callable. Each is fetched when it
-- is first imported. The key in GD holds a hash of the sources: a session that is open during an upgrade loads the new ones by itself.
create function pgbackground.load() returns void
language plpython3u volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $python$
import marshal
import sys

plan = plpy.prepare('select code, source from pgbackground.module($1, $2)', ["pg_catalog.text", "pg_catalog.int4"])


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "pg_background" or name.startswith("pg_background."):
            spec = sys.modules["_frozen_importlib"].ModuleSpec(name, self, is_package=name == "pg_background")
            spec.origin = name.replace(".", "/") + ".py"
            return spec
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__.rpartition(".")[2] if "." in module.__name__ else "__init__"
        found = plpy.execute(plan, [name, sys.hexversion])[0]
        if found["code"] is None:
            code = compile(found["source"], module.__spec__.origin, "exec", optimize=2)
        else:
            code = marshal.loads(found["code"])
        exec(code, module.__dict__)


for name in [name for name in sys.modules if name == "pg_background" or name.startswith("pg_background.")]:
    del sys.modules[name]
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "Finder" or not hasattr(finder, "exec_module")]
sys.meta_path.append(Finder())

from pg_background import db

db.GLOBALS = GD
from pg_background import api

GD["pg_background @hash@"] = api
$python$;

-- Purpose: compile the modules for this server's Python. Run by the installation, and after Python itself was upgraded.
create function pgbackground.compile() returns int4
language plpython3u volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $python$
import marshal
import sys

insert = plpy.prepare(
    'insert into pgbackground.module_code values ($1, $2, $3)'
    " on conflict (name, hexversion) do update set code = excluded.code",
    ["text", "int4", "bytea"],
)
names = "@modules@".split()
for name in names:
    source = plpy.execute('select pgbackground.source_%s() as text' % name)[0]["text"]
    # Nobody reads docstrings here: they would only be loaded, by every session.
    code = compile(source, "pg_background/%s.py" % name, "exec", optimize=2)
    plpy.execute(insert, [name, sys.hexversion, marshal.dumps(code)])
return len(names)
$python$;

do $sql$ begin perform pgbackground.compile(); end $sql$;
