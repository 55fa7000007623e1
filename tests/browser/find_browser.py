"""Find a Chromium or Chrome on this machine, or install one: `python tests/browser/find_browser.py`.

`make test` runs it first; the browser tests themselves only look and never install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
USUAL_PLACES = {
    "linux": ("/usr/bin", "/usr/local/bin", "/snap/bin", "/opt/google/chrome"),
    "darwin": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "~/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    ),
    "win32": (
        r"%ProgramFiles%\Google\Chrome\Application\chrome.exe",
        r"%ProgramFiles(x86)%\Google\Chrome\Application\chrome.exe",
        r"%LocalAppData%\Google\Chrome\Application\chrome.exe",
        r"%ProgramFiles(x86)%\Microsoft\Edge\Application\msedge.exe",
    ),
}
BY_HAND = {
    "linux": "sudo apt-get install chromium (or the like for your distribution)",
    "darwin": "brew install --cask chromium",
    "win32": "winget install Google.Chrome",
}
PATIENCE = 600  # seconds for a download; one that can't even connect gives up by itself


class NoBrowser(RuntimeError):
    """There is no browser, and none could be installed."""


def find_browser() -> Path:
    """The browser to test with: $GOODDRAG_BROWSER, what is on PATH, in the usual places, or playwright's own."""
    for path in _candidates():
        if path.is_file():
            return path
    command = BY_HAND.get(sys.platform, "your system's package manager")
    raise NoBrowser(
        "The browser tests need Chromium or Chrome and found none: run `make test` with an internet connection, "
        f"install one with {command}, or name one in GOODDRAG_BROWSER."
    )


def find_or_install() -> Path:
    """Like `find_browser`, but where there is none, ask playwright for its own, then the system's package manager."""
    for install in (_from_playwright, _from_system):
        try:
            return find_browser()
        except NoBrowser:
            install()
    return find_browser()


def _candidates() -> Iterator[Path]:
    if named := os.environ.get("GOODDRAG_BROWSER"):
        yield Path(named)
        return  # a browser that was asked for is not silently replaced by another
    yield from (Path(found) for name in NAMES if (found := shutil.which(name)))
    for place in USUAL_PLACES.get(sys.platform, ()):
        path = Path(os.path.expandvars(place)).expanduser()
        yield from (path / name for name in NAMES) if path.is_dir() else (path,)
    yield from _playwrights_own()


def _playwrights_own() -> Iterator[Path]:
    """Asked for in a process of its own, as playwright starts an event loop to answer."""
    code = (
        "from playwright.sync_api import sync_playwright as start\nwith start() as p: print(p.chromium.executable_path)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if answer.returncode == 0:
        yield Path(answer.stdout.strip())


def _from_playwright() -> None:
    _run(sys.executable, "-m", "playwright", "install", "chromium")


def _from_system() -> None:
    """Debian's and Ubuntu's package, which only root may install."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        _run("apt-get", "update", "--quiet")
        _run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "chromium")


def _run(*command: str) -> None:
    print("Looking for a browser:", *command, file=sys.stderr)
    try:
        subprocess.run(command, timeout=PATIENCE, stdout=sys.stderr)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)


if __name__ == "__main__":
    try:
        print(find_or_install())
    except NoBrowser as error:
        sys.exit(str(error))
