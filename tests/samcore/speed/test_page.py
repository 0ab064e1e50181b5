"""The page of a benchmark, in a browser."""

from samcore.speed.advice import conclude
from samcore.speed.page import render_bench
from samcore.speed.quiet import judge


def _as_if(record, others_cores):
    """The same numbers of a machine on which others did so much."""
    verdict = judge(others_cores=others_cores, cores=2, probes_s=[1.0])
    return conclude(record.model_copy(update={"busyness": verdict}), fps=1e-3)


def test_charts_and_numbers_of_a_quiet_machine(opened, measured):
    """Charts are drawn by light and in the dark, without a complaint, and no machine is asked for
    anything; a row of the table for each measurement; what to choose."""
    text = render_bench(_as_if(measured, 0.0))
    for dark, width in ((False, 1200), (True, 390)):
        page = opened(text, dark=dark, width=width)

        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
        for name in ("time-0", "limit-0", "images-0"):
            assert page.locator(f"#plot-{name} svg.main-svg").count() > 0, name
        assert page.locator("#plot-time-0 .ytick text").all_text_contents() == [
            "3 objects",
            "1 object",
        ]
        assert page.locator("tbody tr").count() == len(measured.setups[0].measured)
        assert "--model nano --image-size 64" in page.locator("#choices").inner_text()
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width


def test_a_busy_machine_has_no_conclusions(opened, measured):
    """The page says why, and has times, but neither limits nor choices."""
    page = opened(render_bench(_as_if(measured, 1.5)))

    assert "other processes kept 1.5 of 2 cores busy" in page.locator("#busy").inner_text()
    assert page.locator("#choices").count() == 0
    assert page.locator("#plot-limit-0").count() == 0
    assert page.locator("#plot-time-0 svg.main-svg").count() > 0
