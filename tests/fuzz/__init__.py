"""Fuzzing: bytes that nobody meant, for each place that reads what others may have written."""
