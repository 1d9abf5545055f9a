"""A small personal information manager: mail, contacts and a calendar in one store.

Reading and storing are apart. ``mail``, ``contacts`` and ``calendars`` turn files into the plain
values of ``parsed`` and know nothing of Atop; ``importer`` puts these into a store as the items of
``model``; ``show`` queries the store and prints tables.
"""
