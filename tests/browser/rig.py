"""What browser tests stand on: a Jupyter server of their own, and notebooks that are open in a real browser.

One server offers JupyterLab, Notebook 7 and Voilà. Nothing here sleeps: whoever waits, waits for a condition.
"""

from __future__ import annotations

import ast
import json
import os
import secrets
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import nbformat
from playwright.sync_api import Browser, Locator, Page, Playwright

from tests.browser.find_browser import find_browser

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds; a kernel that imports torch on a busy machine takes its time
ADDRESSES = {"lab": "doc/tree", "notebook": "notebooks", "voila": "voila/render"}
OPTIONS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--js-flags=--expose-gc",  # window.gc(), for tests of memory
)
QUIET = {  # JupyterLab's settings: nothing pops up, nothing is asked of the internet
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "docmanager-extension/plugin": {"autosave": False},
}
CURRENT = "const panel = window.jupyterapp.shell.currentWidget;"
CAN_RUN = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
FAILURES = """() => {
    %s
    const outputs = panel.content.widgets.flatMap(cell => cell.model.outputs?.toJSON() ?? []);
    return outputs.filter(o => o.output_type === "error").map(o => `${o.ename}: ${o.evalue}`);
}"""
EVALUATE = """async ([code, value]) => {
    %s
    const request = {code, user_expressions: {value}, silent: true, stop_on_error: false};
    const answer = await panel.sessionContext.session.kernel.requestExecute(request).done;
    return answer.content;
}"""


def launch(playwright: Playwright) -> Browser:
    """A real Chromium or Chrome without a window; `with launch(playwright) as browser:` closes it again."""
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return playwright.chromium.launch(
        executable_path=find_browser(), args=[*OPTIONS, *(["--no-sandbox"] if as_root else [])]
    )


class Server:
    """A Jupyter server with directories, token and port of its own; `with Server(folder) as server:`."""

    def __init__(self, folder: Path):
        self.root, self.runtime, self.log = folder / "root", folder / "runtime", folder / "server.log"
        self.token, self.url, self._numbers = secrets.token_hex(16), "", count(1)
        self.root.mkdir(parents=True)
        settings = folder / "config" / "lab" / "user-settings" / "@jupyterlab"
        for name, content in QUIET.items():
            path = settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
        places = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
        self.environment = os.environ | {
            **{f"JUPYTER_{name}_DIR": str(folder / place) for name, place in places.items()},
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_TOKEN": self.token,  # not on the command line, where everybody on the machine could read it
            "PYTHONPATH": str(ROOT),  # so that a notebook can import what tests share
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
            "OMP_WAIT_POLICY": "passive",
        }

    def __enter__(self) -> Server:
        options = {
            "ServerApp.root_dir": self.root,
            "ServerApp.port": 0,  # any free one
            "ServerApp.open_browser": False,
            "ServerApp.allow_root": True,
            "ServerApp.terminals_enabled": False,
            "LabApp.extension_manager": "readonly",
            "LabApp.expose_app_in_browser": True,  # window.jupyterapp: how tests give commands
            "JupyterNotebookApp.expose_app_in_browser": True,
        }
        command = [sys.executable, "-m", "jupyter", "server", *(f"--{name}={value}" for name, value in options.items())]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment, cwd=self.root)
        self.url = self._address()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()  # takes its kernels along
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _address(self) -> str:
        """The address that the server announces once it listens."""
        announced, until = self.runtime / f"jpserver-{self.process.pid}.json", time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            if "is running at" in self.log.read_text():
                return f"http://127.0.0.1:{json.loads(announced.read_text())['port']}"
            try:
                self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        raise RuntimeError(f"The Jupyter server did not start; it said:\n{self.log.read_text()[-4000:]}")

    def write(self, *cells: str) -> str:
        """A new notebook with these code cells → its name."""
        name = f"test-{next(self._numbers)}.ipynb"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.root / name)
        return name

    def address(self, name: str, app: str = "lab") -> str:
        """Where a browser finds a notebook: `app` is "lab", "notebook" or "voila"."""
        return f"{self.url}/{ADDRESSES[app]}/{name}?token={self.token}"

    def stop_kernels(self) -> None:
        """End all kernels and wait until they are gone."""
        for kernel in self._request("GET", "kernels"):
            self._request("DELETE", f"kernels/{kernel['id']}")

    def _request(self, method: str, what: str) -> Any:
        headers = {"Authorization": f"token {self.token}"}
        with urlopen(Request(f"{self.url}/api/{what}", method=method, headers=headers), timeout=PATIENCE) as answer:
            return json.loads(answer.read() or "null")


class Notebook:
    """A notebook that is open in a browser, with a kernel of its own. `page` is playwright's."""

    def __init__(self, server: Server, page: Page, name: str, app: str = "lab"):
        self.server, self.page, self.name, self.app = server, page, name, app
        page.goto(server.address(name, app))
        if app != "voila":  # Voilà runs all cells by itself and takes no commands
            page.wait_for_function(CAN_RUN)

    def command(self, name: str, **arguments: Any) -> Any:
        """Give one of JupyterLab's commands and wait until it is done."""
        return self.page.evaluate(
            "([n, a]) => window.jupyterapp.commands.execute(n, a).then(() => null)", [name, arguments]
        )

    def run_all(self) -> None:
        """Run all cells; an error in one of them is raised here."""
        self.command("notebook:run-all-cells")
        failed = self.page.evaluate(FAILURES % CURRENT)
        if failed:
            raise AssertionError(f"A cell of {self.name} failed: {failed[0]}")

    def value(self, expression: str, before: str = "") -> Any:
        """What a Python expression gives in the kernel, as JSON has it (arrays: lists); first `before` is run there."""
        code = f"__import__('json').dumps({expression}, default=lambda value: value.tolist())"
        content = self.page.evaluate(EVALUATE % CURRENT, [before, code])
        answer = content.get("user_expressions", {}).get("value", content)
        if answer["status"] != "ok":
            raise AssertionError(f"In the kernel, {expression!r} failed: {answer.get('ename')}: {answer.get('evalue')}")
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def run(self, statements: str) -> None:
        """Run Python statements in the kernel, beside the notebook's cells."""
        self.value("None", before=statements)

    def wait_until(self, expression: str, seconds: float = PATIENCE) -> None:
        """Wait until a Python expression is true in the kernel, asking again and again."""
        until = time.monotonic() + seconds
        while not self.value(f"bool({expression})"):
            if time.monotonic() > until:
                raise AssertionError(f"After {seconds} s it is still not true in the kernel that {expression}")

    def widget(self, selector: str) -> Locator:
        """The first element that matches, once it is on the screen; roles and texts are looked for inside it."""
        found = self.page.locator(selector).first
        found.wait_for()
        return found

    def theme(self, name: str) -> None:
        """Switch to "light" or "dark"."""
        self.command("apputils:change-theme", theme=f"JupyterLab {name.capitalize()}")
        self.page.wait_for_function(
            f"document.body.dataset.jpThemeLight === '{'true' if name == 'light' else 'false'}'"
        )

    def resize(self, width: int, height: int = 900) -> None:
        """Set the window's size in CSS px."""
        self.page.set_viewport_size({"width": width, "height": height})

    def save(self) -> None:
        """Store the notebook, outputs and widget state included."""
        self.command("docmanager:save")

    def reload(self) -> None:
        """Load the page anew; the kernel goes on."""
        self.page.reload()
        self.page.wait_for_function(CAN_RUN)
