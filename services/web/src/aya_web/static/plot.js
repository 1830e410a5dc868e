// A line plot in SVG: axes with units, the last values, and those of any moment by pointer or arrow keys.

import { draw, make } from "./dom.js";
import { clock } from "./words.js";

const LEFT = 52, RIGHT = 8, TOP = 8, BOTTOM = 20, HEIGHT = 152;

/** One plot. format: a value as text, with its unit; least: the smallest top of the axis; tops: which ones there are. */
export class Plot {
  constructor(title, format, least, tops = null) {
    this.tops = tops;
    this.format = format;
    this.least = least;
    this.title = title;
    this.data = { at: [], series: {} };
    this.chosen = null;
    this.values = make("div", { className: "values" });
    this.svg = draw("svg", { tabindex: "0", role: "img", height: HEIGHT });
    this.element = make("figure", { className: "plot" },
      make("figcaption", {}, make("h3", {}, title), this.values), this.svg);
    this.svg.addEventListener("pointermove", (event) => this.choose(this.nearest(event)));
    this.svg.addEventListener("pointerleave", () => this.choose(null));
    this.svg.addEventListener("focus", () => this.choose(this.data.at.length ? this.data.at.length - 1 : null));
    this.svg.addEventListener("blur", () => this.choose(null));
    this.svg.addEventListener("keydown", (event) => this.step(event));
    new ResizeObserver(() => this.redraw()).observe(this.element);
  }

  /** Show {at: [seconds], series: {node: [value or null]}} between two moments. */
  show(data, from, to) {
    const moment = this.chosen === null ? null : this.data.at[this.chosen];
    this.data = data;
    this.from = from;
    this.to = to;
    // What is being looked at stays, though the lists have moved on.
    const index = moment === null ? -1 : data.at.indexOf(moment);
    this.chosen = index < 0 ? null : index;
    this.redraw();
  }

  nearest(event) {
    const box = this.svg.getBoundingClientRect();
    const at = this.from + ((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * (this.to - this.from);
    let best = null;
    this.data.at.forEach((moment, index) => {
      if (best === null || Math.abs(moment - at) < Math.abs(this.data.at[best] - at)) best = index;
    });
    return best;
  }

  step(event) {
    const last = this.data.at.length - 1;
    const from = this.chosen ?? last;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.choose(Math.min(last, Math.max(0, to)));
  }

  choose(index) {
    this.chosen = index;
    this.redraw();
  }

  redraw() {
    const width = Math.max(200, this.svg.getBoundingClientRect().width || 300);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const names = Object.keys(this.data.series);
    const all = names.flatMap((name) => this.data.series[name]).filter((value) => value !== null);
    const most = Math.max(this.least, ...all);
    const top = this.tops?.find((one) => one >= most) ?? niceTop(most);
    const x = (at) => LEFT + ((at - this.from) / (this.to - this.from || 1)) * (width - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    const parts = [...this.axes(width, top, x, y)];
    for (const name of names) parts.push(draw("path", { class: `of-${name}`, d: line(this.data, name, x, y) }));
    parts.push(...this.cursor(names, x, y));
    this.svg.replaceChildren(...parts);
    this.tell(names);
  }

  * axes(width, top, x, y) {
    for (const share of [0, 0.5, 1]) {
      const at = y(top * share);
      yield draw("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: at, y2: at });
      yield draw("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, this.format(top * share));
    }
    if (this.from === undefined) return;
    for (const [share, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
      const at = this.from + share * (this.to - this.from);
      yield draw("text", { x: x(at), y: HEIGHT - 5, "text-anchor": anchor }, clock(at, false));
    }
  }

  * cursor(names, x, y) {
    const index = this.chosen;
    if (index === null || this.data.at[index] === undefined) return;
    const at = x(this.data.at[index]);
    yield draw("line", { class: "cursor", x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM });
    for (const name of names) {
      const value = this.data.series[name][index];
      if (value !== null) yield draw("circle", { class: `of-${name}`, cx: at, cy: y(value), r: 3.5 });
    }
  }

  tell(names) {
    const index = this.chosen ?? this.data.at.length - 1;
    const said = names.map((name) => {
      const value = index < 0 ? null : this.data.series[name][index];
      return [name, value === null || value === undefined ? "–" : this.format(value)];
    });
    const when = this.chosen === null ? [] : [make("time", {}, clock(this.data.at[index]))];
    this.values.replaceChildren(...when,
      ...said.map(([name, value]) => make("span", { className: `of-${name}` }, `${name} ${value}`)));
    const told = said.map(([name, value]) => `${name} ${value}`).join(", ") || "nothing was measured yet";
    const moment = this.chosen === null ? "now" : clock(this.data.at[index]);
    this.svg.setAttribute("aria-label", `${this.title}, ${moment}: ${told}`);
  }
}

function line(data, name, x, y) {
  let drawn = "", open = false;
  data.series[name].forEach((value, index) => {
    if (value === null) {
      open = false;
      return;
    }
    // A point that stands alone is drawn, too: a line of no length with round ends would not be.
    drawn += `${open ? "L" : "M"}${x(data.at[index]).toFixed(1)} ${y(value).toFixed(1)}${open ? "" : "h.5"}`;
    open = true;
  });
  return drawn;
}

// The next of 1, 2, 5, 10, 20 … at or above a value.
function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= value * 0.999);
}
