"""How fast Atop is, beside what a user would write by hand. Run ``make bench``."""
