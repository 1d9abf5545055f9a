"""The public names and their parameters, as they are published."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import atop
from atop import File, Index, Pool, Query, Store, Transaction, errors

SIGNATURES: dict[Any, str] = {
    Store: "path=None, readOnly=False, cacheSize, durable=True, allow=(), timeout, "
           "optimistic=False, key=None, token='', ca=None, cert=None, certKey=None, insecure=False",
    Store.transaction: "self",
    Store.transact: "self, call, *args, **kwargs",
    Store.begin: "self",
    Store.snapshot: "self",
    Store.add: "self, item",
    Store.delete: "self, item",
    Store.getItemByID: "self, id, default",
    Store.pool: "self, name, *indexes",
    Store.newFile: "self, name",
    Store.items: "self, cls=None",
    Store.close: "self",
    Transaction.commit: "self",
    Transaction.abort: "self",
    Pool.addItem: "self, item",
    Pool.removeItem: "self, item",
    Pool.addIndex: "self, index",
    Pool.dropIndex: "self, name",
    Pool.queryIndex:
        "self, name, startKey=None, endKey=None, backwards=False, prefix=None, key",
    Pool.getIndexItem: "self, name, key",
    Query.keys: "self",
    Query.ids: "self",
    Query.pairs: "self",
    Query.first: "self, default=None",
    Query.position: "self, key",
    Index: "name, key=None, unique=False, multiple=False",
    File.open: "self",
    File.write: "self, data",
}  # fmt: skip
UNSAID = {"cacheSize", "timeout", "default", "key"}


def test_all_is_what_is_published() -> None:
    assert atop.__all__ == [
        "AtopError", "File", "Index", "Item", "Pool", "Query", "Store", "Transaction", "errors",
        "transacted",
    ]  # fmt: skip
    assert all(hasattr(atop, name) for name in atop.__all__)


@pytest.mark.parametrize("call", SIGNATURES, ids=lambda call: call.__qualname__)
def test_parameters_have_their_published_names(call: Any) -> None:
    shown = []
    for name, parameter in inspect.signature(call).parameters.items():
        stars: dict[Any, str] = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        said = parameter.default is parameter.empty or (
            name in UNSAID and parameter.default is not None and call is not Index
        )
        shown.append(stars.get(parameter.kind, "") + name
                     + ("" if said else f"={parameter.default!r}"))
    assert ", ".join(shown) == SIGNATURES[call]


@pytest.mark.parametrize("name", ["backup", "verify", "checkpoint", "compact", "stats", "close"])
def test_a_store_takes_care_of_itself(name: str) -> None:
    assert callable(getattr(Store, name))


@pytest.mark.parametrize("name", ["name", "size", "sha256", "path"])
def test_a_file_has_attributes(name: str) -> None:
    with Store() as store, store.transaction():
        with store.newFile("a") as file:
            file.write(b"x")
        assert getattr(file, name)


def test_every_error_is_in_the_tree_that_errors_draws() -> None:
    drawn = errors.__doc__ or ""
    defined = [each for each in vars(errors).values()
               if isinstance(each, type) and issubclass(each, Exception)]
    assert [each.__name__ for each in defined if f" {each.__name__}" not in drawn] == []
    assert all(issubclass(each, errors.AtopError) for each in defined)
    assert all(each.__doc__ for each in defined)


def test_every_public_method_is_documented() -> None:
    for cls in (Store, Pool, Query, Index, File, Transaction, atop.Item):
        for name, value in vars(cls).items():
            if not name.startswith("_") and callable(value):
                assert value.__doc__, f"{cls.__name__}.{name}"


MODULES = [each.name for each in pkgutil.walk_packages(atop.__path__, "atop.")
           if not each.name.endswith("__main__")]


@pytest.mark.parametrize("name", ["atop", *MODULES])
def test_the_examples_in_docstrings_work(name: str) -> None:
    module = importlib.import_module(name)
    failed, tried = doctest.testmod(module)
    assert failed == 0
    assert tried or name != "atop", "the tour of the package is an example"
