grant pgbackground_role to app;
alter role app set search_path = public, background;
