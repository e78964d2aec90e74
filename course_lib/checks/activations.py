"""Checks of ``activations``: eight functions and their gradients, with torch's as the oracle."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checking import Case, Check, Mistake, Outputs

VALUES = "values and gradients"
LARGE = "inputs as large as 10,000"
FORMS = "shapes and dtypes"
SHOWN = 5
"""Inputs of up to so many numbers stand in the message."""


# --- what all of them share -----------------------------------------------------------------------


def case(rng: torch.Generator, part: str, input: Tensor, **arguments: Any) -> Case:
    """Return a case: the input, the other arguments, a cotangent for the backward pass."""
    told = [f"{name}={_told(value)}" for name, value in arguments.items()]
    tensors = [value for value in arguments.values() if isinstance(value, Tensor)]
    shape = torch.broadcast_shapes(input.shape, *(tensor.shape for tensor in tensors))
    # One number is weighed by 1, so that its derivative stands in the message as it is.
    cotangent = torch.ones(shape) if shape.numel() == 1 else numbers(rng, *shape)
    if 1 < shape.numel() <= SHOWN and len(shape) == 1 and input.is_floating_point():
        told.append(f"backward from {_told(cotangent)}")
    return {
        "part": part,
        "title": ", ".join([_told(input), *told]),
        "input": input,
        "arguments": arguments,
        "cotangent": cotangent,
    }


def _told(value: Any) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    text = f"of shape {tuple(value.shape)}"
    if 1 <= value.numel() <= SHOWN and value.dim() <= 1:
        text = f"[{', '.join(f'{number:.4g}' for number in value.flatten().tolist())}]"
    return text if value.dtype == torch.float32 else f"{text}, {value.dtype}"


def numbers(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw numbers of either sign, from 0.25 to 2.75 in size: none is near a kink at 0."""
    sign = torch.randint(0, 2, shape, generator=rng) * 2 - 1
    return sign * (0.25 + 2.5 * torch.rand(shape, generator=rng))


def forms(rng: torch.Generator, part: str = FORMS, **arguments: Any) -> list[Case]:
    """Draw inputs of every shape, layout and dtype that an elementwise function must take."""
    n = int(torch.randint(3, 7, (), generator=rng))
    return [
        case(rng, part, torch.tensor(-1.5), **arguments),
        case(rng, part, numbers(rng, 3).double(), **arguments),
        case(rng, part, numbers(rng, 4).bfloat16(), **arguments),
        case(rng, part, numbers(rng, 0, 3), **arguments),
        case(rng, part, numbers(rng, 4, n).T, **arguments),
        case(rng, part, numbers(rng, 2, n, 3), **arguments),
    ]


def large(rng: torch.Generator, **arguments: Any) -> list[Case]:
    return [
        case(rng, LARGE, torch.tensor([1e4]), **arguments),
        case(rng, LARGE, torch.tensor([-1e4]), **arguments),
        case(rng, LARGE, torch.tensor([100.0, -100.0, 25.0, -25.0]), **arguments),
    ]


def integers(rng: torch.Generator) -> Case:
    return case(rng, FORMS, torch.tensor([2, -1, 1]))


