// Backpropagation through one neuron, a step at a time: z = wx + b, a = ReLU(z), L = (a - y)^2.
piece.define("neuron", (root) => {
  const start = { w: 0.5, x: 2, b: 0.5, y: 1, rate: 0.1 };
  const controls = root.append("div").attr("class", "controls");
  const sliders = Object.fromEntries(
    [["w", "weight w"], ["x", "input x"], ["b", "bias b"], ["y", "target y"], ["rate", "learning rate"]]
      .map(([name, label]) => {
        const range = name === "rate" ? { min: 0, max: 0.5, step: 0.01 } : { min: -3, max: 3, step: 0.1 };
        const format = d3.format(".2~f");
        return [name, piece.slider(controls, { label, ...range, value: start[name], format }, () => show(step))];
      }),
  );
  const number = (value) => (+value.toFixed(4)).toString().replace("-", "−");

  // Where each quantity stands in the picture, the text above it, and its gradient below it.
  const places = {
    x: [40, 60], w: [40, 150], b: [150, 205], z: [210, 105], a: [340, 105], y: [340, 205], L: [480, 105],
  };
  const edges = ["xz", "wz", "bz", "za", "aL", "yL"];
  const svg = root.append("svg").attr("viewBox", [0, 0, 540, 250]).attr("role", "img")
    .attr("aria-label", "The graph of the neuron with the values and gradients found so far");
  svg.append("g").selectAll("line").data(edges).join("line").attr("class", "edge")
    .each(function ([from, to]) {
      const [[x1, y1], [x2, y2]] = [places[from], places[to]];
      d3.select(this).attr("x1", x1).attr("y1", y1).attr("x2", x2).attr("y2", y2);
    });
  const nodes = svg.append("g").selectAll("g").data(Object.keys(places)).join("g")
    .attr("class", "node").attr("transform", (name) => `translate(${places[name]})`);
  nodes.append("circle").attr("r", 21);
  nodes.append("text").attr("class", "name").attr("dy", "0.35em").text((name) => name);
  nodes.append("text").attr("class", "value").attr("y", -27);
  nodes.append("text").attr("class", "gradient").attr("y", 38);

  const buttons = root.append("div").attr("class", "controls");
  const next = piece.button(buttons, "Next step", () => show(step + 1));
  piece.button(buttons, "Previous step", () => show(Math.max(0, step - 1)));
  piece.button(buttons, "Start again", () => {
    for (const name in start) sliders[name].value = start[name];
    show(0);
  });
  const status = piece.status(root);
  let step = 0;

  // Every step: what is known after it, and the sentence that says how it was found.
  function steps() {
    const { w, x, b, y, rate } = Object.fromEntries(
      Object.entries(sliders).map(([name, slider]) => [name, slider.value]),
    );
    const z = w * x + b;
    const a = Math.max(0, z);
    const L = (a - y) ** 2;
    const da = 2 * (a - y);
    const dz = da * (z > 0 ? 1 : 0);
    const [dw, db] = [dz * x, dz];
    const after = (Math.max(0, (w - rate * dw) * x + b - rate * db) - y) ** 2;
    return [
      [{ w, x, b, y }, {}, "The numbers before the first step. Press Next step."],
      [{ z }, {}, `Forward: z = wx + b = ${number(z)}.`],
      [{ a }, {}, `Forward: a = ReLU(z) = ${number(a)}.`],
      [{ L }, {}, `Forward: L = (a − y)² = ${number(L)}.`],
      [{}, { a: da }, `Backward: ∂L/∂a = 2(a − y) = ${number(da)}.`],
      [{}, { z: dz }, `Backward: ∂a/∂z is ${z > 0 ? 1 : 0}, so ∂L/∂z = ${number(dz)}.`],
      [{}, { w: dw }, `Backward: ∂z/∂w = x, so ∂L/∂w = ∂L/∂z · x = ${number(dw)}.`],
      [{}, { b: db }, `Backward: ∂z/∂b = 1, so ∂L/∂b = ${number(db)}.`],
      [{}, {}, `Update: w becomes ${number(w - rate * dw)} and b ${number(b - rate * db)}; `
        + `the loss goes from ${number(L)} to ${number(after)}.`],
    ];
  }

  function show(wanted) {
    const all = steps();
    step = Math.min(wanted, all.length - 1);
    const known = all.slice(0, step + 1);
    const values = Object.assign({}, ...known.map(([found]) => found));
    const gradients = Object.assign({}, ...known.map(([, found]) => found));
    nodes.classed("known", (name) => name in values);
    nodes.select(".value").text((name) => (name in values ? number(values[name]) : ""));
    nodes.select(".gradient").text((name) => (name in gradients ? `∂ ${number(gradients[name])}` : ""));
    next.property("disabled", step === all.length - 1);
    status.text(`Step ${step} of ${all.length - 1}. ${all[step][2]}`);
  }

  show(0);
});
