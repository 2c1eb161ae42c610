"""What `doctor` says of the models that are built in."""

from mamtra_cli.cli.doctor import words
from mamtra_cli.recipes.doctor import DoctorRecipe
from mamtra_cli.tasks.doctor import doctor


def test_built_in_models_stand_under_a_heading_of_their_own() -> None:
    lines = words(doctor(DoctorRecipe(device="cpu")))
    at = lines.index("models built in")
    assert [line.split()[0] for line in lines[at + 1 : at + 3]] == ["mini", "mini-mvc"]
    assert lines[at + 3] == "packages"
    assert all(line == line.rstrip() for line in lines)
