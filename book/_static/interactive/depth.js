// How large the activations and the gradients are in every layer of a deep random network.
piece.define("depth", (root) => {
  const width = 64;
  const examples = 16;
  const most = 50;
  const functions = {
    tanh: [Math.tanh, (z) => 1 - Math.tanh(z) ** 2],
    ReLU: [(z) => Math.max(0, z), (z) => +(z > 0)],
    "none (linear)": [(z) => z, () => 1],
  };
  // The same draws every time, so that a knob changes nothing but what it names.
  const normal = d3.randomNormal.source(d3.randomLcg(0.5))();
  const draws = (count) => Float64Array.from({ length: count }, normal);
  const weights = d3.range(most).map(() => draws(width * width));
  const inputs = draws(examples * width);
  const blame = draws(examples * width);

  const controls = root.append("div").attr("class", "controls");
  const chosen = piece.select(controls, { label: "Activation", options: Object.keys(functions) }, draw);
  const gain = piece.slider(
    controls, { label: "gain (times 1/√fan-in)", min: 0.3, max: 2.5, step: 0.01, value: 1, format: d3.format(".2f") }, draw,
  );
  const depth = piece.slider(controls, { label: "layers", min: 2, max: most, step: 1, value: 30 }, draw);
  const presets = root.append("div").attr("class", "controls");
  for (const [name, value] of [["Xavier: 1", 1], ["Kaiming: √2", Math.SQRT2], ["torch's default: 1/√3", 1 / Math.sqrt(3)]]) {
    piece.button(presets, name, () => {
      gain.value = value.toFixed(2);
      draw();
    });
  }
  const chart = piece.chart(root, {
    label: "Standard deviation of the activations and of the gradients in every layer, on a logarithmic scale",
    x: [0, most], y: [1e-9, 1e9], xLabel: "layer", yLabel: "standard deviation", log: true,
  });
  piece.legend(root, [["forward", "activations"], ["backward", "gradients"]]);
  const status = piece.status(root);

  // rows times matrix, or times its transpose
  function multiply(rows, matrix, scale, transposed) {
    const out = new Float64Array(rows.length);
    for (let n = 0; n < examples; n += 1) {
      for (let i = 0; i < width; i += 1) {
        let sum = 0;
        for (let j = 0; j < width; j += 1) {
          sum += rows[n * width + j] * matrix[transposed ? j * width + i : i * width + j];
        }
        out[n * width + i] = scale * sum;
      }
    }
    return out;
  }

  const clamp = (value) => Math.min(1e9, Math.max(1e-9, value));

  function draw() {
    const [f, slope] = functions[chosen.value];
    const scale = gain.value / Math.sqrt(width);
    const layers = weights.slice(0, depth.value);
    const sums = [];
    let activations = inputs;
    const forward = [d3.deviation(activations)];
    for (const matrix of layers) {
      sums.push(multiply(activations, matrix, scale, false));
      activations = sums.at(-1).map(f);
      forward.push(d3.deviation(activations));
    }
    let gradient = blame;
    const backward = [d3.deviation(gradient)];
    for (const [layer, matrix] of [...layers.entries()].reverse()) {
      gradient = multiply(gradient.map((g, i) => g * slope(sums[layer][i])), matrix, scale, true);
      backward.unshift(d3.deviation(gradient));
    }
    chart.line("forward", forward.map((value, layer) => [layer, clamp(value)]));
    chart.line("backward", backward.map((value, layer) => [layer, clamp(value)]));
    status.text(
      `After ${depth.value} layers the activations have standard deviation ${forward.at(-1).toPrecision(2)}; `
      + `a gradient that starts at ${backward.at(-1).toPrecision(2)} arrives at the input with ${backward[0].toPrecision(2)}.`,
    );
  }
  draw();
});
