// One activation function with its derivative, and what becomes of a gradient behind many of them.
piece.define("activations", (root) => {
  const sigmoid = (z) => 1 / (1 + Math.exp(-z));
  const density = (z) => Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
  // Abramowitz and Stegun 7.1.26, off by 1.5e-7 at most.
  const normal = (z) => {
    const t = 1 / (1 + 0.3275911 * Math.abs(z) / Math.SQRT2);
    const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741
      + t * (-1.453152027 + t * 1.061405429))));
    const tail = series * Math.exp(-z * z / 2) / 2;
    return z < 0 ? tail : 1 - tail;
  };
  // Each with its derivative; p is the slope of leaky ReLU, or beta of Swish.
  const functions = {
    sigmoid: [sigmoid, (z) => sigmoid(z) * (1 - sigmoid(z))],
    tanh: [Math.tanh, (z) => 1 - Math.tanh(z) ** 2],
    ReLU: [(z) => Math.max(0, z), (z) => +(z > 0)],
    "leaky ReLU": [(z, p) => (z > 0 ? z : p * z), (z, p) => (z > 0 ? 1 : p)],
    GELU: [(z) => z * normal(z), (z) => normal(z) + z * density(z)],
    SiLU: [(z) => z * sigmoid(z), (z) => sigmoid(z) * (1 + z * (1 - sigmoid(z)))],
    Swish: [
      (z, p) => z * sigmoid(p * z),
      (z, p) => sigmoid(p * z) * (1 + p * z * (1 - sigmoid(p * z))),
    ],
  };

  const controls = root.append("div").attr("class", "controls");
  const chosen = piece.select(controls, { label: "Function", options: Object.keys(functions) }, draw);
  const at = piece.slider(
    controls, { label: "input z", min: -6, max: 6, step: 0.1, value: 1, format: d3.format(".1f") }, draw,
  );
  const parameter = piece.slider(
    controls, { label: "slope or β", min: 0, max: 3, step: 0.01, value: 0.1, format: d3.format(".2f") }, draw,
  );
  const layers = piece.slider(
    controls, { label: "layers", min: 1, max: 30, step: 1, value: 10 }, draw,
  );
  const chart = piece.chart(root, {
    label: "The chosen activation function, its derivative, and the tangent at the input",
    x: [-6, 6], y: [-1.2, 3], xLabel: "input z",
  });
  piece.legend(root, [["function", "function"], ["derivative", "derivative"], ["tangent", "tangent"]]);
  const status = piece.status(root);
  const grid = d3.range(-6, 6.001, 0.02);

  function draw() {
    const [f, slope] = functions[chosen.value];
    const [z, p] = [at.value, parameter.value];
    const [value, rate] = [f(z, p), slope(z, p)];
    parameter.hide(!["leaky ReLU", "Swish"].includes(chosen.value));
    chart.line("tangent", [[-6, value + rate * (-6 - z)], [6, value + rate * (6 - z)]]);
    chart.line("derivative", grid.map((u) => [u, slope(u, p)]));
    chart.line("function", grid.map((u) => [u, f(u, p)]));
    chart.dot("point", [z, value]);
    const product = rate ** layers.value;
    status.text(
      `${chosen.value}(${z.toFixed(1)}) = ${value.toFixed(4)}, slope ${rate.toFixed(4)}. `
      + `Behind ${layers.value} layers with this slope, a gradient of 1 is ${product.toPrecision(3)}.`,
    );
  }
  draw();
});
