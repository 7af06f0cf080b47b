"""`nvf-cli predict` parses, makes one call, and says what became of every image."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import nvf
from cli.predict import parse_box
from model import predict
from model.predict import Answer, Question
from pipeline.errors import InputError


@pytest.fixture
def called(monkeypatch):
    """What predict was asked; every image whose name starts with "bad" is refused."""
    calls = []

    def answer(question: Question) -> Answer:
        if question.image.name.startswith("bad"):
            return Answer(question, refusal=f"{question.image}: it is bad")
        report = {"image": str(question.image), "root": [0, 0, 4.2]}
        return Answer(question, report, (Path("a.json"), Path("a.png")))

    def ask(run, questions, *rest):
        calls.append((run, questions, *rest))
        return map(answer, questions)

    monkeypatch.setattr(predict, "predict_images", ask)
    return calls


def invoke(*arguments):
    return CliRunner().invoke(nvf, ["predict", "runs/x", *map(str, arguments)], catch_exceptions=False)


def test_every_box_is_a_question(called, tmp_path):
    given = ["a.jpg", "--box", "1,2,3,4", "--box", "5,6,7,8", "--focal", 900, "--out", tmp_path, "--device", "cpu"]
    result = invoke(*given)
    run, questions, out, focal, _ = called[0]
    assert (run, out, focal) == (Path("runs/x"), tmp_path, 900)
    assert questions == [Question(Path("a.jpg"), [1, 2, 3, 4]), Question(Path("a.jpg"), [5, 6, 7, 8])]
    assert result.output.count("root at 4.20 m") == 2 and result.exit_code == 0


def test_one_box_does_not_serve_several_images():
    with pytest.raises(InputError, match="2 images are given"):
        invoke("a.jpg", "b.jpg", "--box", "1,2,3,4")


def test_refused_images_are_listed_and_the_exit_code_says_so(called):
    result = invoke("a.jpg", "bad.jpg", "--device", "cpu")
    assert result.exit_code == 1 and "Refused: bad.jpg: it is bad" in result.output
    with pytest.raises(InputError, match="nothing was predicted. bad.jpg"):
        invoke("bad.jpg", "--device", "cpu")


@pytest.mark.parametrize("value", ["nan", "inf", "-3", "0", "wide"])
def test_a_focal_length_is_a_number_above_0(value):
    result = CliRunner().invoke(nvf, ["predict", "runs/x", "a.jpg", "--focal", value])
    assert result.exit_code == 2 and "is not a number above 0" in result.output


@pytest.mark.parametrize(
    "text", ["1,2,3", "a,b,c,d", "1,2,0,4", "1,2,3,-4", "1,2,3,nan", "nan,2,3,4", "1,inf,3,4", "1,2,inf,3"]
)
def test_a_box_has_four_numbers_and_an_area(text):
    with pytest.raises(InputError, match="--box"):
        parse_box(text)
