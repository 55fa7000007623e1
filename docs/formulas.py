"""Writes docs/formulas.md: every formula beside the function that computes it. `python docs/formulas.py` renews it.

The code on that page is taken from the functions themselves; a test compares the page with what this script makes.
"""

import inspect
from dataclasses import dataclass
from pathlib import Path
from pydoc import locate

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "formulas.md"
INTRODUCTION = """# Formulas and code

Each formula of the method stands in one function, under its own name. This page shows both; the code is copied from the
functions by `python docs/formulas.py`, and a test fails where the two have come apart.

Symbols: $z$ latent, $t$ timestep, $\\bar\\alpha$ signal share at a noise level, $\\varepsilon$ noise prediction, $F$
feature map, $p^0$ original handle, $p$ handle now, $g$ target, $\\Omega(p, r)$ square patch of radius $r$ around $p$,
$M$ mask (1 = may change), $\\operatorname{sg}$ no gradient flows through this.
"""


@dataclass(frozen=True)
class Formula:
    """A formula (LaTeX), where it comes from, and the dotted name of its function."""

    name: str
    latex: str
    source: str
    function: str
    lesson: str


DDIM = "*Denoising Diffusion Implicit Models*, formula {}"
PAPER = "*GoodDrag*, section {}"
FORMULAS = (
    Formula(
        "Adding noise",
        r"z_t = \sqrt{\bar\alpha_t}\, z_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon",
        DDIM.format(4),
        "gooddrag.diffusion.add_noise",
        "01_diffusion_and_inversion",
    ),
    Formula(
        "The clean latent that a prediction implies",
        r"\hat z_0 = \frac{z_t - \sqrt{1 - \bar\alpha_t}\, \varepsilon}{\sqrt{\bar\alpha_t}}",
        DDIM.format(9),
        "gooddrag.diffusion.predict_x0",
        "01_diffusion_and_inversion",
    ),
    Formula(
        "A step of DDIM",
        r"f(z_t) = \sqrt{\bar\alpha_s}\, \hat z_0 + \sqrt{1 - \bar\alpha_s}\, \varepsilon",
        DDIM.format("12, without its random part"),
        "gooddrag.diffusion.ddim_step",
        "01_diffusion_and_inversion",
    ),
    Formula(
        "A step that renews part of the noise",
        r"f_\eta(z_t) = \sqrt{\bar\alpha_s}\, \hat z_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\, \varepsilon + \sigma w, "
        r"\quad \sigma = \eta \sqrt{\tfrac{1 - \bar\alpha_s}{1 - \bar\alpha_t}} "
        r"\sqrt{1 - \tfrac{\bar\alpha_t}{\bar\alpha_s}}",
        DDIM.format("12") + "; not in GoodDrag",
        "gooddrag.diffusion.renewing_step",
        "09_open_questions",
    ),
    Formula(
        "Inversion",
        r"z_t = f^{-1}(z_s), \quad \varepsilon \text{ asked of } z_s \text{ at } t",
        "official code of GoodDrag and DragDiffusion",
        "gooddrag.diffusion.ddim_invert",
        "01_diffusion_and_inversion",
    ),
    Formula(
        "Identity LoRA",
        r"\min_{\Delta} \; \mathbb{E}_{t, \varepsilon} \left\| \varepsilon_{\theta + \Delta}(z_t, t) - \varepsilon"
        r" \right\|^2",
        "*DragDiffusion*, section 3.2; *LoRA*, section 4",
        "gooddrag.lora.train_identity",
        "02_identity_lora",
    ),
    Formula(
        "Mutual self-attention",
        r"\operatorname{Attention}(Q_{\text{edit}}, K_{\text{source}}, V_{\text{source}})",
        "*MasaCtrl*, section 3; used in DragDiffusion's and GoodDrag's denoising",
        "gooddrag.attention.mutual",
        "02_identity_lora",
    ),
    Formula(
        "A patch of features",
        r"F_{\Omega(p, r)}",
        PAPER.format(3.2),
        "gooddrag.features.sample_patch",
        "03_features_and_tracking",
    ),
    Formula(
        "Point tracking",
        r"p \leftarrow \arg\min_{q \in \Omega(p, r_2)} \left\| F_q - F^0_{p^0} \right\|_1",
        PAPER.format("3.2, equation 6"),
        "gooddrag.tracking.track_points",
        "03_features_and_tracking",
    ),
    Formula(
        "How far a drag looks ahead",
        r"d = \beta\, \frac{g - p}{\| g - p \|}, \text{ but never beyond } g",
        PAPER.format("3.2; the limit is ours"),
        "gooddrag.supervision.step_vector",
        "04_motion_supervision",
    ),
    Formula(
        "Standard motion supervision",
        r"\mathcal{L} = \sum_i \left\| F_{\Omega(p_i + d_i, r_1)} - \operatorname{sg} F_{\Omega(p_i, r_1)} \right\|_1",
        PAPER.format("3.2, the baseline"),
        "gooddrag.supervision.standard_loss",
        "04_motion_supervision",
    ),
    Formula(
        "Information-preserving motion supervision (IPMS)",
        r"\mathcal{L} = \sum_i \left\| F_{\Omega(p_i + d_i, r_1)} - \operatorname{sg} F^0_{\Omega(p^0_i, r_1)}"
        r" \right\|_1",
        PAPER.format(3.4),
        "gooddrag.supervision.ipms_loss",
        "04_motion_supervision",
    ),
    Formula(
        "Mask term",
        r"\lambda \left\| (f(z) - \operatorname{sg} f(z^0)) \odot (1 - M) \right\|_1",
        PAPER.format("3.2; λ is applied in the loop"),
        "gooddrag.supervision.mask_loss",
        "04_motion_supervision",
    ),
    Formula(
        "Alternating drag and denoising (AlDD)",
        r"(\underbrace{\text{drag}, \dots, \text{drag}}_{B}, \text{denoise}), \dots, \text{denoise}",
        PAPER.format(3.3),
        "gooddrag.schedule.aldd",
        "05_aldd_schedule",
    ),
    Formula(
        "Perturbation",
        r"\sqrt{\operatorname{mean}\, (z - z^0)^2}, \text{ inside } M \text{ and outside}",
        PAPER.format("3.3 speaks of it; the measure is ours"),
        "gooddrag.loop.perturbation",
        "05_aldd_schedule",
    ),
    Formula(
        "Dragging accuracy index (DAI)",
        r"\frac{1}{n} \sum_i \frac{1}{(1 + 2\gamma)^2} \left\| I_{\Omega(p_i, \gamma)} - \hat I_{\Omega(g_i, \gamma)}"
        r" \right\|_2^2",
        PAPER.format(4),
        "gooddrag.metrics.dai.dai",
        "07_measuring_drags",
    ),
    Formula(
        "Mean distance",
        r"\frac{1}{n} \sum_i \| \hat p_i - g_i \|_2, \quad \hat p_i = \arg\max_q \cos(D_q(\hat I), D_{p_i}(I))",
        "*DragDiffusion*, section 5, with DIFT's features",
        "gooddrag.metrics.mean_distance.mean_distance",
        "07_measuring_drags",
    ),
    Formula(
        "A step of Cycle-SDE",
        r"y_s = \mu(y) + \sigma \bar w, \quad \bar w = \frac{o_s - \mu(o)}{\sigma}",
        "*The Blessing of Randomness* (SDE-Drag), section 3",
        "gooddrag.rivals.sde_drag.cycle_step",
        "08_rivals",
    ),
    Formula(
        "Warping a latent",
        r"v(C) = \sum_i w_i \frac{|P_i C|}{|P_i A_i|}\, (B_i - A_i), \quad w_i \propto \frac{1}{|A_i C|}",
        "*FastDrag*, section 3",
        "gooddrag.rivals.fast_drag.displacement",
        "08_rivals",
    ),
)


def entry(formula: Formula) -> str:
    """One formula with its function, as Markdown."""
    function = inspect.unwrap(locate(formula.function))
    path = Path(inspect.getsourcefile(function)).relative_to(ROOT)
    lines = [
        f"## {formula.name}",
        f"$${formula.latex}$$",
        f"{formula.source} · [`{formula.function}`](../{path})" + lesson(formula),
        f"```python\n{inspect.getsource(function).strip()}\n```",
    ]
    return "\n\n".join(lines)


def lesson(formula: Formula) -> str:
    """Where it is taught."""
    return f" · [lesson {formula.lesson[:2]}](../notebooks/{formula.lesson}.ipynb)"


def page() -> str:
    """The whole page."""
    return "\n\n".join([INTRODUCTION.strip(), *map(entry, FORMULAS)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
