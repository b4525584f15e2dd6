# SPDX-License-Identifier: GPL-2.0-only
"""An evaluation as text, as JSON, and as a page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from evaluate_results import HOSTILE, make_evaluation, without_attribution

from agenttune import document
from agenttune.evaluate.comparison import Verdict
from agenttune.evaluate.result import Evaluation
from agenttune.report.evaluation import credit, evaluation_text, headline
from agenttune.report.evaluation_html import evaluation_html

FIGURES = {
    *("ratios", "latency", "wakeups", "softirqs", "small-io", "slowest", "interrupts", "migrations")
}
SCHEMA = Path(__file__).parent.parent / "docs/schema/evaluation.json"
# Added to a copy of the page: what the browser made of it goes into the document that it dumps.
_PROBE = """<script>
const seen = [...document.querySelectorAll('figure')].map(f => {
  const s = f.querySelector('svg'), r = s ? s.getBoundingClientRect() : {width: 0, height: 0};
  const t = s ? [...s.querySelectorAll('text')] : [];
  const out = t.filter(e => { const b = e.getBoundingClientRect();
    return b.right > r.right + 2 || b.left < r.left - 2 || b.bottom > r.bottom + 2; });
  return {id: f.id, width: r.width, height: r.height, texts: t.length,
          small: Math.min(...t.map(e => e.getBoundingClientRect().height)),
          out: out.map(e => e.textContent)}; });
const css = getComputedStyle(document.body);
document.body.dataset.seen = JSON.stringify({figures: seen, ground: css.backgroundColor,
  ink: css.color, wide: document.documentElement.scrollWidth, view: innerWidth});
