import pytest

from utils.errors import UserError, advising


def test_advice_is_added_to_what_is_said():
    with pytest.raises(UserError) as error:
        with advising("do that"):
            raise UserError("this is wrong")
    assert str(error.value) == "this is wrong; do that"


def test_other_errors_stay_as_they_are():
    with pytest.raises(ValueError, match="^a bug$"):
        with advising("do that"):
            raise ValueError("a bug")
