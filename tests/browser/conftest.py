"""Fixtures for tests in a real browser. All are closed when this room's tests are done: playwright's event loop, while
it runs, would keep other tests from starting one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.rig import PATIENCE, Notebook, Server, launch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this room is a browser test: leave them out with -m 'not browser'."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("browser")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Where a test failed: what the browser's console said, and a picture of the page."""
    report = yield
    page = getattr(item, "funcargs", {}).get("page")
    if page is not None and report.when == "call" and report.failed:
        picture = item.funcargs["tmp_path"] / "page.png"
        page.screenshot(path=picture)
        report.sections.append(("browser", "\n".join([f"screenshot: {picture}", *page.said])))
    return report


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Jupyter server for all tests of this room."""
    with Server(tmp_path_factory.mktemp("jupyter")) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A real Chromium or Chrome without a window. Where there is none, every test that needs it fails."""
    with sync_playwright() as playwright, launch(playwright) as running:
        yield running


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """An empty page with nothing remembered; `page.said` holds the console's errors and exceptions."""
    with browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True) as context:
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        page.said = []
        page.on("console", lambda m: page.said.append(f"{m.type}: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: page.said.append(f"exception: {error}"))
        yield page


@pytest.fixture
def notebook(server: Server, page: Page) -> Iterator[Callable[..., Notebook]]:
    """`notebook("code of cell 1", …, app="lab")` writes a notebook, opens it and runs it; kernels end with the test."""

    def open_and_run(*cells: str, app: str = "lab") -> Notebook:
        opened = Notebook(server, page, server.write(*cells), app)
        if app != "voila":
            opened.run_all()
        return opened

    yield open_and_run
    server.stop_kernels()
