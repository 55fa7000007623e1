"""Benchmarks: many edits, one row each, resumable; and the reports that are made of the rows."""
