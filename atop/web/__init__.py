"""The tabular data browser: any page of any table, sorted by any column, at once.

::

    import uvicorn
    from atop import Store
    from atop.web import app

    uvicorn.run(app(Store("pim.atop"), token="a secret"))

``atopdb browse STORE`` does it all, and opens the browser.
"""

from atop.web.app import Browser as app

__all__ = ["app"]
