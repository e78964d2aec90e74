// Four optimisers walk down the same surface from the same place.
piece.define("race", (root) => {
  const surfaces = {
    "long valley": {
      f: (x, y) => 0.5 * (x * x + 25 * y * y), gradient: (x, y) => [x, 25 * y], from: [-4, 1.2],
    },
    "curved valley": {
      f: (x, y) => 0.2 * (1 - x) ** 2 + 2 * (y - 0.25 * x * x) ** 2,
      gradient: (x, y) => [
        -0.4 * (1 - x) - 2 * x * (y - 0.25 * x * x), 4 * (y - 0.25 * x * x),
      ],
      from: [-4, 2.4],
    },
    saddle: {
      f: (x, y) => 0.1 * (x * x - 3 * y * y) + 0.05 * y ** 4 + 0.5,
      gradient: (x, y) => [0.2 * x, -0.6 * y + 0.2 * y ** 3],
      from: [-4, 0.01],
    },
  };
  const decay = 0.1;
  // Each returns a function that turns one number and its gradient into the next number.
  const rules = {
    SGD: (rate) => () => (w, g) => w - rate * g,
    momentum: (rate) => () => {
      let speed = 0;
      return (w, g) => {
        speed = 0.9 * speed + g;
        return w - rate * speed;
      };
    },
    Adam: (rate) => () => adam(rate, 0),
    AdamW: (rate) => () => adam(rate, decay),
  };
  function adam(rate, lambda) {
    let [m, v, t] = [0, 0, 0];
    return (w, g) => {
      t += 1;
      m = 0.9 * m + 0.1 * g;
      v = 0.999 * v + 0.001 * g * g;
      const step = (m / (1 - 0.9 ** t)) / (Math.sqrt(v / (1 - 0.999 ** t)) + 1e-8);
      return w * (1 - rate * lambda) - rate * step;
    };
  }
  const names = Object.keys(rules);
  const steps = 200;

  const controls = root.append("div").attr("class", "controls");
  const surface = piece.select(controls, { label: "Surface", options: Object.keys(surfaces) }, fresh);
  const exponent = { min: -3, max: 0, step: 0.05, format: (e) => (10 ** e).toPrecision(2) };
  const rates = Object.fromEntries(
    Object.entries({ SGD: -1.5, momentum: -2, Adam: -1, AdamW: -1 }).map(([name, value]) => [
      name, piece.slider(controls, { label: `${name}, learning rate`, ...exponent, value }, draw),
    ]),
  );
  const time = piece.slider(controls, { label: "step", min: 0, max: steps, step: 1, value: 60 }, draw);
  const play = piece.button(controls, "Play", () => (timer ? pause() : run()));
  const chart = piece.chart(root, {
    label: "Contour lines of the surface and the paths of the four optimisers",
    x: [-5, 5], y: [-3, 3], xLabel: "first weight", yLabel: "second weight", height: 340,
  });
  const contours = chart.layer.append("g");
  piece.legend(root, names.map((name) => [name, name]));
  const status = piece.status(root);
  let timer = null;

  function run() {
    if (time.value === steps) time.value = 0;
    play.text("Pause");
    timer = d3.interval(() => {
      time.value += 1;
      draw();
      if (time.value === steps) pause();
    }, 40);
  }

  function pause() {
    timer.stop();
    timer = null;
    play.text("Play");
  }

  function path(name) {
    const { gradient, from } = surfaces[surface.value];
    const make = rules[name](10 ** rates[name].value);
    const [stepX, stepY] = [make(), make()];
    const points = [from];
    for (let t = 0; t < time.value; t += 1) {
      const [x, y] = points[t];
      const [gx, gy] = gradient(x, y);
      const next = [stepX(x, gx), stepY(y, gy)];
      // Beyond this it has diverged, and the picture has no more use for it.
      if (!next.every((w) => Math.abs(w) < 1e3)) break;
      points.push(next);
    }
    return points;
  }

  function drawSurface() {
    const { f } = surfaces[surface.value];
    const [columns, rows] = [101, 61];
    const values = d3.cross(d3.range(rows), d3.range(columns), (row, column) => (
      f(-5 + (10 * column) / (columns - 1), -3 + (6 * row) / (rows - 1))
    ));
    const low = d3.min(values);
    const levels = d3.range(1, 12).map((k) => low + 0.02 * 2 ** k);
    const toPage = d3.geoTransform({
      point(column, row) {
        this.stream.point(
          chart.across(-5 + (10 * (column - 0.5)) / (columns - 1)),
          chart.up(-3 + (6 * (row - 0.5)) / (rows - 1)),
        );
      },
    });
    contours.selectAll("path").data(d3.contours().size([columns, rows]).thresholds(levels)(values))
      .join("path").attr("class", "contour").attr("d", d3.geoPath(toPage));
  }

  function draw() {
    const { f } = surfaces[surface.value];
    const found = names.map((name) => {
      const points = path(name);
      chart.line(name, points);
      chart.dot(`${name}-end`, points.at(-1));
      const lost = points.length <= time.value;
      return `${name} ${lost ? "has diverged" : f(...points.at(-1)).toFixed(4)}`;
    });
    status.text(`Loss after ${time.value} steps: ${found.join(", ")}.`);
  }

  function fresh() {
    drawSurface();
    draw();
  }
  fresh();
});
