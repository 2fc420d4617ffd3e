"""The tests; a package so that `from tests.fix_wait import ...` means this folder and no other."""
