"""Programs that show Atop at work; run each with ``python -m examples.NAME``."""
