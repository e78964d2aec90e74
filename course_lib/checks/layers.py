"""Checks of ``layers``: the linear map, networks built on it, and how large they are."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.checking import Case, Check, Mistake, Outputs

FORBIDDEN = (
    "torch.nn.Linear",
    "torch.nn.LazyLinear",
    "torch.nn.Bilinear",
    "torch.nn.functional.linear",
    "torch.nn.functional.bilinear",
)


def quarters(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw multiples of 1/4 from -1 to 1, but not 0: sums of their products are exact."""
    sizes = torch.randint(1, 5, shape, generator=rng) / 4
    return sizes * (2 * torch.randint(0, 2, shape, generator=rng) - 1)


def drawn(rng: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=rng))


def gradients(output: Any, cotangent: Tensor, inputs: dict[str, Tensor]) -> Outputs:
    """Send a gradient back through an output and return what arrives, if anything does."""
    if isinstance(output, Tensor) and output.requires_grad and output.shape == cotangent.shape:
        output.backward(cotangent)
    return {f"the gradient of {name}": tensor.grad for name, tensor in inputs.items()}


# --- linear ---------------------------------------------------------------------------------------


def without_transpose(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(input, weight.t(), bias)


def without_bias(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(input, weight)


def bias_subtracted(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(input, weight, None if bias is None else -bias)


def bias_down_the_rows(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    output = functional.linear(input, weight)
    return output if bias is None else output + bias[:, None]


def element_by_element(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    output = input * weight
    return output if bias is None else output + bias


def with_relu(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(input, weight, bias).relu()


def nothing_without_bias(
    input: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor | None:
    return None if bias is None else functional.linear(input, weight, bias)


def flattened(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(input.reshape(-1, weight.shape[-1]), weight, bias)


def always_float32(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(input, weight, bias).float()


def weight_detached(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(input, weight.detach(), bias)


def bias_detached(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(input, weight, None if bias is None else bias.detach())


LINEAR_MISTAKES = (
    Mistake(
        "no_transpose",
        "Every row of weight belongs to one output: multiply by weight transposed, not by weight.",
        without_transpose,
    ),
    Mistake("no_bias", "The bias is missing: add it to the product.", without_bias),
    Mistake("bias_subtracted", "The bias is added, not subtracted.", bias_subtracted),
    Mistake(
        "bias_down_the_rows",
        "The bias has one number for each output, so it is added to every row; here each row "
        "got a number of its own.",
        bias_down_the_rows,
    ),
    Mistake(
        "element_by_element",
        "An output is a sum over all inputs: use the matrix product @, not *.",
        element_by_element,
    ),
    Mistake(
        "with_relu",
        "linear has no activation: the outputs below 0 must stay as they are.",
        with_relu,
    ),
    Mistake(
        "nothing_without_bias",
        "Without a bias nothing is returned: return the product alone.",
        nothing_without_bias,
    ),
    Mistake(
        "flattened",
        "Keep the leading dimensions: the output has the shape of input, only its last "
        "dimension is out_features.",
        flattened,
    ),
    Mistake(
        "always_float32",
        "The output has the dtype of the inputs: here it is always float32.",
        always_float32,
    ),
    Mistake(
        "weight_detached",
        "No gradient reaches the weight: use weight itself, without .data, .detach() or no_grad.",
        weight_detached,
    ),
    Mistake(
        "bias_detached",
        "No gradient reaches the bias: use bias itself, without .data or .detach().",
        bias_detached,
    ),
)


def linear_inputs(rng: torch.Generator) -> list[Case]:
    def case(
        part: str,
        *batch: int,
        sizes: tuple[int, ...] = (2, 2),
        bias: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> Case:
        """``sizes`` is the shape of the weight; a matrix is not contiguous."""
        *outputs, features = sizes
        weight = quarters(rng, features, *outputs).t()
        if len(sizes) == 2 and min(sizes) > 1:
            weight[0, 1] = -weight[1, 0]  # no weight is symmetric
        values = quarters(rng, *outputs)
        # One output is negative in every row, and no two neighbours have the same bias.
        values.view(-1)[::2] -= features + 1
        x = quarters(rng, *batch, features)
        shapes = f"input {tuple(x.shape)}, weight {sizes}, {'a' if bias else 'no'} bias, {dtype}"
        numbers = f"input {x.tolist()}, weight {weight.tolist()}, bias {values.tolist()}"
        return {
            "part": part,
            "title": numbers if x.numel() == weight.numel() // 2 == 2 and bias else shapes,
            "tensors": {
                "input": x.to(dtype),
                "weight": weight.to(dtype),
                **({"bias": values.to(dtype)} if bias else {}),
            },
            "cotangent": quarters(rng, *batch, *outputs).to(dtype),
            "gradients": part == back,
        }

    two, none, shapes = "two inputs, two outputs", "without a bias", "shapes and dtypes"
    back = "gradients"
    n, features, outputs = drawn(rng, 4, 9), drawn(rng, 3, 4), drawn(rng, 5, 7)
    sizes = outputs, features
    return [
        case(two, 1),
        case(two, 2),
        case(none, 1, sizes=(3, 2), bias=False),
        case(none, n, sizes=sizes, bias=False),
        case(shapes, 1, sizes=(1, 1)),
        case(shapes, n, sizes=sizes),
        case(shapes, sizes=sizes),
        case(shapes, 2, 3, n, sizes=sizes),
        case(shapes, 0, sizes=sizes),
        case(shapes, sizes=(features,), bias=False),
        case(shapes, 2, n, sizes=(features,), bias=False),
        case(shapes, n, sizes=sizes, dtype=torch.float64),
        case(shapes, n, sizes=sizes, dtype=torch.bfloat16),
        case(back, 1, sizes=(3, 2)),
        case(back, sizes=sizes),
        case(back, 2, n, sizes=sizes),
        case(back, n, sizes=sizes, bias=False),
        case(back, n, sizes=sizes, dtype=torch.float64),
    ]


def linear_probe(linear: Callable, case: Case) -> Outputs:
    tensors = case["tensors"]
    for tensor in tensors.values():
        tensor.requires_grad_(case["gradients"])
    output = linear(*tensors.values())
    return {
        "linear(input, weight, bias)": output,
        **{f"{name}, which must not change": tensor for name, tensor in tensors.items()},
        **(gradients(output, case["cotangent"], tensors) if case["gradients"] else {}),
    }


# --- MLP ------------------------------------------------------------------------------------------


class Network(nn.Module):
    """The oracle of MLP, one decision a method, so that a mistake changes one of them."""

    bias = True

    def __init__(
        self, sizes: Sequence[int], activation: Callable[[Tensor], Tensor] = torch.relu
    ) -> None:
        super().__init__()
        self.layers = self.made(sizes)
        self.activation = activation

    def made(self, sizes: Sequence[int]) -> Any:
        return nn.ModuleList(nn.Linear(m, n, self.bias) for m, n in pairwise(sizes))

    def hidden(self, number: int, x: Tensor) -> Tensor:
        return self.activation(x)

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for number, layer in enumerate(hidden):
            x = self.hidden(number, layer(x))
        return last(x)


class PlainList(Network):
    def made(self, sizes: Sequence[int]) -> Any:
        return list(super().made(sizes))


class NoBiases(Network):
    bias = False


class LastLayerMissing(Network):
    def made(self, sizes: Sequence[int]) -> Any:
        return super().made(sizes[:-1])


class TwoLayersOnly(Network):
    def made(self, sizes: Sequence[int]) -> Any:
        return super().made((sizes[0], sizes[1], sizes[-1]) if len(sizes) > 2 else sizes)


class SizesSwapped(Network):
    def made(self, sizes: Sequence[int]) -> Any:
        return nn.ModuleList(nn.Linear(n, m) for m, n in pairwise(sizes))


class ReusesLayers(Network):
    def made(self, sizes: Sequence[int]) -> Any:
        layers = {pair: nn.Linear(*pair) for pair in pairwise(sizes)}
        return nn.ModuleList(layers[pair] for pair in pairwise(sizes))


class StartsAtZero(Network):
    def made(self, sizes: Sequence[int]) -> Any:
        layers = super().made(sizes)
        for parameter in layers.parameters():
            nn.init.zeros_(parameter)
        return layers


class StartsStandardNormal(Network):
    def made(self, sizes: Sequence[int]) -> Any:
        layers = super().made(sizes)
        for parameter in layers.parameters():
            nn.init.normal_(parameter)
        return layers


class NoActivation(Network):
    def hidden(self, number: int, x: Tensor) -> Tensor:
        return x


class ActivationOnceOnly(Network):
    def hidden(self, number: int, x: Tensor) -> Tensor:
        return self.activation(x) if number == 0 else x


class ActivationBeforeTheLastOnly(Network):
    def hidden(self, number: int, x: Tensor) -> Tensor:
        return self.activation(x) if number == len(self.layers) - 2 else x


class ActivationAfterTheLast(Network):
    def forward(self, x: Tensor) -> Tensor:
        return self.activation(super().forward(x))


class ActivationOnTheInput(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.activation(x))


class SoftmaxAtTheEnd(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(-1)


class AlwaysRelu(Network):
    def hidden(self, number: int, x: Tensor) -> Tensor:
        return torch.relu(x)


class DefaultTanh(Network):
    def __init__(
        self, sizes: Sequence[int], activation: Callable[[Tensor], Tensor] = torch.tanh
    ) -> None:
        super().__init__(sizes, activation)


class HiddenDetached(Network):
    def hidden(self, number: int, x: Tensor) -> Tensor:
        return self.activation(x).detach()


MLP_MISTAKES = (
    Mistake(
        "plain_list",
        "The module has no parameters: a list hides its layers from torch, an nn.ModuleList "
        "shows them.",
        PlainList,
    ),
    Mistake("no_biases", "The layers lack their biases: leave bias at its default.", NoBiases),
    Mistake(
        "last_layer_missing",
        "The last layer is missing: n sizes make n - 1 layers.",
        LastLayerMissing,
    ),
    Mistake(
        "two_layers_only",
        "Build a layer for every pair of neighbouring sizes: here the sizes after the second were "
        "left out, all but the last.",
        TwoLayersOnly,
    ),
    Mistake(
        "sizes_swapped",
        "Input and output size of the layers are swapped: for the sizes 4, 64 the layer is "
        "Linear(4, 64).",
        SizesSwapped,
    ),
    Mistake(
        "reuses_layers",
        "Two layers of the same sizes are one and the same object: make a new Linear for each.",
        ReusesLayers,
    ),
    Mistake(
        "starts_at_zero",
        "The parameters start at zero, so all hidden units would stay equal for ever: leave "
        "them as Linear draws them.",
        StartsAtZero,
    ),
    Mistake(
        "starts_standard_normal",
        "The parameters do not start between -1 / sqrt(in) and 1 / sqrt(in): leave them as Linear "
        "draws them.",
        StartsStandardNormal,
    ),
    Mistake(
        "no_activation",
        "There is no activation between the layers: together they are a single linear map.",
        NoActivation,
    ),
    Mistake(
        "activation_once_only",
        "The activation follows every layer but the last: here it came after the first one only.",
        ActivationOnceOnly,
    ),
    Mistake(
        "activation_before_the_last_only",
        "The activation follows every layer but the last: here it came just once, before the "
        "last one.",
        ActivationBeforeTheLastOnly,
    ),
    Mistake(
        "activation_after_the_last",
        "No activation after the last layer: its outputs may have any sign and size.",
        ActivationAfterTheLast,
    ),
    Mistake(
        "activation_on_the_input",
        "The input goes into the first layer as it is, without an activation before.",
        ActivationOnTheInput,
    ),
    Mistake(
        "softmax_at_the_end",
        "Return the outputs of the last layer (the logits): the softmax belongs to the loss.",
        SoftmaxAtTheEnd,
    ),
    Mistake(
        "always_relu", "The argument activation has no effect: relu was used instead.", AlwaysRelu
    ),
    Mistake("default_tanh", "The default activation is torch.relu.", DefaultTanh),
    Mistake(
        "hidden_detached",
        "The gradient stops at the hidden layers: no .detach(), .data or no_grad in forward.",
        HiddenDetached,
    ),
)

LARGE = 40
"""So many numbers show how they were drawn."""

ACTIVATIONS = {"torch.tanh": torch.tanh, "torch.sigmoid": torch.sigmoid, "torch.relu": torch.relu}


def mlp_inputs(rng: torch.Generator) -> list[Case]:
    def case(
        part: str,
        sizes: Sequence[int],
        *batch: int,
        activation: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Case:
        state = {}
        for number, (m, n) in enumerate(pairwise(sizes)):
            weight, bias = quarters(rng, n, m), quarters(rng, n)
            # In every layer the first unit is below 0 and the last one above, for any input: so
            # relu shows everywhere, and no layer is without effect.
            margin = m if number == 0 else 0
            for unit, sign in ((0, -1), (-1, 1)):
                weight[unit] = sign * weight[unit].abs()
                bias[unit] = sign * (bias[unit].abs() + margin)
            state[f"layers.{number}.weight"] = weight.to(dtype)
            state[f"layers.{number}.bias"] = bias.to(dtype)
        given = f", activation={activation}" if activation else ""
        x = quarters(rng, *batch, sizes[0]).to(dtype)
        return {
            "part": part,
            "title": f"MLP({sizes}{given})"
            + (f", input of shape {tuple(x.shape)}" if part != layers else ""),
            "sizes": sizes,
            "arguments": {"activation": activation} if activation else {},
            "state": state,
            "x": x,
            "cotangent": quarters(rng, *batch, sizes[-1]).to(dtype),
            "dtype": dtype,
        }

    layers, forward, another = "the layers", "the forward pass", "another activation"
    back = "gradients"
    a, b = drawn(rng, 2, 3), drawn(rng, 4, 5)
    wide = drawn(rng, LARGE, LARGE + 10)
    return [
        case(layers, [2, 3]),
        case(layers, [a, b, a, b + 1]),
        case(layers, (wide, wide + 10, wide)),
        case(forward, [2, 3], 1),
        case(forward, [a, b, 2], 4),
        case(forward, [a, b, b, b, a], 4),
        case(forward, (b, a, 2, 3), 2, 4),
        case(forward, [a, b, 2]),
        case(forward, [a, b, 2], 0),
        case(forward, [a, b, 2], 4, dtype=torch.float64),
        case(another, [2, 3, 2], 1, activation="torch.tanh"),
        case(another, [a, b, b, 3], 4, activation="torch.sigmoid"),
        case(back, [2, 3, 2], 1),
        case(back, [a, b, b, 3], 2, 4),
        case(back, [a, b, b, 3], 4, activation="torch.tanh", dtype=torch.float64),
    ]


def mlp_probe(mlp: Callable, case: Case) -> Outputs:
    arguments = {name: ACTIVATIONS[value] for name, value in case["arguments"].items()}
    model = mlp(case["sizes"], **arguments)
    parameters = model.state_dict()
    outputs: Outputs = {
        "the names in state_dict()": sorted(parameters),
        "the shapes in state_dict()": shapes_of(parameters),
    }
    if case["part"] == "the layers":
        return {**outputs, **start_of(parameters)}
    if shapes_of(parameters) != shapes_of(case["state"]):
        return outputs
    model.to(case["dtype"]).load_state_dict(case["state"])
    return {**outputs, **module_outputs(model, case)}


def module_outputs(model: Any, case: Case) -> Outputs:
    """Return the output of a module, and either the gradients or the output of a second call."""
    x = case["x"].requires_grad_(case["part"] == "gradients")
    output = model(x)
    outputs = {"the input, which must not change": x, "the output": output}
    if case["part"] == "gradients":
        inputs = {"the input": x, **dict(model.named_parameters())}
        return {**outputs, **gradients(output, case["cotangent"], inputs)}
    return {**outputs, "the output of a second call": model(x)}


def shapes_of(tensors: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def start_of(parameters: dict[str, Tensor]) -> Outputs:
    """Return which large parameters keep within U(-1/sqrt(in), 1/sqrt(in)), and which fill it."""
    within, spread = {}, {}
    for name, parameter in parameters.items():
        weight = parameters.get(name.replace("bias", "weight"), parameter)
        bound = 1 / math.sqrt(weight[0].numel())
        if parameter.numel() >= LARGE:
            within[name] = bool(parameter.abs().max() <= 1.0001 * bound)
            # The standard deviation is 0.58 times the bound; of so many numbers, within 0.05.
            spread[name] = bool(parameter.std() > 0.25 * bound)
    return {
        "parameters that start within 1 / sqrt(in) of 0": within,
        "parameters that start spread over this range": spread,
    }


# --- count_parameters -----------------------------------------------------------------------------


def right_count(model: nn.Module, trainable_only: bool = False) -> int:
    parameters = {id(parameter): parameter for parameter in model.parameters()}
    return sum(
        parameter.numel()
        for parameter in parameters.values()
        if parameter.requires_grad or not trainable_only
    )


def counts_tensors(model: nn.Module, trainable_only: bool = False) -> int:
    return sum(p.requires_grad or not trainable_only for p in model.parameters())


def counts_first_dimension(model: nn.Module, trainable_only: bool = False) -> int:
    chosen = [p for p in model.parameters() if p.requires_grad or not trainable_only]
    return sum(len(p) if p.dim() else 1 for p in chosen)


def counts_buffers(model: nn.Module, trainable_only: bool = False) -> int:
    buffers = 0 if trainable_only else sum(buffer.numel() for buffer in model.buffers())
    return right_count(model, trainable_only) + buffers


def weights_only(model: nn.Module, trainable_only: bool = False) -> int:
    chosen = [p for p in model.parameters() if p.requires_grad or not trainable_only]
    return sum(p.numel() for p in chosen if p.dim() > 1)


def own_parameters_only(model: nn.Module, trainable_only: bool = False) -> int:
    chosen = model.parameters(recurse=False)
    return sum(p.numel() for p in chosen if p.requires_grad or not trainable_only)


def children_without_depth(model: nn.Module, trainable_only: bool = False) -> int:
    levels = [model, *model.children()]
    return sum(own_parameters_only(level, trainable_only) for level in levels)


def every_name(model: nn.Module, trainable_only: bool = False) -> int:
    named = model.named_parameters(remove_duplicate=False)
    return sum(p.numel() for _, p in named if p.requires_grad or not trainable_only)


def module_by_module(model: nn.Module, trainable_only: bool = False) -> int:
    return sum(own_parameters_only(module, trainable_only) for module in model.modules())


def ignores_trainable_only(model: nn.Module, trainable_only: bool = False) -> int:
    return right_count(model)


def always_trainable_only(model: nn.Module, trainable_only: bool = False) -> int:
    return right_count(model, trainable_only=True)


def trainable_inverted(model: nn.Module, trainable_only: bool = False) -> int:
    return right_count(model, not trainable_only)


def counts_the_frozen(model: nn.Module, trainable_only: bool = False) -> int:
    frozen = right_count(model) - right_count(model, trainable_only=True)
    return frozen if trainable_only else right_count(model)


COUNT_MISTAKES = (
    Mistake(
        "counts_tensors",
        "Count the numbers in the parameters, not the tensors: numel() tells how many there are.",
        counts_tensors,
    ),
    Mistake(
        "counts_first_dimension",
        "len() of a tensor is its first dimension only: numel() counts all its numbers.",
        counts_first_dimension,
    ),
    Mistake(
        "counts_buffers",
        "Buffers are no parameters: go through parameters(), not through state_dict() or "
        "buffers().",
        counts_buffers,
    ),
    Mistake(
        "weights_only", "Vectors and single numbers, such as biases, count as well.", weights_only
    ),
    Mistake(
        "own_parameters_only",
        "The parameters of inner modules are missing: parameters() reaches every depth.",
        own_parameters_only,
    ),
    Mistake(
        "children_without_depth",
        "Modules inside inner modules are missing: parameters() reaches every depth, children() "
        "just one.",
        children_without_depth,
    ),
    Mistake(
        "every_name",
        "A parameter with two names is one parameter: count it once, as parameters() does.",
        every_name,
    ),
    Mistake(
        "module_by_module",
        "Here each module adds its own parameters, so a parameter that two modules share "
        "counts twice: count it once.",
        module_by_module,
    ),
    Mistake(
        "ignores_trainable_only",
        "trainable_only has no effect: leave out the parameters whose requires_grad is False.",
        ignores_trainable_only,
    ),
    Mistake(
        "always_trainable_only",
        "By default frozen parameters count as well: leave them out for trainable_only=True.",
        always_trainable_only,
    ),
    Mistake(
        "trainable_inverted",
        "trainable_only is upside down: True leaves the frozen parameters out, False counts all.",
        trainable_inverted,
    ),
    Mistake(
        "counts_the_frozen",
        "With trainable_only count the parameters whose requires_grad is True: here the frozen "
        "ones were counted.",
        counts_the_frozen,
    ),
)


class Level(nn.Module):
    """A module with parameters and buffers of given shapes, and perhaps a module inside."""

    def __init__(self, description: dict[str, Any], inner: "Level | None") -> None:
        super().__init__()
        for number, shape in enumerate(description.get("parameters", [])):
            trainable = number not in description.get("frozen", [])
            parameter = nn.Parameter(torch.zeros(shape), requires_grad=trainable)
            self.register_parameter(f"parameter_{number}", parameter)
        for number, shape in enumerate(description.get("buffers", [])):
            self.register_buffer(f"buffer_{number}", torch.zeros(shape))
        self.inner = inner
        if inner is not None:
            for name in description.get("inner once more", []):
                self.add_module(name, inner)
            for name in description.get("first of inner once more", []):
                self.register_parameter(name, inner.get_parameter("parameter_0"))


def count_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, title: str, *levels: dict[str, Any], **arguments: bool) -> Case:
        told = ", ".join(f"{name}={value}" for name, value in arguments.items())
        title = f"a model with {title}, count_parameters(model{', ' if told else ''}{told})"
        return {"part": part, "title": title, "levels": levels, "arguments": arguments}

    every, shared, trainable = "all parameters", "shared parameters", "trainable_only"
    m, n, k = drawn(rng, 2, 9), drawn(rng, 11, 29), drawn(rng, 31, 59)
    top, middle, bottom = (
        {"parameters": [[n, m], [n]]},
        {"parameters": [[k, n], [k], []]},
        {"parameters": [[2, k, 3], [2], [0, 4]]},
    )
    buffers = {"buffers": [[k], []]}
    frozen = {"frozen": [0]}
    tied = {"first of inner once more": ["tied"]}
    return [
        case(every, f"a weight ({n}, {m}) and a bias ({n},)", top),
        case(every, "a buffer but no parameters", buffers),
        case(every, "two weights of the same shape", {"parameters": [[n, m], [n, m], [n]]}),
        case(every, "a module inside, with buffers", top, middle | buffers),
        case(every, "modules three deep", top, middle | buffers, bottom),
        case(shared, f"a weight ({n}, {m}) that two modules share", tied, top),
        case(shared, "a module under two names", middle | {"inner once more": ["again"]}, top),
        case(shared, "a weight that two modules share, deep inside", top, bottom | tied, middle),
        case(trainable, f"a frozen weight ({k}, {n})", middle | frozen, trainable_only=True),
        case(
            trainable, "a frozen weight inside", top, middle | frozen, bottom, trainable_only=True
        ),
        case(
            trainable,
            "all parameters frozen",
            top | {"frozen": [0, 1]},
            bottom | {"frozen": [0, 1, 2]},
            trainable_only=True,
        ),
        case(trainable, "a frozen weight inside", top, middle | frozen, trainable_only=False),
        case(trainable, "a frozen weight inside", top, middle | frozen),
    ]


def count_probe(count_parameters: Callable, case: Case) -> Outputs:
    model = None
    for level in reversed(case["levels"]):
        model = Level(level, model)
    assert model is not None
    counted = count_parameters(model, **case["arguments"])
    return {
        "the number of parameters": counted,
        "requires_grad of the parameters afterwards": [p.requires_grad for p in model.parameters()],
    }


# --- SwiGLU ---------------------------------------------------------------------------------------


class Gated(nn.Module):
    """The oracle of SwiGLU, one decision a method."""

    bias = False

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, self.bias)
        self.w2 = nn.Linear(hidden_dim, dim, self.bias)
        self.w3 = nn.Linear(dim, hidden_dim, self.bias)

    def activation(self, x: Tensor) -> Tensor:
        return functional.silu(x)

    def gated(self, gate: Tensor, value: Tensor) -> Tensor:
        return self.activation(gate) * value

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(self.gated(self.w1(x), self.w3(x)))


class WithBiases(Gated):
    bias = True


class OutputAndValueSwapped(Gated):
    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__(dim, hidden_dim)
        self.w2, self.w3 = self.w3, self.w2

    def forward(self, x: Tensor) -> Tensor:
        return self.w3(self.gated(self.w1(x), self.w2(x)))


class GateAndValueSwapped(Gated):
    def gated(self, gate: Tensor, value: Tensor) -> Tensor:
        return super().gated(value, gate)


class SigmoidGate(Gated):
    def activation(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


class ReluGate(Gated):
    def activation(self, x: Tensor) -> Tensor:
        return torch.relu(x)


class GeluGate(Gated):
    def activation(self, x: Tensor) -> Tensor:
        return functional.gelu(x)


class NoActivationAtTheGate(Gated):
    def activation(self, x: Tensor) -> Tensor:
        return x


class AddsGateAndValue(Gated):
    def gated(self, gate: Tensor, value: Tensor) -> Tensor:
        return self.activation(gate) + value


class ActivationOfTheProduct(Gated):
    def gated(self, gate: Tensor, value: Tensor) -> Tensor:
        return self.activation(gate * value)


class ActivationOfBoth(Gated):
    def gated(self, gate: Tensor, value: Tensor) -> Tensor:
        return self.activation(gate) * self.activation(value)


class NoValue(Gated):
    def gated(self, gate: Tensor, value: Tensor) -> Tensor:
        return self.activation(gate)


class NoOutputLayer(Gated):
    def forward(self, x: Tensor) -> Tensor:
        return self.gated(self.w1(x), self.w3(x))


class GateDetached(Gated):
    def gated(self, gate: Tensor, value: Tensor) -> Tensor:
        return super().gated(gate.detach(), value)


SWIGLU_MISTAKES = (
    Mistake("with_biases", "None of the three layers has a bias: pass bias=False.", WithBiases),
    Mistake(
        "output_and_value_swapped",
        "w2 is the output layer, from hidden_dim back to dim, and w3 makes the value: here they "
        "are swapped.",
        OutputAndValueSwapped,
    ),
    Mistake(
        "gate_and_value_swapped",
        "silu belongs to the gate w1(x): here it was applied to the value w3(x).",
        GateAndValueSwapped,
    ),
    Mistake(
        "sigmoid_gate",
        "The gate is silu(z) = z * sigmoid(z): here the factor z is missing.",
        SigmoidGate,
    ),
    Mistake("relu_gate", "The activation of the gate is silu, not relu.", ReluGate),
    Mistake("gelu_gate", "The activation of the gate is silu, not gelu.", GeluGate),
    Mistake(
        "no_activation_at_the_gate",
        "The gate lacks its activation: silu(w1(x)).",
        NoActivationAtTheGate,
    ),
    Mistake(
        "adds_gate_and_value",
        "Gate and value are multiplied element by element, not added.",
        AddsGateAndValue,
    ),
    Mistake(
        "activation_of_the_product",
        "silu is applied to the gate alone, before the product: here it came after.",
        ActivationOfTheProduct,
    ),
    Mistake(
        "activation_of_both",
        "silu is applied to the gate alone: the value w3(x) stays as it is.",
        ActivationOfBoth,
    ),
    Mistake("no_value", "The value is missing: multiply silu(w1(x)) by w3(x) before w2.", NoValue),
    Mistake(
        "no_output_layer",
        "w2 was not applied: it takes the product back from hidden_dim to dim.",
        NoOutputLayer,
    ),
    Mistake(
        "gate_detached",
        "No gradient reaches the gate w1: no .detach(), .data or no_grad in forward.",
        GateDetached,
    ),
)


def swiglu_inputs(rng: torch.Generator) -> list[Case]:
    def case(
        part: str,
        dim: int,
        hidden_dim: int,
        *batch: int,
        scale: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> Case:
        state = {
            "w1.weight": quarters(rng, hidden_dim, dim).to(dtype),
            "w2.weight": quarters(rng, dim, hidden_dim).to(dtype),
            "w3.weight": quarters(rng, hidden_dim, dim).to(dtype),
        }
        x = (scale * quarters(rng, *batch, dim)).to(dtype)
        numbers = ", ".join(f"{name[:2]} {value.tolist()}" for name, value in state.items())
        return {
            "part": part,
            "title": f"SwiGLU({dim}, {hidden_dim})"
            + (f", {numbers}, input {x.tolist()}" if dim == hidden_dim == 1 else "")
            + (f", input of shape {tuple(x.shape)}" if dim > 1 and part != layers else "")
            + (f" with numbers up to {scale:g}" if scale != 1 else ""),
            "arguments": (dim, hidden_dim),
            "state": state,
            "x": x,
            "cotangent": quarters(rng, *batch, dim).to(dtype),
            "dtype": dtype,
        }

    layers, forward, back = "the three layers", "the forward pass", "gradients"
    dim, hidden_dim = drawn(rng, 2, 4), drawn(rng, 5, 8)
    return [
        case(layers, 2, 3),
        case(layers, hidden_dim, dim),
        case(layers, LARGE, LARGE + dim),
        case(forward, 1, 1, 1),
        case(forward, dim, hidden_dim, 4),
        case(forward, dim, hidden_dim, 2, 3),
        case(forward, dim, hidden_dim),
        case(forward, dim, hidden_dim, 0),
        case(forward, dim, hidden_dim, 4, scale=1000.0, dtype=torch.float64),
        case(back, 1, 1, 1),
        case(back, dim, hidden_dim, 4),
        case(back, dim, hidden_dim, 2, 3, dtype=torch.float64),
    ]


def swiglu_probe(swiglu: Callable, case: Case) -> Outputs:
    model = swiglu(*case["arguments"])
    parameters = model.state_dict()
    outputs: Outputs = {
        "the names in state_dict()": sorted(parameters),
        "the shapes in state_dict()": shapes_of(parameters),
    }
    expected = shapes_of(case["state"])
    if case["part"] == "the three layers" or shapes_of(parameters) != expected:
        return {**outputs, **start_of(parameters)}
    model.to(case["dtype"]).load_state_dict(case["state"])
    return {**outputs, **module_outputs(model, case)}


# --- ResidualBlock --------------------------------------------------------------------------------


class Residual(nn.Module):
    """The oracle of ResidualBlock."""

    def __init__(self, dim: int, block: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.block(self.norm(x)))


class NoSkip(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.norm(x))


class Multiplies(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.block(self.norm(x))


class NoNorm(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class NormAtTheEnd(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.block(x))


class NormAfterTheBlock(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.block(x))


class NormOnBothWays(Residual):
    def forward(self, x: Tensor) -> Tensor:
        normalised = self.norm(x)
        return normalised + self.block(normalised)


class AddsInPlace(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x += self.block(self.norm(x))
        return x


class ReluAtTheEnd(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))


class Averages(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class BlockTwice(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x + self.block(self.norm(x))


class SkipDetached(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach() + self.block(self.norm(x))


class BlockDetached(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(self.norm(x)).detach()


RESIDUAL_MISTAKES = (
    Mistake("no_skip", "The way around is missing: add the input to what the block gives.", NoSkip),
    Mistake(
        "multiplies", "The input is added to what the block gives, not multiplied.", Multiplies
    ),
    Mistake("no_norm", "The block gets the normalised input, norm(x): here it got x.", NoNorm),
    Mistake(
        "norm_at_the_end",
        "Here the sum was normalised (post-norm). In the pre-norm form only the input of the "
        "block is, and the way around stays free.",
        NormAtTheEnd,
    ),
    Mistake(
        "norm_after_the_block",
        "The norm stands before the block, not after it: block(norm(x)).",
        NormAfterTheBlock,
    ),
    Mistake(
        "norm_on_both_ways",
        "The way around carries x itself: here the normalised input was added.",
        NormOnBothWays,
    ),
    Mistake(
        "adds_in_place",
        "x += ... changes the caller's tensor: write x + ..., which makes a new one.",
        AddsInPlace,
    ),
    Mistake(
        "relu_at_the_end",
        "No activation after the sum: it would cut the way around wherever the sum is below 0.",
        ReluAtTheEnd,
    ),
    Mistake("averages", "The two ways are added, not averaged.", Averages),
    Mistake("block_twice", "The block is applied once: here it was applied twice.", BlockTwice),
    Mistake(
        "skip_detached",
        "No gradient flows along the way around, which is what it is for: add x, without "
        ".detach() or .data.",
        SkipDetached,
    ),
    Mistake(
        "block_detached",
        "No gradient reaches the block: no .detach(), .data or no_grad in forward.",
        BlockDetached,
    ),
)


class Bend(nn.Module):
    """A small block that is neither linear nor symmetric."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight) + 0.5


def residual_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, dim: int, *batch: int, dtype: torch.dtype = torch.float32) -> Case:
        # Neighbours differ by 1 at least, so no row is nearly constant; the first is negative.
        x = 3 * quarters(rng, *batch, dim) + 4 * torch.arange(dim) - 8
        return {
            "part": part,
            "title": f"ResidualBlock({dim}, block), input "
            + (f"{x.tolist()}" if x.numel() <= 2 else f"of shape {tuple(x.shape)}"),
            "x": x.to(dtype),
            "weight": quarters(rng, dim, dim).to(dtype),
            "norm": {
                "weight": (1.5 + quarters(rng, dim) / 2).to(dtype),
                "bias": quarters(rng, dim).to(dtype),
            },
            "cotangent": quarters(rng, *batch, dim).to(dtype),
        }

    forward, back = "the forward pass", "gradients"
    dim = drawn(rng, 3, 6)
    return [
        case(forward, 2, 1),
        case(forward, dim, 4),
        case(forward, dim, 2, 3),
        case(forward, dim),
        case(forward, dim, 0),
        case(forward, dim, 4, dtype=torch.float64),
        case(forward, dim, 4, dtype=torch.bfloat16),
        case(back, 2, 1),
        case(back, dim, 4),
        case(back, dim, 2, 3, dtype=torch.float64),
    ]


def residual_probe(residual_block: Callable, case: Case) -> Outputs:
    model = residual_block(case["weight"].shape[0], Bend(case["weight"]))
    model.to(case["x"].dtype).norm.load_state_dict(case["norm"])
    return module_outputs(model, case)


check_linear = Check(
    module="layers",
    exercise="linear",
    target="linear",
    parts={
        "two inputs, two outputs": 1,
        "without a bias": 1,
        "shapes and dtypes": 1,
        "gradients": 1,
    },
    inputs=linear_inputs,
    probe=linear_probe,
    oracle=functional.linear,
    mistakes=LINEAR_MISTAKES,
    hints=(
        "Write down the shapes: (*, in) times something must give (*, out), and weight is "
        "(out, in).",
        "weight.t() swaps the two dimensions, and a tensor @ matrix works on the last dimension "
        "whatever stands before it.",
        "Compute input @ weight.t(); add bias only if it is not None.",
    ),
    forbidden=FORBIDDEN,
)

check_mlp = Check(
    module="layers",
    exercise="mlp",
    target="MLP",
    parts={"the layers": 2, "the forward pass": 2, "another activation": 1, "gradients": 1},
    inputs=mlp_inputs,
    probe=mlp_probe,
    oracle=Network,
    mistakes=MLP_MISTAKES,
    hints=(
        "n sizes make n - 1 layers: which sizes does the first layer connect, which the second?",
        "torch finds the layers only in an nn.ModuleList (or under a name of their own); keep the "
        "activation in an attribute too.",
        "itertools.pairwise(sizes) gives the pairs. In forward, *hidden, last = self.layers "
        "splits off the layer that has no activation after it.",
    ),
    forbidden=FORBIDDEN,
)

check_count_parameters = Check(
    module="layers",
    exercise="count_parameters",
    target="count_parameters",
    parts={"all parameters": 1, "shared parameters": 1, "trainable_only": 1},
    inputs=count_inputs,
    probe=count_probe,
    oracle=right_count,
    mistakes=COUNT_MISTAKES,
    hints=(
        "A matrix of shape (3, 4) holds 12 parameters, its bias 3 more: add up over all tensors.",
        "model.parameters() reaches every depth and yields a shared parameter once.",
        "Sum parameter.numel(), and with trainable_only leave out those whose requires_grad is "
        "False.",
    ),
)

check_swiglu = Check(
    module="layers",
    exercise="swiglu",
    target="SwiGLU",
    parts={"the three layers": 1, "the forward pass": 1, "gradients": 1},
    inputs=swiglu_inputs,
    probe=swiglu_probe,
    oracle=Gated,
    mistakes=SWIGLU_MISTAKES,
    hints=(
        "Two layers read the input, side by side; one of them decides how much of the other "
        "passes.",
        "Linear(dim, hidden_dim, bias=False) makes the gate. The value has the same sizes, and "
        "the output layer leads back.",
        "silu(z) is z * torch.sigmoid(z), or torch.nn.functional.silu(z); the formula is in the "
        "first line of the docstring.",
    ),
    forbidden=FORBIDDEN,
)

check_residual_block = Check(
    module="layers",
    exercise="residual_block",
    target="ResidualBlock",
    parts={"the forward pass": 2, "gradients": 1},
    inputs=residual_inputs,
    probe=residual_probe,
    oracle=Residual,
    mistakes=RESIDUAL_MISTAKES,
    hints=(
        "There are two ways from the input to the output: around the block, and through norm and "
        "block.",
        "The way around carries the input as it came; only the block sees the normalised one.",
        "Return a new tensor: the input plus self.block(...) of the normalised input.",
    ),
)
