"""What the Makefile runs and the tests share; nothing of it goes into a database."""
