"""Recorded jobs of the emulator, and what its own engine wrote of each."""
