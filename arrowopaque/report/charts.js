
"use strict";
// Text only ever gets into the page as text: nothing here makes markup of a string.

function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "style") for (const [property, to] of Object.entries(value)) made.style.setProperty(property, to);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return made;
}

// Figures as people read them.

const count = (n) => Math.round(n).toLocaleString("en-US");

function scaled(n, base, units) {
  let at = 0;
  while (Math.abs(n) >= base && at < units.length - 1) { n /= base; at += 1; }
  // Not 1000 of a unit where it is one of the next.
  if (at < units.length - 1 && Number(n.toPrecision(3)) >= base) { n /= base; at += 1; }
  const digits = at === 0 || n >= 100 ? 0 : n >= 10 ? 1 : 2;
  return `${Number(n.toFixed(digits))}${units[at]}`;
}

const short = (n) => n < 10000 ? count(n) : scaled(n, 1000, ["", " k", " M", " G", " T"]);
const bytes = (n) => scaled(n, 1000, [" bytes", " kB", " MB", " GB", " TB", " PB", " EB"]);
const share = (part, whole) => {
  if (!whole) return "0 %";
  const percent = 100 * part / whole;
  return percent > 0 && percent < 0.1 ? "under 0.1 %" : `${Number(percent.toFixed(percent < 10 ? 1 : 0))} %`;
};
const moment = (iso) => `${new Date(iso).toISOString().slice(0, 16).replace("T", " ")} UTC`;
const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many || one + "s"}`;

function scale(most) {
  // At most five steps of 1, 2, 2.5 or 5 times a power of ten: {step, steps}.
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 5) / 5));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => 5 * n >= most && Number.isInteger(n));
  return { step, steps: Math.max(1, Math.ceil(most / step)) };
}

// Controls.

let controls = 0;

function segmented(legend, options, chosen, changed) {
  const name = `control-${controls += 1}`;
  const choices = options.map(([value, text]) => el("label", null,
    el("input", { type: "radio", name, value, checked: value === chosen, onchange: () => changed(value) }),
    el("span", null, text)));
  return el("fieldset", null, el("legend", { class: "visually-hidden" }, legend), ...choices);
}

function picker(label, options, chosen, changed) {
  const select = el("select", { onchange: (event) => changed(event.target.value) },
    ...options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
  return el("label", { class: "picker" }, label, select);
}

// What all marks of a chart have in common: one of them is in the tab order, arrow keys reach the others.

function rove(chart, marks, detail, idle) {
  const show = (text, live) => { detail.textContent = text; detail.classList.toggle("live", live); };
  const go = (to, focus) => {
    marks.forEach((mark) => mark.element.setAttribute("tabindex", "-1"));
    to.element.setAttribute("tabindex", "0");
    if (focus) to.element.focus();
  };
  marks.forEach((mark, at) => {
    mark.element.setAttribute("role", "img");
    mark.element.setAttribute("aria-label", mark.text);
    mark.element.dataset.mark = "";
    mark.element.addEventListener("focus", () => { go(mark, false); show(mark.text, true); });
    mark.element.addEventListener("pointerenter", () => show(mark.text, true));
    mark.element.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
      let to = at + steps[event.key];
      if (event.key === "Home") to = 0;
      if (event.key === "End") to = marks.length - 1;
      if (Number.isNaN(to) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      go(marks[Math.max(0, Math.min(marks.length - 1, to))], true);
    });
  });
  chart.addEventListener("pointerleave", () => show(idle, false));
  show(idle, false);
  if (marks.length) go(marks[0], false);
}

// Charts: each takes items of {name, value, text}, and gives {element, marks}.

function squarify(values, width, height) {
  // Rows along the shorter side, each as long as that makes its tiles squarer.
  const scale = width * height / values.reduce((sum, value) => sum + value, 0);
  const areas = values.map((value) => value * scale), places = [];
  let x = 0, y = 0, w = width, h = height, at = 0;
  const worst = (sum, least, most, side) => Math.max(side * side * most / (sum * sum), sum * sum / (side * side * least));
  while (at < areas.length) {
    const side = Math.min(w, h);
    let end = at + 1, sum = areas[at];
    while (end < areas.length
      && worst(sum + areas[end], areas[end], areas[at], side) <= worst(sum, areas[end - 1], areas[at], side)) {
      sum += areas[end];
      end += 1;
    }
    const thick = side > 0 ? sum / side : 0;
    let along = 0;
    for (; at < end; at += 1) {
      const long = thick > 0 ? areas[at] / thick : 0;
      places.push(w < h ? [x + along, y, long, thick] : [x, y + along, thick, long]);
      along += long;
    }
    if (w < h) { y += thick; h -= thick; } else { x += thick; w -= thick; }
  }
  return places;
}

function treemap(items) {
  const shown = items.filter((item) => item.value > 0);
  // The rest in its place by size too: out of order it would make slivers of its neighbours.
  shown.sort((a, b) => b.value - a.value);
  const most = shown.length ? shown[0].value : 1;
  const marks = shown.map((item) => ({
    text: item.text,
    element: el("div", {
      class: item.rest ? "rest" : "", style: { "--mix": `${16 + 26 * Math.sqrt(Math.min(1, item.value / most))}%` },
    }, el("span", null, item.name), el("span", null, item.shown)),
  }));
  const element = el("div", { class: "treemap" }, ...marks.map((mark) => mark.element));
  const place = () => {
    const { clientWidth: width, clientHeight: height } = element;
    if (!width || !height) return;
    squarify(shown.map((item) => item.value), width, height).forEach(([x, y, w, h], at) => {
      const style = marks[at].element.style;
      style.left = `${100 * x / width}%`;
      style.top = `${100 * y / height}%`;
      style.width = `${100 * w / width}%`;
      style.height = `${100 * h / height}%`;
    });
  };
  new ResizeObserver(place).observe(element);
  return { element, marks };
}

function bars(items, limit = 25) {
  const most = Math.max(...items.map((item) => item.value), 0) || 1;
  const marks = items.map((item) => ({
    text: item.text,
    element: el("div", { class: item.rest ? "rest" : item.estimate ? "estimate" : "" },
      el("span", { class: "name" }, item.name),
      el("span", { class: "track" },
        el("span", { class: "bar", style: { width: `${100 * item.value / most}%` } },
          ...(item.parts || [item.value]).map((part, at) => el("i", {
            class: at ? "second" : "", style: { width: `${item.value ? 100 * part / item.value : 0}%` },
          }))),
        el("span", { class: "value" }, item.shown))),
  }));
  const list = el("div", { class: "bars" }, ...marks.map((mark) => mark.element));
  const element = el("div", null, list);
  const extra = marks.slice(limit);
  if (extra.length > 1) {
    extra.forEach((mark) => { mark.element.hidden = true; });
    const all = el("button", { type: "button", class: "more" }, `Show all ${count(items.length)}`);
    const open = () => { extra.forEach((mark) => { mark.element.hidden = false; }); all.remove(); };
    all.addEventListener("click", () => { open(); extra[0].element.focus(); });
    // Arrow keys go on where the list was cut.
    marks[limit - 1].element.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowRight") open();
    }, { capture: true });
    list.addEventListener("keydown", (event) => {
      if (event.key === "End" || event.key === "PageDown") open();
    }, { capture: true });
    element.append(all);
  }
  return { element, marks };
}

function frame(most, format, unit, ticks) {
  const { step, steps } = scale(most), top = step * steps;
  const grid = Array.from({ length: steps + 1 }, (_, at) => el("div", {
    class: "grid", style: { bottom: `${100 * at / steps}%` }, "aria-hidden": "true",
  }, el("span", null, format(step * at))));
  const labels = ticks.map(({ at, text }) => {
    const edge = at < 0.02 ? " first" : at > 0.98 ? " last" : "";
    return el("span", { class: `tick${edge}`, style: { left: `${100 * at}%` }, "aria-hidden": "true" }, text);
  });
  const element = el("div", { class: "plot" }, ...grid, unit && el("span", { class: "unit", "aria-hidden": "true" }, unit), ...labels);
  const thin = () => {
    // Labels that would touch the one before are left out.
    let end = -Infinity;
    for (const label of labels) {
      label.style.visibility = "visible";
      const box = label.getBoundingClientRect();
      if (box.left < end + 8) label.style.visibility = "hidden";
      else end = box.right;
    }
  };
  new ResizeObserver(thin).observe(element);
  return { element, top };
}

function columns(items, { format, unit }) {
  const most = Math.max(...items.map((item) => item.value), 0);
  const ticks = items.flatMap((item, at) => item.tick === undefined ? [] : [{
    at: (at + (item.centred ? 0.5 : 0)) / items.length, text: item.tick,
  }]);
  const { element, top } = frame(most, format, unit, ticks);
  const marks = items.map((item) => ({
    text: item.text,
    // What is on top comes first.
    element: el("div", null, ...(item.parts || [item.value]).map((part, at) => [part, at]).reverse()
      .map(([part, at]) => el("div", {
        class: `part${at ? " second" : ""}${part ? "" : " none"}`, style: { height: `${100 * part / top}%` },
      }))),
  }));
  element.append(el("div", { class: `columns-chart${items.length > 60 ? " many" : ""}` }, ...marks.map((mark) => mark.element)));
  return { element, marks };
}

function line(points, { format, unit, ticks }) {
  const { element, top } = frame(Math.max(...points.map((point) => point.y), 0), format, unit, ticks);
  const least = points[0].x, wide = points[points.length - 1].x - least || 1;
  const at = (point) => [points.length > 1 ? 100 * (point.x - least) / wide : 50, 100 * point.y / top];
  // It was as it was until the next version: steps.
  let path = "";
  points.forEach((point, number) => {
    const [x, y] = at(point);
    path += number ? `H${x}V${100 - y}` : `M${x} ${100 - y}`;
  });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const [kind, d] of [["area", `${path}V100H${at(points[0])[0]}Z`], ["stroke", path]]) {
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
    drawn.setAttribute("class", kind);
    drawn.setAttribute("d", d);
    svg.append(drawn);
  }
  const marks = points.map((point) => {
    const [x, y] = at(point);
    return { text: point.text, element: el("div", { style: { left: `${x}%`, bottom: `${y}%`, "margin-top": "0" } }) };
  });
  const last = at(points[points.length - 1]);
  element.append(svg, el("div", { class: `dots${points.length > 60 ? " many" : ""}` }, ...marks.map((mark) => mark.element)),
    el("span", { class: "last-value", "aria-hidden": "true", style: { left: `${last[0]}%`, top: `${100 - last[1]}%` } },
      format(points[points.length - 1].y)));
  return { element, marks };
}
