"""The same tasks, once for each library."""
