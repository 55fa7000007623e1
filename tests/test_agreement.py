"""Agreement between raters against scipy and by hand; the check for position bias; tables of ratings."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import spearmanr

from gooddrag.bench.agreement import PUBLISHED, _within, agreement, all_pairs, position_bias
from gooddrag.bench.ratings import gscores, mean_scores, pooled, problems, read_ratings
from gooddrag.errors import BadInput
from gooddrag.metrics.gscore import Protocol, Sample, StandIn, rate, table
from widgets.explorers.blind_rating import BlindRating

METHODS = ("gooddrag", "dragdiffusion", "sde-drag", "freedrag")


def scored(rater, **tasks):
    """task=[score of each method …] → a table of ratings."""
    rows = [(task, m, s, rater) for task, line in tasks.items() for m, s in zip(METHODS, line, strict=False)]
    return pd.DataFrame(rows, columns=["task", "method", "score", "rater"])


def compared(a, b):
    return agreement(mean_scores([scored("a", **a), scored("b", **b)]), "a", "b")


def test_each_picture_counts_with_scipys_rank_correlation_and_ties_share_ranks():
    chance = np.random.default_rng(0)
    a, b = ({f"t{k}": chance.integers(0, 4, 4) + np.array([0, 0, 0, 5]) for k in range(12)} for _ in range(2))
    found = compared(a, b)
    expected = {task: spearmanr(a[task], b[task]).statistic for task in a}
    assert found.per_task == pytest.approx(expected)
    assert found.mean.value == pytest.approx(np.mean(list(expected.values())))
    assert found.mean.low < found.mean.value < found.mean.high


def test_the_order_counts_and_not_the_numbers():
    assert compared({"t": [1, 2, 3]}, {"t": [10, 11, 1000]}).mean.value == pytest.approx(1)
    assert compared({"t": [1, 2, 3]}, {"t": [-1, -2, -3]}).mean.value == pytest.approx(-1)
    assert compared({"t": [1, 2, 3]}, {"t": [1, 3, 2]}).mean.value == pytest.approx(0.5)


def test_pictures_that_cant_be_compared_are_named():
    a = {"good": [1, 2, 3], "flat": [5, 5, 5], "lone": [4], "apart": [1, 2]}
    b = {"good": [1, 2, 3], "flat": [1, 2, 3], "lone": [4], "only-b": [1, 2, 3]}
    found = compared(a, b)
    assert (list(found.per_task), found.constant) == (["good"], ("flat",))
    assert set(found.too_few) == {"lone", "apart", "only-b"}
    nothing = compared({"flat": [5, 5]}, {"flat": [1, 2]})
    assert (nothing.mean, nothing.constant) == (None, ("flat",))


def test_repeats_are_averaged_and_people_count_once_each():
    diligent = pd.concat(5 * [scored("ann", t=[0, 10])])
    once = scored("bob", t=[6, 4])
    people = pooled(pd.concat([diligent, once]), "people")
    assert mean_scores([people])["people"].to_dict() == {("t", "gooddrag"): 3, ("t", "dragdiffusion"): 7}


def test_every_two_raters_are_compared():
    scores = mean_scores([scored(name, t=[1, 2, 3]) for name in "abc"])
    assert [(pair.a, pair.b) for pair in all_pairs(scores)] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_the_papers_values_are_at_hand():
    assert PUBLISHED == {"GScore": 0.708, "TReS": 0.250, "TOPIQ": 0.083, "MUSIQ": -0.125}


def stand_in_table(bias, repeats=8, tasks=6, seed=0):
    chance = np.random.default_rng(seed)
    samples = [
        Sample(
            f"t{k}",
            Image.new("RGB", (32, 32), (200, 200, 200)),
            {
                m: Image.new("RGB", (32, 32), (int(v), 180, 180))
                for m, v in zip("abcd", chance.integers(150, 200, 4), strict=True)
            },
        )
        for k in range(tasks)
    ]
    return table(rate(samples, StandIn(noise=0.3, bias=bias), Protocol(repeats=repeats)))


@pytest.mark.parametrize("repeats", [1, 8])
def test_a_bias_for_the_first_position_is_found_with_its_size(repeats):
    found = position_bias(stand_in_table(bias=1.0, repeats=repeats, tasks=48 // repeats))
    assert found.p < 0.001
    assert found.questions == 48
    means = [found.by_position[k].value for k in (1, 2, 3, 4)]
    assert means == sorted(means, reverse=True)
    assert means[0] == pytest.approx(1.0, abs=0.3)
    assert found.by_position[1].low > 0 > found.by_position[4].high


def test_without_bias_small_p_values_are_as_rare_as_they_should_be():
    tables = [stand_in_table(0, repeats=3, tasks=2, seed=seed) for seed in range(60)]
    ps = np.array([position_bias(found, permutations=200).p for found in tables])
    assert (ps < 0.05).mean() < 0.13
    assert 0.38 < ps.mean() < 0.62


def test_the_permutation_test_moves_scores_inside_their_question_only():
    question = np.array([0, 1, 0, 1, 1, 0, 2, 2])
    position = np.array([1, 1, 2, 2, 3, 3, 1, 2])
    shuffled = [_within(position, question, np.random.default_rng(seed)) for seed in range(40)]
    for one in shuffled:
        for k in range(3):
            assert sorted(one[question == k]) == sorted(position[question == k])
    assert len({tuple(one[question == 0]) for one in shuffled}) == 6


def test_one_edit_at_a_time_has_no_position():
    assert position_bias(stand_in_table(0).query("method == 'a'")) is None


def test_scores_of_a_method_are_means_over_pictures_whatever_their_repeats():
    ratings = pd.concat([scored("r", one=[0.0]), *3 * [scored("r", two=[10.0])]])
    assert gscores(ratings)["gooddrag"].value == 5


def test_problems_are_counted_once_per_question():
    rows = [("t", m, k, "refused" if k == 1 else "", "r") for m in "abc" for k in (1, 2)]
    assert problems(pd.DataFrame(rows, columns=["task", "method", "repeat", "problem", "rater"])) == {"refused": 1}


def test_what_the_rating_widget_stores_is_read(tmp_path):
    picture = Image.new("RGB", (32, 32))
    widget = BlindRating({"t": {"original": picture, "gooddrag": picture, "sde-drag": picture}})
    for slider, method in zip(widget.sliders, widget.orders["t"], strict=True):
        slider.value = {"gooddrag": 8, "sde-drag": 2}[method]
    widget.accept()
    widget.save(tmp_path / "ann.csv")
    found = read_ratings(tmp_path / "ann.csv")
    assert dict(zip(found["method"], found["score"], strict=True)) == {"gooddrag": 8, "sde-drag": 2}
    assert set(found["rater"]) == {"ann"}, "a rater without a name gets the file's"


def test_gscore_tables_come_back_as_they_were_stored(tmp_path):
    ratings = stand_in_table(0)
    ratings.loc[0, ["score", "problem"]] = float("nan"), "refused"
    ratings.to_csv(tmp_path / "r.csv", index=False)
    ratings.to_parquet(tmp_path / "r.parquet", index=False)
    for name in ("r.csv", "r.parquet"):
        found = read_ratings(tmp_path / name)
        assert found["score"].equals(ratings["score"])
        assert problems(found) == {"refused": 1}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("task,method,score\nt,a,1\n", "lacks rater"),
        ("task,method,score,rater\nt,a,1,r\nt,b,,r\n", "Row 2 .* no finite score"),
        ("task,method,score,rater\nt,a,inf,r\n", "Row 1 .* no finite score"),
        ("task,method,score,rater\nt,a,good,r\n", "Row 1 .* no finite score"),
        ("", "can't be read as a table"),
        ('a,b\n"', "can't be read|lacks"),
    ],
)
def test_tables_that_are_none_are_one_sentence(tmp_path, content, sentence):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(BadInput, match=sentence):
        read_ratings(tmp_path / "x.csv")


def test_a_parquet_file_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1nonsense")
    with pytest.raises(BadInput, match="can't be read as a table"):
        read_ratings(tmp_path / "x.parquet")
