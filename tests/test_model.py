"""The whole object API against plain dicts: any order of calls leaves what the dicts have.

``MODEL_EXAMPLES`` says how many orders of calls are tried, ``make model`` tries many.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.models.beside import Beside
from tests.models.caring import Caring
from tests.models.changes import Changes
from tests.models.pooling import Pooling


class Machine(Changes, Pooling, Beside, Caring):
    """Everything in any order."""


TestModel = Machine.TestCase
TestModel.settings = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "40")), stateful_step_count=50,
    deadline=None, database=None, suppress_health_check=list(HealthCheck),
)