def probe(function: Callable, case: Case) -> Outputs:
    """Run a function, and its backward pass to all the tensors that can have a gradient."""
    given = {"input": case["input"], **case["arguments"]}
    leaves = {
        name: value.requires_grad_()
        for name, value in given.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    # A change in place of a leaf would stop the code; that of a copy shows in the copy.
    handed = {name: leaves[name].clone() if name in leaves else given[name] for name in given}
    input = handed.pop("input")
    output = function(input, **handed)
    return {
        "the output": output,
        **_gradients(output, leaves, case["cotangent"]),
        "input, which must not change": input,
    }


def _gradients(output: Any, leaves: dict[str, Tensor], cotangent: Tensor) -> Outputs:
    """Return the gradient of every leaf.

    None in low precision, where each rounding shows, and none of an empty input, which a right
    solution may leave out of the graph.
    """
    if not leaves or leaves["input"].dtype == torch.bfloat16 or not leaves["input"].numel():
        return {}
    gradients: Any = [None] * len(leaves)
    if isinstance(output, Tensor) and output.requires_grad and output.shape == cotangent.shape:
        gradients = torch.autograd.grad(
            output, list(leaves.values()), cotangent.to(output.dtype), allow_unused=True
        )
    return {f"the gradient of {name}": grad for name, grad in zip(leaves, gradients, strict=True)}


OWNERS = {
    "torch": torch,
    "torch.Tensor": Tensor,
    "torch.special": torch.special,
    "torch.nn.functional": F,
}


def banned(*names: str, layers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the dotted names of functions wherever torch has them, and of layers."""
    return (
        *(f"{owner}.{name}" for owner in OWNERS for name in names if hasattr(OWNERS[owner], name)),
        *(f"torch.nn.{layer}" for layer in layers),
    )


def common_mistakes(right: Callable) -> tuple[Mistake, ...]:
    """Return the mistakes that can be made with any of the functions, made with a right one."""

    def detached(input: Tensor, **arguments: Any) -> Tensor:
        return right(input, **arguments).detach()

    def in_place(input: Tensor, **arguments: Any) -> Tensor:
        output = right(input.clone(), **arguments)
        if input.dtype == output.dtype and input.shape == output.shape:
            input.data.copy_(output.detach())
        return output

    def always_float32(input: Tensor, **arguments: Any) -> Tensor:
        return right(input, **arguments).float()

    return (
        Mistake(
            "no_gradient",
            "The values are right, but autograd cannot follow: compute with torch functions on "
            "the tensor itself, without .detach(), .data, .item(), NumPy or torch.no_grad().",
            detached,
        ),
        Mistake(
            "changes_its_input",
            "The input is overwritten: leave it as it is and return a new tensor (no functions "
            "that end in _, no input[...] = ...).",
            in_place,
        ),
        Mistake(
            "always_float32",
            "The result must have the dtype of the input: here it is always float32.",
            always_float32,
        ),
    )


def stable_sigmoid(input: Tensor) -> Tensor:
    return torch.exp(-torch.logaddexp(-input, torch.zeros_like(input)))


def real(input: Tensor) -> Tensor:
    return input if input.is_floating_point() else input.float()


# --- sigmoid --------------------------------------------------------------------------------------


def sigmoid_formula(input: Tensor) -> Tensor:
    return stable_sigmoid(real(input))


def sigmoid_overflowing(input: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-real(input)))


def sigmoid_overflowing_upwards(input: Tensor) -> Tensor:
    return torch.exp(real(input)) / (1 + torch.exp(real(input)))


def sigmoid_of_two_branches(input: Tensor) -> Tensor:
    return torch.where(input >= 0, sigmoid_overflowing(input), sigmoid_overflowing_upwards(input))


def sigmoid_through_abs(input: Tensor) -> Tensor:
    z = torch.exp(-real(input).abs())
    return torch.where(input >= 0, 1, z) / (1 + z)


def sigmoid_clamped(input: Tensor) -> Tensor:
    return sigmoid_formula(real(input).clamp(-10, 10))


def sigmoid_mirrored(input: Tensor) -> Tensor:
    return sigmoid_formula(-input)


def sigmoid_too_steep(input: Tensor) -> Tensor:
    return sigmoid_formula(2 * input)


def sigmoid_as_tanh(input: Tensor) -> Tensor:
    return 2 * sigmoid_formula(2 * input) - 1


def sigmoid_without_plus_one(input: Tensor) -> Tensor:
    return torch.exp(real(input))


NO_BRANCH = (
    "torch.where computes both branches for every element, and the overflow in the one not taken "
    "makes the gradient nan (0 times infinity): make the argument of exp safe before exp."
)

SIGMOID_MISTAKES = (
    Mistake(
        "overflow",
        "For very negative inputs exp(-x) is infinite. The value survives (1 / inf = 0), but its "
        "gradient is nan: let exp see only numbers that are not positive.",
        sigmoid_overflowing,
    ),
    Mistake(
        "overflow_upwards",
        "For large inputs exp(x) is infinite, and inf / inf is nan: let exp see only numbers "
        "that are not positive.",
        sigmoid_overflowing_upwards,
    ),
    Mistake("branch_not_taken", NO_BRANCH, sigmoid_of_two_branches),
    Mistake(
        "no_gradient_at_0",
        "The derivative at 0 is 1/4, and yours is 0: autograd takes the slope of abs (also of "
        "max(x, -x)) at 0 as 0. Choose the sign with torch.where(x >= 0, -x, x) instead.",
        sigmoid_through_abs,
    ),
    Mistake(
        "clamped",
        "The input is clamped too tightly: sigmoid(10) is 0.99995, and 1 is still far away.",
        sigmoid_clamped,
    ),
    Mistake("mirrored", "The sign is wrong: 1 / (1 + exp(-x)) grows with x.", sigmoid_mirrored),
    Mistake(
        "too_steep",
        "This is sigmoid(2 x): with tanh it is (1 + tanh(x / 2)) / 2.",
        sigmoid_too_steep,
    ),
    Mistake("tanh", "This is tanh, from -1 to 1: sigmoid goes from 0 to 1.", sigmoid_as_tanh),
    Mistake(
        "not_normalised",
        "exp(x) alone has no upper limit: divide by 1 + exp(x), safely.",
        sigmoid_without_plus_one,
    ),
    *common_mistakes(sigmoid_formula),
)


def sigmoid_inputs(rng: torch.Generator) -> list[Case]:
    return [
        case(rng, VALUES, torch.zeros(1)),
        case(rng, VALUES, torch.tensor([1.0, -2.0])),
        case(rng, VALUES, numbers(rng, 5)),
        *large(rng),
        *forms(rng),
        integers(rng),
    ]


check_sigmoid = Check(
    module="activations",
    exercise="sigmoid",
    target="sigmoid",
    parts={VALUES: 1, LARGE: 1, FORMS: 1},
    inputs=sigmoid_inputs,
    probe=probe,
    oracle=torch.sigmoid,
    mistakes=SIGMOID_MISTAKES,
    hints=(
        "1 / (1 + exp(-x)) is right on paper. For which inputs is exp(-x) too large for a float, "
        "and what does the chain rule make of infinity?",
        "Multiply numerator and denominator by exp(x): exp(x) / (1 + exp(x)) is the same number "
        "and safe where the first form is not. Which one is safe for which sign?",
        "z = exp(-|x|) never overflows; the result is 1 / (1 + z) or z / (1 + z). Write -|x| as "
        "torch.where(x >= 0, -x, x), which has the right slope at 0.",
    ),
    forbidden=banned(
        *("sigmoid", "sigmoid_", "expit", "logsigmoid", "glu", "silu"),
        layers=("Sigmoid", "LogSigmoid", "GLU", "SiLU"),
    ),
)


# --- tanh -----------------------------------------------------------------------------------------


def tanh_formula(input: Tensor) -> Tensor:
    return 2 * stable_sigmoid(2 * real(input)) - 1


def tanh_overflowing(input: Tensor) -> Tensor:
    up, down = torch.exp(real(input)), torch.exp(-real(input))
    return (up - down) / (up + down)


def tanh_overflowing_upwards(input: Tensor) -> Tensor:
    return (torch.exp(2 * real(input)) - 1) / (torch.exp(2 * real(input)) + 1)


def tanh_overflowing_downwards(input: Tensor) -> Tensor:
    return (1 - torch.exp(-2 * real(input))) / (1 + torch.exp(-2 * real(input)))


def tanh_gradient_overflowing(input: Tensor) -> Tensor:
    return 1 - 2 / (1 + torch.exp(2 * real(input)))


def tanh_gradient_overflowing_downwards(input: Tensor) -> Tensor:
    return 2 / (1 + torch.exp(-2 * real(input))) - 1


def tanh_of_two_branches(input: Tensor) -> Tensor:
    return torch.where(
        input >= 0, tanh_overflowing_downwards(input), tanh_overflowing_upwards(input)
    )


def tanh_through_abs(input: Tensor) -> Tensor:
    z = torch.exp(-2 * real(input).abs())
    return real(input).sign() * (1 - z) / (1 + z)


def tanh_as_sigmoid(input: Tensor) -> Tensor:
    return stable_sigmoid(real(input))


def tanh_too_flat(input: Tensor) -> Tensor:
    return 2 * stable_sigmoid(real(input)) - 1


def tanh_not_shifted(input: Tensor) -> Tensor:
    return stable_sigmoid(2 * real(input))


def tanh_mirrored(input: Tensor) -> Tensor:
    return -tanh_formula(input)


def tanh_clamped(input: Tensor) -> Tensor:
    return tanh_formula(real(input).clamp(-4, 4))


TANH_MISTAKES = (
    Mistake(
        "overflow",
        "For large inputs of either sign an exponential is infinite, and inf / inf is nan: let "
        "exp see only numbers that are not positive.",
        tanh_overflowing,
    ),
    Mistake(
        "overflow_upwards",
        "For large inputs exp(2 x) is infinite, and inf / inf is nan: let exp see only numbers "
        "that are not positive.",
        tanh_overflowing_upwards,
    ),
    Mistake(
        "overflow_downwards",
        "For very negative inputs exp(-2 x) is infinite, and inf / inf is nan: let exp see only "
        "numbers that are not positive.",
        tanh_overflowing_downwards,
    ),
    Mistake(
        "gradient_overflows",
        "The value survives the infinite exp(2 x) (2 / inf = 0), but its gradient is nan: let exp "
        "see only numbers that are not positive.",
        tanh_gradient_overflowing,
    ),
    Mistake(
        "gradient_overflows_downwards",
        "The value survives the infinite exp(-2 x) of very negative inputs (2 / inf = 0), but "
        "its gradient is nan: let exp see only numbers that are not positive.",
        tanh_gradient_overflowing_downwards,
    ),
    Mistake("branch_not_taken", NO_BRANCH, tanh_of_two_branches),
    Mistake(
        "no_gradient_at_0",
        "The derivative at 0 is 1, and yours is 0: autograd takes the slopes of abs and sign at 0 "
        "as 0. Choose the sign with torch.where(x >= 0, -x, x) instead.",
        tanh_through_abs,
    ),
    Mistake("sigmoid", "This is sigmoid, from 0 to 1: tanh goes from -1 to 1.", tanh_as_sigmoid),
    Mistake(
        "too_flat",
        "This is tanh(x / 2): with sigmoid it is 2 sigmoid(2 x) - 1.",
        tanh_too_flat,
    ),
    Mistake(
        "not_shifted",
        "This is sigmoid(2 x), from 0 to 1: stretch it to -1 to 1 with 2 sigmoid(2 x) - 1.",
        tanh_not_shifted,
    ),
    Mistake("mirrored", "The sign is wrong: tanh grows with x.", tanh_mirrored),
    Mistake(
        "clamped",
        "The input is clamped too tightly: tanh(4) is 0.9993, and 1 is still far away.",
        tanh_clamped,
    ),
    *common_mistakes(tanh_formula),
)

check_tanh = Check(
    module="activations",
    exercise="tanh",
    target="tanh",
    parts={VALUES: 1, LARGE: 1, FORMS: 1},
    inputs=sigmoid_inputs,
    probe=probe,
    oracle=torch.tanh,
    mistakes=TANH_MISTAKES,
    hints=(
        "Divide numerator and denominator by the larger of the two exponentials: what is left "
        "cannot overflow.",
        "tanh is a sigmoid, stretched from (0, 1) to (-1, 1) and twice as steep: you have written "
        "a stable one already.",
        "tanh(x) = 2 sigmoid(2 x) - 1. Or, without rounding away tiny inputs: with "
        "z = expm1(-2 |x|) it is -z / (2 + z) for positive x and z / (2 + z) for negative x.",
    ),
    forbidden=banned("tanh", "tanh_", "tanhshrink", layers=("Tanh", "Tanhshrink")),
)


# --- relu -----------------------------------------------------------------------------------------


def relu_formula(input: Tensor) -> Tensor:
    return input * (input > 0)


def relu_clamped(input: Tensor) -> Tensor:
    return input.clamp(min=0)


def relu_as_maximum(input: Tensor) -> Tensor:
    return torch.maximum(input, torch.zeros_like(input))


def relu_step(input: Tensor) -> Tensor:
    return 0 * input + (input > 0).to(input.dtype)


def relu_of_the_other_side(input: Tensor) -> Tensor:
    return input * (input < 0)


def relu_absolute(input: Tensor) -> Tensor:
    return input.abs()


def relu_leaking(input: Tensor) -> Tensor:
    return torch.where(input > 0, input, (0.01 * input).to(input.dtype))


def relu_identity(input: Tensor) -> Tensor:
    return 1 * input


def relu_capped(input: Tensor) -> Tensor:
    return relu_formula(input) - relu_formula(input - 6)


def relu_smooth(input: Tensor) -> Tensor:
    output = torch.logaddexp(real(input), torch.zeros_like(real(input)))
    return output.to(input.dtype)


RELU_MISTAKES = (
    Mistake(
        "slope_1_at_0",
        "The derivative at 0 is 0 by convention, and yours is 1: clamp(min=0), like >= 0, lets "
        "the gradient through at 0 itself.",
        relu_clamped,
    ),
    Mistake(
        "slope_half_at_0",
        "The derivative at 0 is 0 by convention, and yours is 1/2: maximum shares the gradient "
        "between two equal arguments, and (x + |x|) / 2 has half of it too.",
        relu_as_maximum,
    ),
    Mistake(
        "step", "This is the derivative (0 or 1): keep x itself where it is positive.", relu_step
    ),
    Mistake(
        "other_side",
        "The wrong side is kept: relu keeps what is positive.",
        relu_of_the_other_side,
    ),
    Mistake("absolute", "Negative elements become 0; here their sign was turned.", relu_absolute),
    Mistake("leaking", "Negative elements become exactly 0: this is leaky_relu.", relu_leaking),
    Mistake("identity", "Nothing happens: negative elements must become 0.", relu_identity),
    Mistake("capped", "There is no upper limit: this one stops at 6.", relu_capped),
    Mistake(
        "smooth",
        "This is softplus, log(1 + exp(x)), the smooth relative: relu is exactly 0 on the left "
        "and exactly x on the right.",
        relu_smooth,
    ),
    *common_mistakes(relu_formula),
)

AT_ZERO = "the derivative at 0"


def relu_inputs(rng: torch.Generator) -> list[Case]:
    return [
        case(rng, VALUES, torch.tensor([1.5, -2.0])),
        case(rng, VALUES, numbers(rng, 5)),
        case(rng, VALUES, torch.tensor([1e4, -1e4, 1e-4, -1e-4])),
        case(rng, AT_ZERO, torch.tensor([0.0])),
        case(rng, AT_ZERO, torch.tensor([1.0, 0.0, -1.0, 0.0])),
        *forms(rng),
        integers(rng),
    ]


check_relu = Check(
    module="activations",
    exercise="relu",
    target="relu",
    parts={VALUES: 1, AT_ZERO: 1, FORMS: 1},
    inputs=relu_inputs,
    probe=probe,
    oracle=torch.relu,
    mistakes=RELU_MISTAKES,
    hints=(
        "Two cases: what is positive stays, everything else becomes 0.",
        "torch.where(condition, a, b) takes a where the condition holds and b elsewhere; the "
        "gradient follows the same choice.",
        "On which side of your condition does 0 itself belong, if its derivative is to be 0?",
    ),
    forbidden=banned(
        *("relu", "relu_", "relu6", "threshold", "threshold_", "leaky_relu", "leaky_relu_"),
        *("prelu", "rrelu", "rrelu_"),
        layers=("ReLU", "ReLU6", "Threshold", "LeakyReLU", "PReLU", "RReLU"),
    ),
)


# --- leaky_relu -----------------------------------------------------------------------------------


def leaky(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return torch.where(input > 0, input, negative_slope * input)


def leaky_always_default(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return leaky(input)


def leaky_not_at_all(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return leaky(input, 0.0)


def leaky_default_tenth(input: Tensor, negative_slope: float = 0.1) -> Tensor:
    return leaky(input, negative_slope)


def leaky_of_the_other_side(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return torch.where(input < 0, input, negative_slope * input)


def leaky_turned(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return leaky(input, -negative_slope)


def leaky_constant(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return torch.where(input > 0, input, negative_slope)


def leaky_divided(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return leaky(input, 1 / negative_slope)


def leaky_as_maximum(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return torch.maximum(input, negative_slope * input)


def leaky_twice(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return torch.where(input > 0, (1 + negative_slope) * input, negative_slope * input)


def leaky_slope_1_at_0(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return torch.where(input >= 0, input, negative_slope * input)


def leaky_slope_0_at_0(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return relu_formula(input) - negative_slope * relu_formula(-input)


def leaky_slope_half_at_0(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    zero = torch.zeros_like(input)
    return torch.maximum(input, zero) + negative_slope * torch.minimum(input, zero)


def leaky_both_at_0(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    return input.clamp(min=0) + negative_slope * input.clamp(max=0)


AT_0 = "The derivative at 0 is negative_slope: 0 belongs to the negative side, as in torch. "

LEAKY_MISTAKES = (
    Mistake(
        "ignores_the_slope",
        "The slope is fixed at 0.01: take it from negative_slope.",
        leaky_always_default,
    ),
    Mistake(
        "relu",
        "This is relu: negative elements are multiplied by negative_slope, not by 0.",
        leaky_not_at_all,
    ),
    Mistake("other_default", "The default slope is 0.01, not 0.1.", leaky_default_tenth),
    Mistake(
        "other_side",
        "The slope acts on the wrong side: positive elements stay as they are.",
        leaky_of_the_other_side,
    ),
    Mistake("turned", "Negative elements stay negative: the sign was turned.", leaky_turned),
    Mistake(
        "constant",
        "On the negative side the result is negative_slope times x, not negative_slope itself.",
        leaky_constant,
    ),
    Mistake("divided", "Multiply by negative_slope; here it divides.", leaky_divided),
    Mistake(
        "slope_between_at_0",
        AT_0 + "Yours lies halfway between the two slopes, because maximum and minimum share the "
        "gradient between equal arguments.",
        leaky_slope_half_at_0,
    ),
    Mistake(
        "maximum",
        "The maximum of x and negative_slope * x is right only for slopes from 0 to 1: decide by "
        "the sign of x instead.",
        leaky_as_maximum,
    ),
    Mistake(
        "added_on_both_sides",
        "negative_slope * x is added on both sides: positive elements stay exactly as they are.",
        leaky_twice,
    ),
    Mistake("slope_1_at_0", AT_0 + "Yours is 1: use > 0, not >= 0.", leaky_slope_1_at_0),
    Mistake("slope_0_at_0", AT_0 + "Yours is 0: neither side takes it.", leaky_slope_0_at_0),
    Mistake(
        "both_slopes_at_0",
        AT_0 + "Yours is 1 + negative_slope: both clamps let the gradient through.",
        leaky_both_at_0,
    ),
    *common_mistakes(leaky),
)


def leaky_inputs(rng: torch.Generator) -> list[Case]:
    default, other = "the default slope", "other slopes"
    return [
        case(rng, default, torch.tensor([1.5, -2.0])),
        case(rng, default, numbers(rng, 5)),
        *forms(rng, default),
        case(rng, other, torch.tensor([1.5, -2.0]), negative_slope=0.25),
        case(rng, other, torch.tensor([1.5, -2.0]), negative_slope=2.0),
        case(rng, other, numbers(rng, 2, 3), negative_slope=-0.5),
        case(rng, AT_ZERO, torch.tensor([0.0]), negative_slope=0.25),
        case(rng, AT_ZERO, torch.tensor([1.0, 0.0, -1.0, 0.0])),
    ]


check_leaky_relu = Check(
    module="activations",
    exercise="leaky_relu",
    target="leaky_relu",
    parts={"the default slope": 1, "other slopes": 1, AT_ZERO: 1},
    inputs=leaky_inputs,
    probe=probe,
    oracle=F.leaky_relu,
    mistakes=LEAKY_MISTAKES,
    hints=(
        "As relu, but the negative side keeps a slope and with it a gradient.",
        "Decide by the sign of the input, not by which of two numbers is larger: the slope may "
        "be larger than 1.",
        "torch.where(input > 0, ..., ...): one branch is the input, the other negative_slope "
        "times the input. With > the 0 belongs to the second.",
    ),
    forbidden=banned(
        *("leaky_relu", "leaky_relu_", "prelu", "rrelu", "rrelu_"),
        layers=("LeakyReLU", "PReLU", "RReLU"),
    ),
)


# --- gelu -----------------------------------------------------------------------------------------


def gelu_exact(input: Tensor) -> Tensor:
    return input * torch.special.ndtr(input.double()).to(input.dtype)


def gelu_through_tanh(
    input: Tensor, factor: float = (2 / math.pi) ** 0.5, power: int = 3
) -> Tensor:
    return input * stable_sigmoid(2 * factor * (input + 0.044715 * input**power))


def gelu_formula(input: Tensor, approximate: str = "none") -> Tensor:
    return gelu_exact(input) if approximate == "none" else gelu_through_tanh(input)


def with_exact(wrong: Callable) -> Callable:
    """Return a gelu that is wrong without an approximation."""

    def gelu(input: Tensor, approximate: str = "none") -> Tensor:
        return wrong(input) if approximate == "none" else gelu_through_tanh(input)

    return gelu


def with_tanh(wrong: Callable) -> Callable:
    """Return a gelu that is wrong with the approximation."""

    def gelu(input: Tensor, approximate: str = "none") -> Tensor:
        return gelu_exact(input) if approximate == "none" else wrong(input)

    return gelu


GELU_MISTAKES = (
    Mistake(
        "always_tanh",
        'approximate="none", the default, asks for the exact formula with erf: here the tanh '
        "formula was used for both.",
        with_exact(gelu_through_tanh),
    ),
    Mistake(
        "never_tanh",
        'approximate="tanh" asks for the approximation: here the exact formula was used for both.',
        with_tanh(gelu_exact),
    ),
    Mistake(
        "no_root_of_two",
        "erf takes x / sqrt(2): without the root this is the distribution of a normal number "
        "with variance 1/2.",
        with_exact(lambda input: input * (1 + torch.erf(input)) / 2),
    ),
    Mistake(
        "halved_instead_of_root",
        "erf takes x / sqrt(2), not x / 2.",
        with_exact(lambda input: input * (1 + torch.erf(input / 2)) / 2),
    ),
    Mistake(
        "no_half",
        "The factor 1/2 is missing: Phi is (1 + erf(x / sqrt(2))) / 2, between 0 and 1.",
        lambda input, approximate="none": 2 * gelu_formula(input, approximate),
    ),
    Mistake(
        "no_one",
        "The 1 is missing: Phi is (1 + erf(x / sqrt(2))) / 2, and tanh stands in for erf.",
        lambda input, approximate="none": gelu_formula(input, approximate) - input / 2,
    ),
    Mistake(
        "only_the_probability",
        "This is Phi(x) alone: multiply it by x.",
        lambda input, approximate="none": (
            stable_sigmoid(1.5957691216 * (input + 0.044715 * input**3))
            if approximate == "tanh"
            else (1 + torch.erf(input / 2**0.5)) / 2
        ),
    ),
    Mistake(
        "quick",
        "This is another approximation, x * sigmoid(1.702 x), which is off by up to 0.02.",
        lambda input, approximate="none": input * stable_sigmoid(1.702 * input),
    ),
    Mistake(
        "density",
        "Phi is the distribution function, not the bell curve itself: it grows from 0 to 1.",
        with_exact(lambda input: input * torch.exp(-(input**2) / 2) / (2 * math.pi) ** 0.5),
    ),
    Mistake(
        "square_for_cube",
        "In the approximation x is cubed, not squared: u = sqrt(2 / pi) (x + 0.044715 x**3).",
        with_tanh(lambda input: gelu_through_tanh(input, power=2)),
    ),
    Mistake(
        "no_cube",
        "In the approximation the term 0.044715 x**3 is missing.",
        with_tanh(lambda input: input * stable_sigmoid(2 * (2 / math.pi) ** 0.5 * input)),
    ),
    Mistake(
        "factor_without_root",
        "The factor in the approximation is sqrt(2 / pi): the root is missing.",
        with_tanh(lambda input: gelu_through_tanh(input, factor=2 / math.pi)),
    ),
    Mistake(
        "no_factor",
        "The factor sqrt(2 / pi) is missing in the approximation.",
        with_tanh(lambda input: gelu_through_tanh(input, factor=1.0)),
    ),
    Mistake(
        "factor_on_one_term",
        "The factor sqrt(2 / pi) multiplies the whole sum x + 0.044715 x**3, not only x.",
        with_tanh(
            lambda input: (
                input * stable_sigmoid(2 * ((2 / math.pi) ** 0.5 * input + 0.044715 * input**3))
            )
        ),
    ),
    *common_mistakes(gelu_formula),
)


def gelu_inputs(rng: torch.Generator) -> list[Case]:
    exact, approximation = "the exact formula", "the tanh approximation"
    tellers = torch.tensor([1.0, -1.0, 2.25, -2.25])  # here the two formulas are far apart
    return [
        case(rng, exact, torch.tensor([1.0])),
        case(rng, exact, tellers),
        case(rng, exact, numbers(rng, 5), approximate="none"),
        case(rng, approximation, torch.tensor([1.0]), approximate="tanh"),
        case(rng, approximation, tellers, approximate="tanh"),
        case(rng, approximation, numbers(rng, 2, 3), approximate="tanh"),
        *large(rng),
        *large(rng, approximate="tanh"),
        *forms(rng),
        case(rng, FORMS, tellers.double(), approximate="tanh"),
        case(rng, FORMS, numbers(rng, 4).bfloat16(), approximate="tanh"),
    ]


check_gelu = Check(
    module="activations",
    exercise="gelu",
    target="gelu",
    parts={"the exact formula": 1, "the tanh approximation": 1, LARGE: 1, FORMS: 1},
    inputs=gelu_inputs,
    probe=probe,
    oracle=F.gelu,
    mistakes=GELU_MISTAKES,
    hints=(
        "The two formulas differ by less than 0.0005, so look at the digits: torch.erf belongs to "
        'approximate="none".',
        "Phi(1) is 0.8413, so gelu(1) is too. Is yours? If not, look at the root of 2 and the 1/2.",
        "0.5 * x * (1 + erf(x / 2**0.5)); and with tanh in place of erf, of "
        "(2 / torch.pi)**0.5 * (x + 0.044715 * x**3).",
    ),
    forbidden=banned("gelu", layers=("GELU",)),
)


# --- silu -----------------------------------------------------------------------------------------


def silu_formula(input: Tensor) -> Tensor:
    return input * stable_sigmoid(input)


SILU_MISTAKES = (
    Mistake(
        "only_the_gate",
        "This is the gate sigmoid(x) alone: multiply it by x.",
        stable_sigmoid,
    ),
    Mistake(
        "gate_mirrored",
        "The gate is mirrored: sigmoid(x) opens for positive x, sigmoid(-x) for negative.",
        lambda input: input * stable_sigmoid(-input),
    ),
    Mistake(
        "gate_of_tanh",
        "The gate is sigmoid, from 0 to 1: here it is tanh.",
        lambda input: input * (2 * stable_sigmoid(2 * input) - 1),
    ),
    Mistake(
        "gate_too_steep",
        "The gate is sigmoid(x): sigmoid(1.702 x) imitates gelu.",
        lambda input: input * stable_sigmoid(1.702 * input),
    ),
    Mistake(
        "gate_without_gradient",
        "The gradient must pass through the gate too: here it is a constant to autograd.",
        lambda input: input * stable_sigmoid(input).detach(),
    ),
    Mistake(
        "product_without_gradient",
        "The gradient must pass through both factors: here the x before the gate is a constant "
        "to autograd.",
        lambda input: input.detach() * stable_sigmoid(input),
    ),
    Mistake(
        "gate_of_lines",
        "This is hard swish, whose gate is made of straight lines: the gate is sigmoid(x).",
        lambda input: input * (input / 6 + 0.5).clamp(0, 1),
    ),
    Mistake("gelu", "This is gelu: the gate is sigmoid(x), not Phi(x).", gelu_exact),
    Mistake(
        "overflow",
        "For very negative inputs exp(-x) is infinite and makes the gradient nan: use your stable "
        "sigmoid.",
        lambda input: input / (1 + torch.exp(-input)),
    ),
    Mistake(
        "overflow_upwards",
        "For large inputs exp(x) is infinite, and inf / inf is nan: use your stable sigmoid.",
        lambda input: input * torch.exp(input) / (1 + torch.exp(input)),
    ),
    *common_mistakes(silu_formula),
)


def silu_inputs(rng: torch.Generator) -> list[Case]:
    return [
        case(rng, VALUES, torch.tensor([1.0])),
        case(rng, VALUES, torch.tensor([0.0, 2.5, -2.5])),
        case(rng, VALUES, numbers(rng, 5)),
        *large(rng),
        *forms(rng),
    ]


check_silu = Check(
    module="activations",
    exercise="silu",
    target="silu",
    parts={VALUES: 1, LARGE: 1, FORMS: 1},
    inputs=silu_inputs,
    probe=probe,
    oracle=F.silu,
    mistakes=SILU_MISTAKES,
    hints=(
        "A gate is a factor between 0 and 1, and here the input opens its own.",
        "You have written a stable gate already, in the first exercise.",
        "The input times the sigmoid of the input; both factors carry a gradient.",
    ),
    forbidden=banned("silu", "glu", layers=("SiLU", "GLU")),
)


# --- swish ----------------------------------------------------------------------------------------


def swish_formula(input: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    return input * stable_sigmoid(beta * input)


def swish_overflowing(input: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    return input / (1 + torch.exp(-beta * input))


def swish_overflowing_upwards(input: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    return input * torch.exp(beta * input) / (1 + torch.exp(beta * input))


def swish_of_both(input: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    return beta * swish_formula(input, beta)


def swish_of_constant(input: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    return swish_formula(input, beta.detach() if isinstance(beta, Tensor) else beta)


def swish_of_first(input: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    return swish_formula(input, beta.flatten()[0] if isinstance(beta, Tensor) else beta)


def swish_of_mean(input: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    return swish_formula(input, beta.mean() if isinstance(beta, Tensor) else beta)


def swish_of_absolute(input: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    return swish_formula(input, beta.abs() if isinstance(beta, Tensor) else abs(beta))


SWISH_MISTAKES = (
    Mistake(
        "ignores_beta",
        "beta has no effect: it multiplies x inside the sigmoid.",
        lambda input, beta=1.0: swish_formula(input) + 0 * beta,
    ),
    Mistake(
        "beta_outside",
        "beta belongs inside the sigmoid, x * sigmoid(beta * x): here it multiplies the result.",
        lambda input, beta=1.0: beta * swish_formula(input),
    ),
    Mistake(
        "beta_on_both",
        "beta belongs inside the sigmoid only: the x in front of it stays as it is.",
        swish_of_both,
    ),
    Mistake(
        "divides_by_beta",
        "beta multiplies x, it does not divide it: a larger beta makes the gate steeper.",
        lambda input, beta=1.0: swish_formula(input, 1 / beta),
    ),
    Mistake(
        "scaled_back",
        "Nothing divides by beta: with softplus it would be another function.",
        lambda input, beta=1.0: swish_formula(input, beta) / beta,
    ),
    Mistake(
        "beta_added",
        "beta multiplies x inside the sigmoid; here it is added.",
        lambda input, beta=1.0: input * stable_sigmoid(beta + input),
    ),
    Mistake(
        "beta_without_sign",
        "beta may be negative, and then the gate opens for negative x: here its sign was lost.",
        swish_of_absolute,
    ),
    Mistake(
        "beta_without_gradient",
        "beta may be a parameter that learns, and no gradient reaches it: use it as the tensor it "
        "is, without float(), .item(), .data or .detach().",
        swish_of_constant,
    ),
    Mistake(
        "first_beta_for_all",
        "A tensor beta has a value for each column here: the first one was used for all.",
        swish_of_first,
    ),
    Mistake(
        "mean_of_betas",
        "A tensor beta has a value for each column here: their mean was used for all.",
        swish_of_mean,
    ),
    Mistake(
        "overflow",
        "For large inputs exp(-beta x) is infinite and makes the gradient nan: use your stable "
        "sigmoid.",
        swish_overflowing,
    ),
    Mistake(
        "overflow_upwards",
        "For large inputs exp(beta x) is infinite, and inf / inf is nan: use your stable sigmoid.",
        swish_overflowing_upwards,
    ),
    *common_mistakes(swish_formula),
)


def swish_oracle(input: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    """Return the definition, for want of a swish in torch."""
    return input * torch.sigmoid(beta * input)


def swish_inputs(rng: torch.Generator) -> list[Case]:
    number, tensor = "beta as a number", "beta as a tensor that learns"
    n = int(torch.randint(4, 7, (), generator=rng))
    return [
        case(rng, number, torch.tensor([1.0, -2.0])),
        case(rng, number, torch.tensor([1.0, -2.0]), beta=2.0),
        case(rng, number, torch.tensor([1.0, -2.0]), beta=-0.5),
        *forms(rng, number, beta=1.5),
        case(rng, tensor, torch.tensor([1.0, -2.0]), beta=torch.tensor(2.0)),
        case(rng, tensor, numbers(rng, 2, 3), beta=torch.tensor([-1.5, 0.5, 2.0])),
        case(rng, tensor, numbers(rng, n, 1), beta=torch.tensor([0.5, 2.5, -1.0])),
        case(rng, tensor, numbers(rng, n, 2).double(), beta=numbers(rng, n, 1).double()),
        *large(rng),
        *large(rng, beta=torch.tensor(2.0)),
    ]


check_swish = Check(
    module="activations",
    exercise="swish",
    target="swish",
    parts={"beta as a number": 1, "beta as a tensor that learns": 2, LARGE: 1},
    inputs=swish_inputs,
    probe=probe,
    oracle=swish_oracle,
    mistakes=SWISH_MISTAKES,
    hints=(
        "With beta = 1 it is silu, with beta = 0 it is x / 2, with a very large beta nearly relu.",
        "beta only makes the gate steeper: it stands inside the sigmoid.",
        "If beta stays a tensor from beginning to end, broadcasting and autograd do the rest.",
    ),
    forbidden=banned("silu", "glu", layers=("SiLU", "GLU")),
)


# --- softmax --------------------------------------------------------------------------------------


def softmax_formula(input: Tensor, dim: int) -> Tensor:
    return torch.exp(input - torch.logsumexp(input, dim, keepdim=True))


def normalised(exponentials: Tensor, dim: int) -> Tensor:
    return exponentials / exponentials.sum(dim, keepdim=True)


def softmax_overflowing(input: Tensor, dim: int) -> Tensor:
    return normalised(torch.exp(input), dim)


def softmax_of_largest_of_all(input: Tensor, dim: int) -> Tensor:
    return normalised(torch.exp(input - input.max()), dim)


def softmax_of_smallest(input: Tensor, dim: int) -> Tensor:
    return normalised(torch.exp(input - input.amin(dim, keepdim=True)), dim)


def softmax_of_centred(input: Tensor, dim: int) -> Tensor:
    return normalised(torch.exp(input - input.mean(dim, keepdim=True)), dim)


def softmax_clamped(input: Tensor, dim: int) -> Tensor:
    return normalised(torch.exp(input.clamp(-80, 80)), dim)


def softmax_of_last_dim(input: Tensor, dim: int) -> Tensor:
    return softmax_formula(input, -1)


def softmax_of_first_dim(input: Tensor, dim: int) -> Tensor:
    return softmax_formula(input, 0)


def softmax_of_everything(input: Tensor, dim: int) -> Tensor:
    return softmax_formula(input.flatten(), 0).reshape(input.shape)


def softmax_of_positive_dim(input: Tensor, dim: int) -> Tensor:
    return softmax_formula(input, max(dim, 0))


def softmax_logarithm(input: Tensor, dim: int) -> Tensor:
    return input - torch.logsumexp(input, dim, keepdim=True)


def softmax_mirrored(input: Tensor, dim: int) -> Tensor:
    return softmax_formula(-input, dim)


def softmax_not_normalised(input: Tensor, dim: int) -> Tensor:
    return torch.exp(input - input.amax(dim, keepdim=True))


def softmax_without_exp(input: Tensor, dim: int) -> Tensor:
    return input / input.sum(dim, keepdim=True)


def softmax_of_squares(input: Tensor, dim: int) -> Tensor:
    return normalised(input**2, dim)


def softmax_of_length_1(input: Tensor, dim: int) -> Tensor:
    exponentials = softmax_formula(input, dim)
    return exponentials / (exponentials**2).sum(dim, keepdim=True).sqrt()


def softmax_each_alone(input: Tensor, dim: int) -> Tensor:
    return stable_sigmoid(input)


def softmax_of_constant_sum(input: Tensor, dim: int) -> Tensor:
    exponentials = softmax_not_normalised(input, dim)
    return exponentials / exponentials.sum(dim, keepdim=True).detach()


SOFTMAX_MISTAKES = (
    Mistake(
        "overflow",
        "For large scores exp overflows, and for very negative ones all of them underflow: "
        "subtract the largest score along dim first, which changes nothing on paper.",
        softmax_overflowing,
    ),
    Mistake(
        "largest_of_all",
        "Subtract the largest score along dim, not of the whole tensor: a row far below it "
        "becomes 0 / 0.",
        softmax_of_largest_of_all,
    ),
    Mistake(
        "smallest_subtracted",
        "Subtract the largest score along dim: with the smallest, exp still overflows.",
        softmax_of_smallest,
    ),
    Mistake(
        "mean_subtracted",
        "Subtract the largest score along dim: with the mean, exp can still overflow.",
        softmax_of_centred,
    ),
    Mistake(
        "clamped",
        "Clamping the scores makes different ones equal: subtract the largest along dim instead.",
        softmax_clamped,
    ),
    Mistake(
        "always_the_last_dimension",
        "The sum runs along the last dimension whatever dim is: pass dim on.",
        softmax_of_last_dim,
    ),
    Mistake(
        "always_the_first_dimension",
        "The sum runs along the first dimension whatever dim is: pass dim on.",
        softmax_of_first_dim,
    ),
    Mistake(
        "sum_of_everything",
        "The sum runs over the whole tensor: only the elements along dim add up to 1.",
        softmax_of_everything,
    ),
    Mistake(
        "no_negative_dim",
        "A negative dim counts from the end: here it was taken as 0.",
        softmax_of_positive_dim,
    ),
    Mistake(
        "logarithm",
        "This is the logarithm of the probabilities: exp is missing.",
        softmax_logarithm,
    ),
    Mistake(
        "mirrored",
        "The sign is wrong: the largest score gets the largest probability.",
        softmax_mirrored,
    ),
    Mistake(
        "not_normalised",
        "The exponentials are not divided by their sum, so they do not add up to 1.",
        softmax_not_normalised,
    ),
    Mistake(
        "no_exponentials",
        "The scores were divided by their sum: take exp first, which makes them positive.",
        softmax_without_exp,
    ),
    Mistake(
        "squares",
        "The squares of the scores were normalised: take exp, which knows their sign.",
        softmax_of_squares,
    ),
    Mistake(
        "length_1",
        "The squares add up to 1 here: the probabilities themselves must.",
        softmax_of_length_1,
    ),
    Mistake(
        "each_alone",
        "This is sigmoid, one score at a time: the probabilities along dim must add up to 1.",
        softmax_each_alone,
    ),
    Mistake(
        "sum_without_gradient",
        "The gradient must pass through the sum too: here it is a constant to autograd.",
        softmax_of_constant_sum,
    ),
    *common_mistakes(softmax_formula),
)


def softmax_inputs(rng: torch.Generator) -> list[Case]:
    vector, dims = "one vector", "any dimension"
    infinity = float("inf")
    n = int(torch.randint(4, 7, (), generator=rng))
    apart = torch.tensor([[1e4, 9000.0], [-9000.0, -1e4]])
    return [
        case(rng, vector, torch.tensor([1.0, 2.0, 3.0]), dim=0),
        case(rng, vector, numbers(rng, n), dim=-1),
        case(rng, vector, torch.tensor([2.0]), dim=0),
        case(rng, dims, numbers(rng, 2, 3), dim=1),
        case(rng, dims, numbers(rng, 2, 3), dim=0),
        case(rng, dims, numbers(rng, 2, 3), dim=-1),
        case(rng, dims, numbers(rng, n, 3), dim=-2),
        case(rng, dims, numbers(rng, 2, n, 3), dim=1),
        case(rng, LARGE, torch.tensor([60.0, -60.0, 50.0]), dim=0),
        case(rng, LARGE, torch.tensor([1e4, 9800.0, -1e4]), dim=0),
        case(rng, LARGE, torch.tensor([-1e4, -9600.0, -9800.0]), dim=0),
        case(rng, LARGE, torch.tensor([1.0, -infinity, 2.0, -infinity]), dim=0),
        case(rng, LARGE, torch.tensor([-infinity, 3.0]), dim=0),
        case(rng, LARGE, apart, dim=1),
        case(rng, LARGE, apart.T, dim=0),
        case(rng, FORMS, torch.tensor(-1.5), dim=0),
        case(rng, FORMS, numbers(rng, 3).double(), dim=0),
        case(rng, FORMS, numbers(rng, 2, n).bfloat16(), dim=1),
        case(rng, FORMS, numbers(rng, 0, 3), dim=1),
        case(rng, FORMS, numbers(rng, 3, n).T, dim=1),
    ]


check_softmax = Check(
    module="activations",
    exercise="softmax",
    target="softmax",
    parts={"one vector": 1, "any dimension": 1, LARGE: 1, FORMS: 1},
    inputs=softmax_inputs,
    probe=probe,
    oracle=torch.softmax,
    mistakes=SOFTMAX_MISTAKES,
    hints=(
        "Adding the same number to all scores changes no probability: the factor cancels. Which "
        "number makes every exponential harmless?",
        "keepdim=True leaves a dimension of size 1 where amax or sum has worked, so that the "
        "result broadcasts against the input whatever dim is.",
        "Subtract input.amax(dim, keepdim=True), take exp, divide by the sum along dim.",
    ),
    forbidden=banned(
        *("softmax", "log_softmax", "softmin", "gumbel_softmax", "cross_entropy"),
        *("_softmax", "_safe_softmax", "scaled_dot_product_attention"),
        layers=("Softmax", "LogSoftmax", "Softmin", "Softmax2d"),
    ),
)
