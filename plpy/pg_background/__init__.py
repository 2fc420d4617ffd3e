"""What runs inside the server when a session uses pg_background."""
