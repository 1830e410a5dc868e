// What lost when two nodes changed the same row, and the command that decides.

import { get, Refused } from "./api.js";
import { make } from "./dom.js";

const HEADS = ["Row", "Kept", "Lost", "Why", "Next"];

/** Fill `place` with the open conflicts. */
export async function showConflicts(place) {
  try {
    const said = await get("/api/conflicts");
    place.replaceChildren(said.count ? table(said.conflicts) : make("p", { className: "quiet" }, "No open conflicts."));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    place.replaceChildren(make("p", { className: "quiet" }, `Not known: ${error.message}. ${error.hint}`));
  }
}

function table(conflicts) {
  const rows = conflicts.map((one) => {
    const next = make("code", {}, one.next);
    const cells = [one.what, text(one.head), text(one.lost), one.reason, next];
    return make("tr", {}, ...cells.map((cell, index) => make("td", { "data-head": HEADS[index], dir: "auto" }, cell)));
  });
  const head = make("tr", {}, ...HEADS.map((word) => make("th", { scope: "col" }, word)));
  return make("div", { className: "scrolls" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

const text = (version) => (version === null ? "(deleted)" : version.content);