</script></body>"""


@pytest.fixture(scope="module")
def browser() -> str:
    for name in ("chromium-headless-shell", "chromium", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no headless browser: apt-get install chromium-headless-shell")


def test_the_text_answers_first() -> None:
    text = evaluation_text(make_evaluation())
    answer = next(line for line in text.splitlines() if line.startswith("tuned: "))
    assert re.fullmatch(
        r"tuned: p99 takes 0\.\d+ \(0\.\d+ to 0\.\d+\) of the baseline's time: "
        r"\d\.\d\d times as fast",
        answer,
    )
    assert "pinning" in text and "no evidence of a difference" in text
    assert "needs 10000 steps in a block, the smallest has 1200" in text
    assert "the module is not there" in text
    assert "they agree" in text


def test_the_parts_get_the_credit_that_their_own_arms_earned() -> None:
    done = make_evaluation()
    (line,) = credit(done)
    found = re.fullmatch(
        r"of its parts, each alone: affinity (2\.\d\d) times as fast \(p99\); "
        r"pinning: no evidence of a difference",
        line,
    )
    assert found and 2.0 < float(found[1]) < 2.5
    assert evaluation_text(done).splitlines()[4] == line
    assert f"<p>{line}</p>" in evaluation_html(done)
    assert credit(make_evaluation(rounds=3)) == []


def test_disagreeing_clocks_are_shouted() -> None:
    done = make_evaluation(rounds=6)
    first = done.blocks[0]
    assert first.attribution and first.attribution.agreement
    bad = replace(first.attribution.agreement, outside=3)
    block = replace(first, attribution=replace(first.attribution, agreement=bad))
    done = replace(done, blocks=(block, *done.blocks[1:]))
    assert "3 whose kernel interval is not within the agent's: THEY DO NOT AGREE" in (
        evaluation_text(done)
    )


def test_few_rounds_give_ratios_without_intervals_or_verdicts() -> None:
    done = make_evaluation(rounds=3)
    assert all(c.verdict is Verdict.TOO_FEW for arm in done.ran for c in arm.comparisons)
    assert headline(done) == ["tuned: too few samples: an interval needs 6 rounds, there are 3"]
    assert 'id="figure-ratios"' in evaluation_html(done)


def test_an_evaluation_that_stopped_before_a_round_was_complete_still_reports() -> None:
    done = make_evaluation()
    arms = tuple(replace(a, unavailable="no round is complete", figures=(), comparisons=())
                 for a in done.arms)  # fmt: skip
    done = replace(done, arms=arms, blocks=(), rounds=0, stopped="the guard: too slow")
    assert "STOPPED EARLY: the guard: too slow" in evaluation_text(done)
    assert "Stopped early: the guard: too slow" in evaluation_html(done)


def test_json_fits_the_schema_and_reads_back() -> None:
    done = make_evaluation(hostile=HOSTILE)
    data = document.encode("evaluation", done)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(data))
    assert document.decode("evaluation", Evaluation, data, "here") == done


def test_the_page_is_alone_and_obeys_no_text() -> None:
    html = evaluation_html(make_evaluation(hostile=HOSTILE))
    assert "<script" not in html and "\x1b" not in html
    assert "&lt;script&gt;" in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert "http" not in re.sub(r"https?://www\.w3\.org/\S+", "", html)
    assert set(re.findall(r'<figure id="figure-([a-z-]+)"', html)) == FIGURES


def rendered(browser: str, html: str, folder: Path, *options: str) -> tuple[dict, str]:
    """What the probe saw, and what the browser wrote to its console."""
    path = folder / "report.html"
    path.write_text(html.replace("</body>", _PROBE))
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", *options),
            *("--virtual-time-budget=2000", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert seen, done.stderr
    return json.loads(seen[1].replace("&quot;", '"').replace("&amp;", "&")), "\n".join(console)


@pytest.mark.parametrize("width", [500, 1280])
def test_every_figure_is_drawn_without_a_console_message(
    browser: str, tmp_path: Path, width: int
) -> None:
    html = evaluation_html(make_evaluation(hostile=HOSTILE))
    seen, console = rendered(browser, html, tmp_path, f"--window-size={width},900")
    assert console == ""
    assert seen["view"] == width and seen["wide"] <= width
    assert {each["id"].removeprefix("figure-") for each in seen["figures"]} == FIGURES
    for each in seen["figures"]:
        assert each["width"] > 300 and each["height"] > 60, each
        assert each["texts"] >= 3 and each["small"] >= 8, each
        assert each["out"] == [], each


def test_a_console_message_would_be_noticed(browser: str, tmp_path: Path) -> None:
    html = evaluation_html(make_evaluation(rounds=6)).replace(
        "<main>", "<main><script>console.error('noticed')</script>"
    )
    assert "noticed" in rendered(browser, html, tmp_path)[1]


def test_light_and_dark_have_contrast(browser: str, tmp_path: Path) -> None:
    html = evaluation_html(make_evaluation(rounds=6))
    light, _ = rendered(browser, html, tmp_path)
    dark, _ = rendered(browser, html, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert luminance(light["ground"]) > 0.9 > 0.1 > luminance(dark["ground"])
    for seen in (light, dark):
        pair = sorted((luminance(seen["ground"]), luminance(seen["ink"])))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 7


def test_the_colours_of_lines_stand_out_from_both_grounds() -> None:
    """WCAG 2.1 asks 3:1 of graphics."""
    style = re.search(r"<style>(.*?)</style>", evaluation_html(make_evaluation(rounds=6)), re.S)
    assert style
    light, dark = style[1].split("@media", 1)
    for part in (light, dark):
        found = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part))
        ground = luminance(found["ground"])
        for name in (*(f"c{n}" for n in range(8)), "heat", "soft", "ink"):
            pair = sorted((ground, luminance(found[name])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3, (name, found[name])


def luminance(colour: str) -> float:
    """WCAG's relative luminance of 'rgb(r, g, b)' or '#rrggbb'."""
    if colour.startswith("#"):
        parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    else:
        parts = [int(word) for word in re.findall(r"\d+", colour)[:3]]
    linear = [
        c / 12.92 if (c := part / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_without_attribution_the_page_says_that_nothing_was_observed() -> None:
    html = evaluation_html(without_attribution(make_evaluation()))
    assert html.count("Nothing of this was observed") == 4
    assert set(re.findall(r'<figure id="figure-([a-z-]+)"', html)) == FIGURES
