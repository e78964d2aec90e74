"""axe-core, the checker of accessibility that browsers build on, finds nothing on any page."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_to_object_to(visit: Any, theme: str) -> None:
    visit.page.emulate_media(color_scheme=theme)
    visit.page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
    # Colours fade from one theme to the other.
    visit.page.evaluate("Promise.all(document.getAnimations().map(fading => fading.finished))")
    results = Axe().run(visit.page)
    assert results.violations_count == 0, results.generate_report()
