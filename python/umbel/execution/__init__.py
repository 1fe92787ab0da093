"""Running tasks: the tracer of a worker's children, and eager runs in place."""
