"""Films the playground at work, in a real browser: docs/images/playground.gif.

    python docs/record_playground.py [--example turn-and-step-2] [--every 4]

The film shows every so many drags and denoise steps as long as any other, however long the machine took for them.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gooddrag.files import write_whole
from gooddrag.result import animation
from tests.browser.rig import Notebook, Server, launch

FILM = Path(__file__).parent / "images" / "playground.gif"
CELL = """
from gooddrag import load_backbone
from gooddrag.pocket import EXAMPLES
from widgets import Playground

playground = Playground(load_backbone("pocket"), EXAMPLES / "{example}")
playground
"""
WIDTH = 640  # px
EACH = 250  # ms
RESTING = 6  # so many times the first and the last frame are shown
COLOURS = 160


def frame(page: Page) -> Image.Image:
    """The playground as it looks now, at the film's width."""
    shot = Image.open(io.BytesIO(page.locator(".gd-playground").screenshot())).convert("RGB")
    return shot.resize((WIDTH, round(shot.height * WIDTH / shot.width)), Image.Resampling.LANCZOS)


def film(lab: Notebook) -> list[Image.Image]:
    """Press Drag and take a picture at each new line of progress, then one of the result."""
    said = lab.page.locator(".gd-playground div[role=status]")
    drag = lab.page.locator(".gd-playground button:text-is('Drag')")
    drag.wait_for()
    lab.page.wait_for_timeout(1000)  # the canvas draws its picture
    frames = [frame(lab.page)]
    drag.click()
    before = ""
    while not (now := said.first.inner_text()).startswith("Done"):
        if re.search(r"\d", now) and now != before:
            frames.append(frame(lab.page))
            before = now
        lab.page.wait_for_timeout(50)
    lab.page.wait_for_timeout(1000)  # the gallery's picture
    return [*frames, frame(lab.page)]


def save(frames: list[Image.Image], path: Path, every: int) -> None:
    """Keep the first, each so manyth and the last, all at the height of the first and in the same few colours."""
    size = frames[0].size
    kept = [frames[0]] * RESTING + frames[1:-1:every] + [frames[-1]] * RESTING
    pages = [shot.crop((0, 0, *size)) for shot in kept]
    strip = Image.new("RGB", (size[0], size[1] * len(pages)))
    for k, page in enumerate(pages):
        strip.paste(page, (0, k * size[1]))
    palette = strip.quantize(COLOURS)
    film = animation([page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages], EACH)
    write_whole(path, lambda part: part.write_bytes(film))


def main() -> None:
    """Start a server and a browser, film, and write docs/images/playground.gif."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--example", default="turn-and-step-2", help="one of pocket's shipped tasks")
    parser.add_argument("--every", type=int, default=4, help="keep each so manyth picture")
    parser.add_argument("--out", type=Path, default=FILM)
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder, Server(Path(folder)) as server, sync_playwright() as playwright:
        page = launch(playwright).new_page(viewport={"width": 1280, "height": 1100})
        lab = Notebook(server, page, server.write(CELL.format(example=chosen.example)))
        lab.run_all()
        frames = film(lab)
        save(frames, chosen.out, chosen.every)
        print(f"{len(frames)} pictures taken; {chosen.out} has {chosen.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
