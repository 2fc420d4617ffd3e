-- Purpose: prove that a command that arrives over a link was written by the launcher's own code.
-- Parameters: the command's words, joined by '|'. Returns: hex digest. Reads: seal.
create function @extschema@._seal(words text) returns text
language plpgsql stable strict parallel restricted
set search_path = pg_catalog, pg_temp
as $plpgsql$
declare
    secret text;
begin
    select s.secret into secret from @extschema@.seal s;
    return encode(sha256(convert_to(concat_ws('|', secret, words, secret), 'UTF8')), 'hex');
end
$plpgsql$;
