"""Retention: what is purged when, and the proof of it."""
