// The search: as one types, by keyboard from hit to hit, and the document behind a hit.

import { get, Refused } from "./api.js";
import { found, make, marked } from "./dom.js";
import { counted } from "./words.js";

const PAUSE_MS = 350;
const FIRST = 5;
const MOST = 25;
let running = null;
let opener = null;

/** Make the search work. */
export function startSearch() {
  const box = found("search-box");
  let timer = 0;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE_MS, FIRST);
  };
  box.addEventListener("input", later);
  found("search-category").addEventListener("input", later);
  found("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    search(FIRST);
  });
  found("more").addEventListener("click", async () => {
    await search(MOST);
    found("hits").querySelectorAll(".hit")[FIRST]?.focus();
  });
  found("document-close").addEventListener("click", () => found("document").close());
  found("document").addEventListener("close", () => opener?.focus());
  document.addEventListener("keydown", pressed);
}

async function search(most) {
  running?.abort();
  const query = found("search-box").value.trim();
  const category = found("search-category").value.trim();
  found("more").hidden = true;
  if (!query) return show([], "");
  running = new AbortController();
  const { signal } = running;
  try {
    const asked = new URLSearchParams({ q: query, k: String(most), ...(category && { category }) });
    const said = await get(`/api/search?${asked}`, signal);
    found("more").hidden = most === MOST || said.count < most;
    show(said.results, said.count ? `${counted(said.count, "passage")} in ${Math.round(said.took_ms)} ms` : "Nothing found.");
  } catch (error) {
    if (!signal.aborted) show([], error instanceof Refused ? `${error.message}. ${error.hint}` : "The server does not answer.");
  }
}

function show(hits, told) {
  found("search-told").textContent = told;
  found("hits").replaceChildren(...hits.map((hit) => make("li", {}, button(hit))));
}

function button(hit) {
  const one = make("button", { className: "hit", type: "button" },
    make("strong", { dir: "auto" }, place(hit)),
    make("span", { className: "snippet", dir: "auto" }, ...marked(hit.segments)),
    make("span", { className: "quiet", dir: "auto" }, facts(hit)));
  one.addEventListener("click", () => open(hit, one));
  return one;
}

function place(hit) {
  const parts = [hit.title, ...(hit.heading ?? "").split(" > ")].filter(Boolean);
  return [...new Set(parts)].join(" › ") || (hit.document_id === null ? `Chunk ${hit.chunk_id}` : `Document ${hit.document_id}`);
}

function facts(hit) {
  return [
    hit.uri ?? hit.source,
    hit.page === null ? null : `page ${hit.page}`,
    hit.category,
    `score ${hit.score.toFixed(2)}`,
  ].filter(Boolean).join(" · ");
}

async function open(hit, from) {
  if (hit.document_id === null) {
    return fill(from, place(hit), "a chunk that was typed by hand, without a document", hit.segments);
  }
  try {
    const range = hit.char_start === null ? "" : `?start=${hit.char_start}&end=${hit.char_end}`;
    const said = await get(`/api/documents/${hit.document_id}${range}`);
    const cut = said.cut ? `, of which ${said.segments.reduce((sum, part) => sum + [...part.text].length, 0)} are shown` : "";
    const told = [said.uri ?? said.source, said.category, said.created_at.slice(0, 10), `${said.characters} characters${cut}`];
    fill(from, said.title ?? `Document ${said.id}`, told.filter(Boolean).join(" · "), said.segments);
  } catch (error) {
    found("search-told").textContent = error instanceof Refused ? `${error.message}. ${error.hint}` : "The server does not answer.";
  }
}

function fill(from, title, told, segments) {
  opener = from;
  found("document-title").textContent = title;
  found("document-facts").textContent = told;
  const text = found("document-text");
  text.replaceChildren(...marked(segments));
  found("document").showModal();
  text.focus();
  const first = text.querySelector("mark");
  text.scrollTop = first ? first.offsetTop - text.offsetTop - 24 : 0;
}

function pressed(event) {
  if (found("document").open || found("login").open || event.ctrlKey || event.metaKey || event.altKey) return;
  const box = found("search-box");
  const hits = [...found("hits").querySelectorAll(".hit")];
  const at = hits.indexOf(document.activeElement);
  const typing = document.activeElement?.matches("input, select, textarea");
  if (event.key === "/" && !typing) {
    box.focus();
    box.select();
  } else if (event.key === "ArrowDown" && hits.length && (document.activeElement === box || at >= 0)) {
    hits[Math.min(at + 1, hits.length - 1)].focus();
  } else if (event.key === "ArrowUp" && at >= 0) {
    (at ? hits[at - 1] : box).focus();
  } else if (event.key === "Escape" && (at >= 0 || document.activeElement === box)) {
    if (at < 0) {
      box.value = "";
      running?.abort();
      show([], "");
    }
    box.focus();
  } else {
    return;
  }
  event.preventDefault();
}
