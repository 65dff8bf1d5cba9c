"""The tab of the tests of the dashboard."""

from collections.abc import Iterator

import pytest
from harness import unavailable

from scripts.tools.chromium import Tab, chromium_tab, find_chromium


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if find_chromium() is None:
        unavailable("Chromium is not installed: the dashboard was not looked at")
    with chromium_tab(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened
