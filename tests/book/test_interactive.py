"""The pieces to play with show the numbers that torch computes, and can be used by keyboard."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Locator
from torch.nn import functional as F

from course_lib.optimizers import SGD, Adam, AdamW

PAGES = {
    "activations": "book/essentials/activations.html",
    "neuron": "book/essentials/backpropagation.html",
    "race": "book/ml_core/optimizers.html",
    "depth": "book/fundamentals/initialization.html",
}
DECIMAL = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


@pytest.fixture(scope="module", params=PAGES)
def any_piece(request: pytest.FixtureRequest, open_page: Callable[..., Any]) -> Locator:
    return piece(open_page, request.param)


def piece(open_page: Callable[..., Any], name: str) -> Locator:
    return open_page(PAGES[name]).page.locator(f"#try-{name}")


def said(piece: Locator) -> list[float]:
    """The numbers in the sentence below the picture."""
    text = piece.get_by_role("status").inner_text().replace("\u2212", "-")
    return [float(number) for number in DECIMAL.findall(text)]


def slide(piece: Locator, name: str, value: float) -> None:
    piece.get_by_role("slider", name=name).fill(str(value))


def test_a_piece_is_used_by_keyboard(any_piece: Locator) -> None:
    slider = any_piece.get_by_role("slider").first
    before = slider.input_value()
    slider.focus()
    slider.press("ArrowRight")
    assert float(slider.input_value()) > float(before)
    assert slider.get_attribute("aria-valuetext")


def test_a_piece_says_what_its_picture_shows(any_piece: Locator) -> None:
    assert any_piece.get_by_role("img").first.get_attribute("aria-label")
    assert any_piece.get_by_role("status").inner_text()


def test_without_javascript_no_piece_is_shown(browser: Browser, origin: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    for path in PAGES.values():
        page.goto(origin + path)
        assert page.locator(".interactive").count() == 1
        assert not page.locator(".interactive").is_visible()
        assert page.locator("article img").count() > 0
    context.close()


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "ReLU": F.relu,
    "leaky ReLU": lambda z: F.leaky_relu(z, 0.3),
    "GELU": F.gelu,
    "SiLU": F.silu,
    "Swish": lambda z: z * torch.sigmoid(0.3 * z),
}


def test_the_activations_and_their_slopes_are_torchs(open_page: Callable[..., Any]) -> None:
    found = piece(open_page, "activations")
    slide(found, "layers", 3)
    for name, function in FUNCTIONS.items():
        found.get_by_role("combobox").select_option(name)
        if found.get_by_role("slider", name="slope").is_visible():
            slide(found, "slope", 0.3)
        for at in (-2.5, -0.7, 0.4, 3.0):
            slide(found, "input", at)
            z = torch.tensor(at, dtype=torch.float64, requires_grad=True)
            value = function(z)
            (slope,) = torch.autograd.grad(value, z)
            shown_value, shown_slope, layers, _, product = said(found)[1:]
            assert layers == 3
            assert shown_value == pytest.approx(value.item(), abs=6e-5), (name, at)
            assert shown_slope == pytest.approx(slope.item(), abs=6e-5), (name, at)
            assert product == pytest.approx(slope.item() ** 3, rel=1e-2, abs=1e-6), (name, at)


def test_the_neuron_takes_the_steps_of_the_page(open_page: Callable[..., Any]) -> None:
    found = piece(open_page, "neuron")
    sentences = []
    for _ in range(8):
        found.get_by_role("button", name="Next step").press("Enter")
        sentences.append(said(found)[-1])
    assert sentences[:7] == [1.5, 1.5, 0.25, 1.0, 1.0, 2.0, 1.0]
    assert said(found)[2:] == [0.3, 0.4, 0.25, 0.0]
    assert found.get_by_role("button", name="Next step").is_disabled()
    slide(found, "target", -1.0)
    w = torch.tensor(0.5, requires_grad=True)
    (torch.relu(w * 2 + 0.5) + 1).square().backward()
    found.get_by_role("button", name="Previous step").click()
    found.get_by_role("button", name="Previous step").click()
    assert said(found)[-1] == pytest.approx(w.grad.item() if w.grad is not None else math.nan)


OPTIMIZERS: dict[str, Callable[[list[torch.Tensor], float], Any]] = {
    "SGD": lambda params, lr: SGD(params, lr=lr),
    "momentum": lambda params, lr: SGD(params, lr=lr, momentum=0.9),
    "Adam": lambda params, lr: Adam(params, lr=lr),
    "AdamW": lambda params, lr: AdamW(params, lr=lr, weight_decay=0.1),
}
SURFACES: dict[str, tuple[list[float], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "long valley": ([-4.0, 1.2], lambda x, y: 0.5 * (x**2 + 25 * y**2)),
    "curved valley": ([-4.0, 2.4], lambda x, y: 0.2 * (1 - x) ** 2 + 2 * (y - x**2 / 4) ** 2),
    "saddle": ([-4.0, 0.01], lambda x, y: 0.1 * (x**2 - 3 * y**2) + 0.05 * y**4 + 0.5),
}


@pytest.mark.parametrize("surface", SURFACES)
def test_the_racers_are_the_courses_optimizers(open_page: Callable[..., Any], surface: str) -> None:
    found = piece(open_page, "race")
    found.get_by_role("combobox").select_option(surface)
    slide(found, "step", 40)
    for name in OPTIMIZERS:
        slide(found, f"{name}, learning rate", -2)
    start, function = SURFACES[surface]
    expected = []
    for make in OPTIMIZERS.values():
        at = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        optimizer = make([at], 0.01)
        for _ in range(40):
            optimizer.zero_grad()
            function(*at).backward()
            optimizer.step()
        expected.append(function(*at).item())
    assert said(found) == pytest.approx([40, *expected], abs=2e-4)


def test_the_race_plays_and_stops_at_the_end(open_page: Callable[..., Any]) -> None:
    found = piece(open_page, "race")
    slide(found, "step", 195)
    found.get_by_role("button", name="Play").press("Enter")
    found.get_by_text("Loss after 200 steps").wait_for()
    found.get_by_role("button", name="Play").wait_for()


@pytest.mark.parametrize(
    ("activation", "preset", "low", "high"),
    [
        ("ReLU", "Kaiming", 0.1, 10),
        ("ReLU", "Xavier", 1e-6, 1e-3),
        ("none (linear)", "Xavier", 0.1, 10),
        ("tanh", "torch's default", 1e-9, 1e-5),
    ],
)
def test_the_spread_through_depth_is_what_theory_says(
    open_page: Callable[..., Any], activation: str, preset: str, low: float, high: float
) -> None:
    found = piece(open_page, "depth")
    found.get_by_role("combobox").select_option(activation)
    found.get_by_role("button", name=preset).click()
    layers, forward, _, backward = said(found)
    assert layers == 30
    assert low < forward < high
    assert low < backward < high
