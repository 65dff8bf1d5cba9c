"""The tab of the tests of the dashboard."""

from collections.abc import Iterator

import pytest
from chromium_tab import Tab, chromium_tab


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium_tab(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened
