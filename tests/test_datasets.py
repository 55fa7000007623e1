"""Data sets: every layout is read, forged ones are refused sentence by sentence, and the good samples still run."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gooddrag.bench.check import examine
from gooddrag.bench.datasets import open_dataset
from gooddrag.bench.safe_pickle import read_pickle
from gooddrag.errors import BadInput
from gooddrag.pocket.tasks import KINDS, make_task
from gooddrag.task import DragTask

POINTS = [[4, 5], [20, 12], [8, 9], [8, 20]]


def picture(seed: int = 0, size: tuple[int, int] = (40, 32)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3)).astype(np.uint8))


def mask(size: tuple[int, int] = (40, 32)) -> np.ndarray:
    """(H, W) of 0 and 1; the upper half may change."""
    values = np.zeros(size[::-1], np.uint8)
    values[: size[1] // 2 + 8] = 1
    return values


def drag100(folder: Path, points=POINTS, size=(40, 32)) -> Path:
    folder.mkdir(parents=True)
    picture(size=size).save(folder / "original.jpg")
    Image.fromarray(mask(size) * 255).save(folder / "mask.png")
    (folder / "points.json").write_text(json.dumps({"points": points}))
    return folder


def dragbench(folder: Path, protocol: int = 4, **changes) -> Path:
    folder.mkdir(parents=True)
    picture().save(folder / "original_image.png")
    content = {"prompt": "a photo of a dog", "points": POINTS, "mask": mask()} | changes
    (folder / "meta_data.pkl").write_bytes(pickle.dumps(content, protocol))
    return folder


def reissued(folder: Path) -> Path:
    folder.mkdir(parents=True)
    picture().save(folder / "original_image.png")
    Image.fromarray(mask() * 255).save(folder / "mask.png")
    (folder / "drag_instruction.json").write_text(json.dumps({"prompt": "a dog", "points": POINTS}))
    return folder


def sde_drag(folder: Path) -> Path:
    folder.mkdir(parents=True)
    picture().save(folder / "origin_image.png")
    Image.fromarray(mask() * 255).save(folder / "mask.png")
    content = {"prompt": "a dog", "source": POINTS[0::2], "target": POINTS[1::2]}
    (folder / "prompt.json").write_text(json.dumps(content))
    return folder


def refusals(root: Path) -> dict[str, str]:
    """Sample → the sentence why it can't be read; all must be one sentence."""
    sentences = examine(open_dataset(str(root))).refused
    for sentence in sentences.values():
        assert sentence.endswith(".")
        assert "\n" not in sentence
        assert ". " not in sentence
    return sentences


# Layouts


@pytest.mark.parametrize("make", [drag100, dragbench, reissued, sde_drag])
def test_every_layout_gives_the_same_task(make, tmp_path):
    make(tmp_path / "animals" / "sample")
    (sample,) = open_dataset(str(tmp_path)).samples
    task, known = sample.read()
    assert (sample.name, sample.category, known) == ("animals/sample", "animals", None)
    assert task.handles.tolist() == POINTS[0::2]
    assert task.targets.tolist() == POINTS[1::2]
    assert (task.mask == mask().astype(bool)).all()
    assert (np.asarray(task.image) == np.asarray(picture())).all() or make is drag100  # JPEG loses a little
    assert task.prompt == {drag100: "", dragbench: "a photo of a dog"}.get(make, "a dog")


def test_json_is_preferred_to_a_pickle(tmp_path):
    folder = dragbench(tmp_path / "a" / "b", points=[[0, 0], [1, 1]])
    (folder / "drag_instruction.json").write_text(json.dumps({"points": POINTS}))
    assert len(open_dataset(str(tmp_path)).samples[0].read()[0].handles) == 2


def test_drag100_names_say_what_they_show(tmp_path):
    for name in ("cat_2", "generated_5_owl", "still_life"):
        drag100(tmp_path / name)
    samples = open_dataset(str(tmp_path)).samples
    assert {s.name: s.category for s in samples} == {
        "cat_2": "cat",
        "generated_5_owl": "owl",
        "still_life": "still_life",
    }
    assert open_dataset(str(tmp_path)).published_as == ""


