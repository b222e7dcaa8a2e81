"""Seeded fuzzing of what users and markets hand in: every case ends well, or in a short error that can be read."""
