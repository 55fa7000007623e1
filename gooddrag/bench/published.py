"""Numbers that papers have published, to stand beside ours where the data set is the same. None was measured here."""

from __future__ import annotations

PUBLISHED: dict[str, dict[str, list[tuple[str, float, str]]]] = {  # data set → column → method, number, source
    "drag100": {
        "dai_1": [
            ("GoodDrag", 0.0696, "GoodDrag, table 1"),
            ("DragDiffusion", 0.1477, "GoodDrag, table 1"),
            ("DragDiffusion, 210 drags", 0.1189, "GoodDrag, table 1"),
            ("SDE-Drag", 0.1571, "GoodDrag, table 1"),
            ("DirectDrag", 0.1124, "DirectDrag"),
        ],
        "dai_5": [
            ("GoodDrag", 0.0673, "GoodDrag, table 1"),
            ("DragDiffusion, 210 drags", 0.1101, "GoodDrag, table 1"),
            ("SDE-Drag", 0.1437, "GoodDrag, table 1"),
            ("DirectDrag", 0.1044, "DirectDrag"),
        ],
        "dai_10": [
            ("GoodDrag", 0.0642, "GoodDrag, table 1"),
            ("DragDiffusion, 210 drags", 0.0979, "GoodDrag, table 1"),
            ("SDE-Drag", 0.1291, "GoodDrag, table 1"),
            ("DirectDrag", 0.0978, "DirectDrag"),
        ],
        "dai_20": [
            ("GoodDrag", 0.0623, "GoodDrag, table 1"),
            ("DragDiffusion, 210 drags", 0.0924, "GoodDrag, table 1"),
            ("SDE-Drag", 0.1143, "GoodDrag, table 1"),
            ("DirectDrag", 0.0916, "DirectDrag"),
        ],
    },
    "dragbench": {
        "md": [
            ("GoodDrag", 22.17, "LazyDrag (22.96 by FlowDrag and FastDrag's page, 25.28 by DirectDrag)"),
            ("DragDiffusion", 33.7, "FlowDrag"),
            ("FreeDrag", 35.0, "FlowDrag"),
            ("DragNoise", 33.4, "FlowDrag"),
            ("DiffEditor", 28.5, "FastDrag's page"),
            ("FastDrag", 32.2, "FastDrag's page"),
            ("InstantDrag", 30.4, "its paper"),
            ("LightningDrag", 29.95, "its paper"),
            ("DirectDrag", 29.65, "its paper"),
        ],
        "if": [
            ("GoodDrag", 0.86, "FlowDrag (.869 by DirectDrag)"),
            ("DragDiffusion", 0.89, "FlowDrag"),
            ("FreeDrag", 0.70, "FlowDrag"),
            ("DragNoise", 0.63, "FlowDrag"),
            ("DiffEditor", 0.89, "FastDrag's page"),
            ("FastDrag", 0.86, "FastDrag's page"),
            ("InstantDrag", 0.878, "its paper"),
            ("LightningDrag", 0.881, "its paper"),
            ("DirectDrag", 0.891, "its paper"),
        ],
    },
}
CAVEAT = (
    "These are other people's runs, on other engines, prompts and machines; whether the paper's DAI divides by the "
    "number of pairs once (ours) or twice, as its script does, is not known."
)