def test_only_the_whole_set_is_compared_with_published_numbers(tmp_path):
    for k in range(100):
        (tmp_path / f"cat_{k}").mkdir()
        (tmp_path / f"cat_{k}" / "points.json").touch()
    assert open_dataset(str(tmp_path)).published_as == "drag100"
    (tmp_path / "cat_0" / "points.json").rename(tmp_path / "cat_0" / "prompt.json")
    assert open_dataset(str(tmp_path)).published_as == ""


def test_one_task_folder_is_a_data_set_too(tmp_path):
    drag100(tmp_path / "mine")
    (sample,) = open_dataset(str(tmp_path / "mine")).samples
    assert sample.read()[0].name == "mine"


def test_the_pocket_generator_takes_every_kind_in_turn():
    samples = open_dataset(f"pocket:{len(KINDS) + 1}@7").samples
    assert [s.kind for s in samples] == [*KINDS, next(iter(KINDS))]
    assert samples[0].name == f"{samples[0].kind}-7"
    assert samples[-1].name == f"{samples[0].kind}-8"
    task, known = samples[0].read()
    again = make_task(samples[0].kind, 7)
    assert known is not None
    assert (task.handles == again.task.handles).all()
    assert (np.asarray(known.truth) == np.asarray(again.truth)).all()


def test_stored_pocket_tasks_keep_their_truth(tmp_path):
    made = make_task(next(iter(KINDS)), 3)
    made.write(tmp_path / "one")
    _, known = open_dataset(str(tmp_path)).samples[0].read()
    assert known is not None
    assert known.after == made.after


@pytest.mark.parametrize("name", ["pocket", "pocket:", "pocket:0", "pocket:x", "pocket:3@", "nowhere", ""])
def test_what_is_no_data_set_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput):
        open_dataset(name)


# Pickles


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, lambda m: m.astype(bool), lambda m: m.astype(">f4")])
def test_arrays_and_numbers_come_out_as_they_went_in(protocol, form, tmp_path):
    path = tmp_path / "meta_data.pkl"
    path.write_bytes(pickle.dumps({"p": "dög", "mask": form(mask()), "n": [np.int64(3), (1.5, None, True)]}, protocol))
    content = read_pickle(path)
    assert content["p"] == "dög"
    assert content["n"] == [3, (1.5, None, True)]
    assert (content["mask"] == mask()).all()


