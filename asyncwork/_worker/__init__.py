"""The parts that run while a pool runs: dispatcher, workers and background services."""
