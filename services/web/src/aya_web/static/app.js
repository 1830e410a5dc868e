// The page: asks every few seconds, shows what it got, and says when that is old.

import { get } from "./api.js";
import { showConflicts } from "./conflicts.js";
import { found } from "./dom.js";
import { Plots } from "./plots.js";
import { startSearch } from "./search.js";
import { showAlerts, showNodes } from "./topology.js";
import { clock, duration } from "./words.js";

const EVERY_MS = 5000;
// Conflicts change when somebody decides; asking is a query of the primary.
const CONFLICTS_EVERY = 6;

const plots = new Plots(found("plots"));
let answered = null; // when the server last answered, by this machine's clock
let looked = null; // when it had last looked at the nodes, by the same clock
let rounds = 0;
let timer = 0;

async function update() {
  clearTimeout(timer);
  try {
    const status = await get("/api/status");
    answered = Date.now() / 1000;
    // The other clock may differ from ours: only differences of it count.
    looked = answered - (status.now - status.at);
    showNodes(found("topology"), status);
    showAlerts(found("alerts"), status);
    found("health").textContent = status.health;
    found("health").dataset.health = status.health;
    document.title = status.health === "healthy" ? "AYA" : `AYA: ${status.health}`;
    await plots.update();
    if (rounds++ % CONFLICTS_EVERY === 0) await showConflicts(found("conflicts"));
  } catch (error) {
    // Said by tell(), with how long it has been so.
    console.debug(String(error));
  }
  tell();
  timer = setTimeout(update, EVERY_MS);
}

function tell() {
  const now = Date.now() / 1000;
  const late = looked === null ? null : now - looked;
  const stale = late !== null && late > (4 * EVERY_MS) / 1000;
  found("fresh").textContent = looked === null ? "" : `as of ${clock(looked)}`;
  const gone = answered === null || now - answered > (3 * EVERY_MS) / 1000;
  const words = looked === null
    ? "The server has not answered yet."
    : gone
      ? `The server has not answered for ${duration(now - answered)}. What is shown is from ${clock(looked)}.`
      : `The nodes were last looked at ${duration(late)} ago.`;
  const banner = found("stale");
  const shows = looked === null ? performance.now() > 3 * EVERY_MS : stale || gone;
  banner.hidden = !shows;
  if (shows && banner.textContent !== words) banner.textContent = words;
  if (shows) {
    found("health").textContent = "unknown";
    found("health").dataset.health = "unknown";
  }
}

found("range").addEventListener("change", (event) => {
  plots.range = Number(event.target.value);
  plots.show();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) update();
});
startSearch();
setInterval(tell, 1000);
update();
