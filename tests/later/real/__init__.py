"""Delivering later with its real parts: Redis, PostgreSQL, and workers as processes of their own.

All of these tests are tagged "real": they are run once, by a job of their own.
"""
