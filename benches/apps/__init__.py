"""The tasks of `benches.work` and a `library` of `benches.library`'s kind, once for each library."""
