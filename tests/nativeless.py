"""Modules as they are without what is written in C."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest


def python_only(module: ModuleType) -> ModuleType:
    """Another copy of `module`, as it is with ATOP_NATIVE=0."""
    assert module.__file__ is not None
    spec = importlib.util.spec_from_file_location("python_only", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATOP_NATIVE", "0")
        spec.loader.exec_module(copy)
    return copy
