"""Rates as settings write them."""

import pytest

from umbel.utils.time import rate

celery_time = pytest.importorskip("celery.utils.time")


@pytest.mark.parametrize("text", ["10/s", "100/m", "2/h", "0.5/s", "10", 10, 2.5, 0, None, "0/m", "", "1e3/h"])
def test_rates_are_read_as_celery_reads_them(text: object) -> None:
    assert rate(text) == pytest.approx(celery_time.rate(text))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["often", "10/d", "-1", -3, "nan", "inf/s", object()])
def test_others_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        rate(text)  # type: ignore[arg-type]
