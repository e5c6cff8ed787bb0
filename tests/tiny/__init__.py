"""Sections, models and runs small enough for a test, for the test and for processes it starts."""
