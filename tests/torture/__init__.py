"""Torture: many processes work on one store and are killed at every step; nothing may be lost.

``python -m tests.torture --minutes 10`` runs it; ``make torture MINUTES=60`` does the same.
"""
