// What was measured, asked for piece by piece, and the plots of it.

import { get } from "./api.js";
import { Plot } from "./plot.js";
import { bytes, duration, short } from "./words.js";

const KEPT_SECONDS = 86400;
// The server thins what is old; every so often all of it is asked for again.
const WHOLE_EVERY = 60;
const ORDER = ["alpha", "beta", "air"];

// So that half of each is a round time, too.
const TIMES = [10, 20, 60, 120, 600, 1200, 3600, 7200, 43200, 86400, 172800, 864000];
const perSecond = (value) => `${short(value)}/s`;
const PLOTS = [
  ["lag_bytes", "Standby behind, WAL", bytes, 1000],
  ["lag_seconds", "AIR behind, time", duration, 10, TIMES],
  ["queue", "Documents to index", short, 10],
  ["sync_queue", "Changes to send", short, 10],
  ["embeddings_per_second", "Embeddings", perSecond, 10],
  ["conflicts", "Open conflicts", short, 10],
];

/** All plots of a page. */
export class Plots {
  constructor(place) {
    this.samples = { at: [], series: {} };
    this.rounds = 0;
    this.range = 900;
    this.plots = PLOTS.map(([figure, ...told]) => [figure, new Plot(...told)]);
    place.replaceChildren(...this.plots.map(([, plot]) => plot.element));
  }

  /** Ask for what is new, and show it. */
  async update() {
    const last = this.samples.at.at(-1);
    const whole = last === undefined || this.rounds++ % WHOLE_EVERY === 0;
    const news = await get(whole ? "/api/history" : `/api/history?since=${last}`);
    this.samples = whole ? news : joined(this.samples, news);
    this.show();
  }

  /** Show the last so many seconds. */
  show() {
    const to = this.samples.at.at(-1) ?? Date.now() / 1000;
    const from = to - this.range;
    const first = this.samples.at.findIndex((at) => at >= from);
    const start = first < 0 ? this.samples.at.length : first;
    const at = this.samples.at.slice(start);
    for (const [figure, plot] of this.plots) {
      const measured = this.samples.series[figure] ?? {};
      const nodes = ORDER.filter((node) => node in measured);
      const series = Object.fromEntries(nodes.map((node) => [node, measured[node].slice(start)]));
      plot.show({ at, series }, from, to);
    }
  }
}

function joined(old, news) {
  const from = (news.at.at(-1) ?? 0) - KEPT_SECONDS;
  const first = Math.max(0, old.at.findIndex((at) => at > from));
  const figures = new Set([...Object.keys(old.series), ...Object.keys(news.series)]);
  const series = {};
  for (const figure of figures) {
    const nodes = new Set([...Object.keys(old.series[figure] ?? {}), ...Object.keys(news.series[figure] ?? {})]);
    series[figure] = {};
    for (const node of nodes) {
      const before = old.series[figure]?.[node] ?? old.at.map(() => null);
      const after = news.series[figure]?.[node] ?? news.at.map(() => null);
      series[figure][node] = [...before.slice(first), ...after];
    }
  }
  return { at: [...old.at.slice(first), ...news.at], series };
}