def test_pickles_of_numpy_1_are_read(tmp_path):
    path = tmp_path / "meta_data.pkl"
    data = pickle.dumps(mask(), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray\n_reconstruct" in data
    path.write_bytes(data)
    assert (read_pickle(path) == mask()).all()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("hacked",)


def endless() -> list:
    """Two to the power of forty numbers in a few hundred bytes."""
    x: list = [1]
    for _ in range(40):
        x = [x, x]
    return x


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (pickle.dumps(Evil()), "mkdir"),
        (pickle.dumps({"points": POINTS, "mask": np.array([[Evil()]], object)}), "mkdir"),
        (pickle.dumps(np.array([[1]], object)), "'O8'"),
        (pickle.dumps(np.zeros(2, [("a", "u1")])), "'V1'"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"cnumpy.core.multiarray\nfromfile\n.", "fromfile"),
        (b"cgooddrag.bench.safe_pickle\n_Reader\n.", "_Reader"),
        (b"(i__main__\nEvil\n.", "objects of its own"),
        (b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.", "changes a function"),
        (b"\x80\x04r\xff\xff\xff\x7f.", "more memory"),
        (b"\x80\x04N" + b"\x85" * 30_000 + b".", "parts"),
        (pickle.dumps(endless()), "values"),
        (pickle.dumps(mask())[:-40], "no readable pickle"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00abc.", "no readable pickle"),
        (b"", "no readable pickle"),
    ],
)
def test_a_pickle_that_wants_more_than_numbers_is_refused(data, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meta_data.pkl").write_bytes(data)
    with pytest.raises(BadInput, match=word):
        read_pickle(tmp_path / "meta_data.pkl")
    assert os.listdir(tmp_path) == ["meta_data.pkl"]


def test_an_array_whose_shape_lies_is_refused(tmp_path):
    path = tmp_path / "meta_data.pkl"
    data = pickle.dumps(mask(), 2)
    assert data.count(b"K K(\x86") == 1  # the shape: 32, 40, as a tuple of two
    path.write_bytes(data.replace(b"K K(\x86", b"K \x4b\xff\x86"))
    with pytest.raises(BadInput, match="don't agree"):
        read_pickle(path)


def test_a_file_too_large_for_a_task_is_not_read(tmp_path):
    path = tmp_path / "meta_data.pkl"
    with path.open("wb") as file:
        file.truncate(65_000_000)
    with pytest.raises(BadInput, match="64 MB"):
        read_pickle(path)


# Forged trees


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    """Two good samples among many bad ones."""
    outside = tmp_path / "outside"
    drag100(outside / "secret")
    root = tmp_path / "set"
    drag100(root / "good_1")
    dragbench(root / "animals" / "good_2")
    os.symlink(outside / "secret", root / "linked")
    (drag100(root / "leaky") / "mask.png").unlink()
    os.symlink(outside / "secret" / "mask.png", root / "leaky" / "mask.png")
    drag100(root / "a\\..\\..\\etc")
    drag100(root / "line\nbreak")
    (drag100(root / "short") / "original.jpg").write_bytes(b"\x89")
    (drag100(root / "absurd") / "points.json").write_text('{"points": ' + "[" * 100_000)
    (drag100(root / "huge") / "points.json").write_text("[" + "1," * 600_000 + "1]")
    (sde_drag(root / "words") / "prompt.json").write_text('{"source": "all", "target": {"x": 1}}')
    (sde_drag(root / "numbers") / "prompt.json").write_text('{"source": [[1, 1e999]], "target": [[1, 2]]}')
    (dragbench(root / "animals" / "code") / "meta_data.pkl").write_bytes(pickle.dumps(Evil()))
    dragbench(root / "animals" / "list", points="everything")
    dragbench(root / "animals" / "other_size", mask=mask((16, 16)))
    dragbench(root / "animals" / "no_array", mask="original_image.png")
    (root / "empty").mkdir()
    (drag100(root / "pipe") / "points.json").unlink()
    os.mkfifo(root / "pipe" / "points.json")
    return root


def test_bad_samples_are_refused_one_by_one_and_the_good_ones_are_read(forged, monkeypatch):
    monkeypatch.chdir(forged.parent)
    sentences = refusals(forged)
    for name, word in {
        "linked": "leads out",
        "leaky": "leads out",
        "a\\..\\..\\etc": "rename",
        "line\nbreak": "rename",
        "short": "not a picture",
        "absurd": "JSON",
        "huge": "1 MB",
        "words": "lists of points",
        "numbers": "finite",
        "animals/code": "mkdir",
        "animals/list": "lists of points",
        "animals/other_size": "same size",
        "animals/no_array": "no array",
        "empty": "neither",
        "pipe": "neither a file",
    }.items():
        assert word in sentences.pop(name), name
    assert sentences == {}
    found = examine(open_dataset(str(forged)))
    assert (found.pictures, found.pairs, dict(found.categories)) == (2, 4, {"good": 1, "animals": 1})
    assert not (forged.parent / "hacked").exists()


# Check


def test_a_check_counts_and_names_what_is_odd(tmp_path):
    drag100(tmp_path / "cat_1", size=(640, 512), points=[[100, 100], [200, 110]])
    drag100(tmp_path / "cat_2", size=(636, 512), points=[[100, 100], [100, 100], [5, 100], [90, 100]])
    turned = drag100(tmp_path / "dog_1", size=(640, 512), points=[[100, 100], [200, 130]])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(size=(512, 640)).save(turned / "original.jpg", exif=exif)
    found = examine(open_dataset(str(tmp_path)))
    assert (found.pictures, found.pairs) == (3, 4)
    assert found.categories == {"cat": 2, "dog": 1}
    assert found.sizes == {(640, 512): 2, (636, 512): 1}
    assert found.odd == {
        "pairs of zero length": ["cat_2"],
        "sizes that are no multiple of 8 px": ["cat_2"],
        "points near the border": ["cat_2"],
        "pictures turned by Exif (points count in the upright one)": ["dog_1"],
    }


def test_a_task_without_these_oddities_is_not_called_odd(tmp_path):
    DragTask(picture(size=(64, 64)), [[30, 30]], [[36, 30]], np.ones((64, 64), bool)).write(tmp_path / "fine")
    assert examine(open_dataset(str(tmp_path))).odd == {}
