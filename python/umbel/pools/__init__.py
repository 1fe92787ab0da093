"""Pools: how tasks run. One file a pool; `base` says what one must do."""
