"""The pocket engine: a tiny latent diffusion model, trained by this project on a world that it renders itself."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
EXAMPLES = Path(__file__).parent / "examples"
