"""Index entries by hand, for tables that sort bytes: an index's number, a key, and the id."""

from __future__ import annotations

from benchmarks.contacts import Person

NAME, EMAIL, BORN, CITY, END = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"


def entries(key: bytes, name: str, email: str, born: int) -> tuple[bytes, bytes, bytes]:
    """The entries of the contact whose id is `key`, 8 bytes."""
    return (
        b"%b%b\0%b" % (NAME, name.encode(), key),
        b"%b%b\0%b" % (EMAIL, email.encode(), key),
        by_year(key, born),
    )


def entries_of(key: bytes, person: Person) -> tuple[bytes, bytes, bytes]:
    """The same of a contact that was loaded."""
    return entries(key, person.name, person.email, person.born)


def by_year(key: bytes, born: int) -> bytes:
    """Its entry by year of birth."""
    return b"%b%b%b" % (BORN, born.to_bytes(4, "big"), key)


def by_city(key: bytes, city: str) -> bytes:
    """Its entry by city, if there is such an index."""
    return b"%b%b\0%b" % (CITY, city.encode(), key)


def at_name(name: str) -> bytes:
    """Where the entries of that name begin."""
    return b"%b%b\0" % (NAME, name.encode())


def after_name(name: str) -> bytes:
    """Where they end."""
    return b"%b%b\1" % (NAME, name.encode())


def name_in(entry: bytes) -> str:
    """The name in an entry by name."""
    return entry[1:-9].decode()


def number_of(entry: bytes) -> int:
    """The id that an entry leads to."""
    return int.from_bytes(entry[-8:], "big")
