// What the interactive pieces share: controls with a label, a chart with axes, a line that speaks.
const piece = {
  // Draws the piece `name` into its place, and shows the place once that has worked.
  define(name, draw) {
    const place = document.getElementById(`try-${name}`);
    draw(d3.select(place).append("div").attr("class", "piece"));
    place.hidden = false;
  },

  slider(parent, { label, min, max, step, value, format = String }, changed) {
    const control = parent.append("label").attr("class", "slider");
    const name = control.append("span").text(label);
    const input = control.append("input").attr("type", "range");
    input.attr("min", min).attr("max", max).attr("step", step).property("value", value);
    const shown = name.append("span").attr("class", "shown").attr("aria-hidden", "true");
    const show = () => {
      const text = format(+input.property("value"));
      shown.text(text);
      input.attr("aria-valuetext", text);
    };
    input.on("input", () => {
      show();
      changed();
    });
    show();
    return {
      get value() { return +input.property("value"); },
      set value(number) {
        input.property("value", number);
        show();
      },
      hide(hidden) { control.property("hidden", hidden); },
    };
  },

  select(parent, { label, options }, changed) {
    const control = parent.append("label").text(`${label} `);
    const input = control.append("select").on("change", changed);
    input.selectAll("option").data(options).join("option").text((option) => option);
    return { get value() { return input.property("value"); } };
  },

  button(parent, label, pressed) {
    return parent.append("button").attr("type", "button").text(label).on("click", pressed);
  },

  // What a screen reader is told, and what everybody can read, after every change.
  status(parent) {
    return parent.append("p").attr("class", "status").attr("role", "status");
  },

  chart(parent, { label, x, y, xLabel, yLabel = "", height = 260, log = false }) {
    const width = 560;
    const margin = { top: 14, right: 12, bottom: 42, left: 54 };
    const svg = parent.append("svg").attr("viewBox", [0, 0, width, height]);
    svg.attr("role", "img").attr("aria-label", label);
    const across = d3.scaleLinear(x, [margin.left, width - margin.right]);
    const up = (log ? d3.scaleLog : d3.scaleLinear)(y, [height - margin.bottom, margin.top]);
    const ticks = log ? d3.axisLeft(up).ticks(6, "~e") : d3.axisLeft(up).ticks(5);
    svg.append("g").attr("transform", `translate(0,${height - margin.bottom})`)
      .call(d3.axisBottom(across).ticks(7));
    svg.append("g").attr("transform", `translate(${margin.left},0)`).call(ticks);
    svg.append("text").attr("class", "axis-label").attr("text-anchor", "middle")
      .attr("x", (margin.left + width - margin.right) / 2).attr("y", height - 6).text(xLabel);
    svg.append("text").attr("class", "axis-label").attr("x", 4).attr("y", 11).text(yLabel);
    const clip = `clip-${Math.random().toString(36).slice(2)}`;
    svg.append("clipPath").attr("id", clip).append("rect")
      .attr("x", margin.left).attr("y", margin.top)
      .attr("width", width - margin.left - margin.right)
      .attr("height", height - margin.top - margin.bottom);
    const layer = svg.append("g").attr("clip-path", `url(#${clip})`);
    const line = d3.line((point) => across(point[0]), (point) => up(point[1]));
    return {
      across,
      up,
      layer,
      // A line through points, one for each name: drawing it again moves it.
      line(name, points) {
        layer.selectAll(`path.${name}`).data([points]).join("path")
          .attr("class", `line ${name}`).attr("d", line);
      },
      dot(name, [px, py]) {
        layer.selectAll(`circle.${name}`).data([0]).join("circle")
          .attr("class", name).attr("r", 6).attr("cx", across(px)).attr("cy", up(py));
      },
    };
  },

  legend(parent, entries) {
    const list = parent.append("ul").attr("class", "legend");
    const items = list.selectAll("li").data(entries).join("li");
    items.append("svg").attr("viewBox", "0 0 28 8").attr("aria-hidden", "true")
      .append("path").attr("class", (entry) => `line ${entry[0]}`).attr("d", "M0,4H28");
    items.append("span").text((entry) => entry[1]);
  },
};
