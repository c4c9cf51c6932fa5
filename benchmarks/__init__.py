"""Measurements: one file a question, results side by side in one run. See docs/performance.md."""
