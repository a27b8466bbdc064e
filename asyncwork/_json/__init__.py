"""Read and write JSON without changing a value: arguments, payloads and Go's own spelling."""
